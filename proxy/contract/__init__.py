"""The language that the sidecar and the control plane share: names, routes, the route watch."""

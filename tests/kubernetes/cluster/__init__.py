"""A real Kubernetes node on this machine, for tests and for whoever wants to try: see README.md."""

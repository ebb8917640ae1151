"""The listener for people, probes and Prometheus; separate from the data path, and started after it."""

"""The sidecar: carries each request to the sandbox that its routing key belongs to, or to the baseline."""

__version__ = "0.1.0"

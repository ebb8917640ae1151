"""The sidecar: carries each request to the sandbox that its routing key belongs to, or to the baseline."""

from pathlib import Path

from proxy import compiled

__version__ = "0.1.0"

BUILD = compiled.build(Path(__file__).parent)
"""`compiled` or `interpreted`: how the data path runs."""

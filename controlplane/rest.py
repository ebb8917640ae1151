"""What the registry and whoever asks it agree on besides the documents: the address, the limits, the names.

It imports nothing, so that a command that asks one thing does not wait for the models.
"""

from __future__ import annotations

DEFAULT_URL = "http://127.0.0.1:7070"

API_VERSION = "skycap.dev/v1alpha1"
SANDBOX = "Sandbox"
"""The `kind` of a sandbox's document."""
GROUP = "RouteGroup"
"""The same of a route group."""

MAX_WAIT_SECONDS = 60.0
"""The longest that one request may wait at the registry; who wants to wait longer asks again."""

DEFAULT_LINES = 100
MAX_LINES = 10_000
"""Of the output of one copy."""

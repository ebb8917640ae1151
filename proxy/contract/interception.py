"""What the redirection of connections and the sidecar that serves them must agree on."""

from __future__ import annotations

INBOUND_PORT = 15006
OUTBOUND_PORT = 15001
"""Where the application's clients, and where its calls, are redirected to: the ports of other meshes, which firewalls
and network policies know."""

SIDECAR_ID = 1337
"""The sidecar's user and group, whose own connections are left alone; also the one of other meshes."""

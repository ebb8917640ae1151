"""The environment variables by which a copy of a workload learns where it lives. Pure.

    PORT           the port that the application shall listen on
    PAYMENTS_URL   where it reaches its upstream `payments`: its own sidecar's outbound side

Nobody else may set them: a URL that bypasses the sidecar would lose the routing key without a sound.
"""

from __future__ import annotations

from collections.abc import Iterable

PORT = "PORT"


def upstream_variable(name: str) -> str:
    """The variable for the upstream `name`: upper case, `_` for `-`, `_URL` behind it."""
    return f"{name.upper().replace('-', '_')}_URL"


def reserved_variables(upstreams: Iterable[str]) -> dict[str, str]:
    """All that a copy with these upstreams gets by itself, each with what it says."""
    return {PORT: "the port to listen on"} | {
        upstream_variable(name): f"the address of upstream {name}" for name in upstreams
    }

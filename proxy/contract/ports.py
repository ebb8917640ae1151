"""On which port a shadow answers what was sent to one of its baseline's.

    {workload: shop/users, key: a, endpoints: ["10.0.0.7:8080"], ports: {"9090": 9091}}

A route that says `ports` leads to a copy of a whole pod: a request that was sent to port 9090 of the baseline goes to
port 9091 of the shadow, and one that was sent to a port that is not named goes to the same port. A route that does not
leads to its endpoints as they stand, as one to a process does, and so does a reader that was not redirected to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_PORTS = 64
"""That differ, of one route: a pod has a few."""

_PORT = re.compile(r"[1-9][0-9]{0,4}")


def decode_ports(value: object) -> dict[int, int] | None:
    """From the JSON form; None where nothing is said. Raises ValueError with one sentence."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or len(value) > MAX_PORTS:
        raise ValueError(f"must be an object of at most {MAX_PORTS} ports by port")
    found: dict[int, int] = {}
    for name, port in value.items():
        if not isinstance(name, str) or not _PORT.fullmatch(name) or not 1 <= int(name) <= 65535:
            raise ValueError("must be ports by port, from 1 to 65535, the first of them in quotes")
        if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
            raise ValueError(f'"{name}" does not lead to a port from 1 to 65535')
        found[int(name)] = port
    return found


def encode_ports(ports: Mapping[int, int]) -> dict[str, int]:
    return {str(name): port for name, port in sorted(ports.items())}

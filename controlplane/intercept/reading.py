"""Ports and networks as people write them. Each reader raises ValueError with a phrase that names the text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from controlplane.intercept.ruleset import Network, Ports

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_DIRECT = re.compile(r"([0-9]{1,5})=([0-9]{1,5})")


def read_ports(text: str) -> Ports:
    """`80,8000-8100`."""
    ranges = []
    for item in _items(text):
        match = _RANGE.fullmatch(item)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= low <= high <= 65535:
            raise ValueError(f"{item!r} is neither a port nor a range like 8000-8100")
        ranges.append((low, high))
    return tuple(ranges)


def read_networks(text: str) -> tuple[Network, ...]:
    """`10.0.0.0/8,fd00::/8`."""
    networks = []
    for item in _items(text):
        try:
            networks.append(ipaddress.ip_network(item))
        except ValueError as error:
            raise ValueError(f"{item!r} is no network like 10.0.0.0/8: {error}") from None
    return tuple(networks)


def read_direct_ports(text: str) -> tuple[tuple[int, int], ...]:
    """`15080=8080`."""
    pairs = []
    for item in _items(text):
        match = _DIRECT.fullmatch(item)
        pair = (int(match[1]), int(match[2])) if match else (0, 0)
        if not all(1 <= port <= 65535 for port in pair):
            raise ValueError(f"{item!r} is not PORT=PORT like 15080=8080")
        pairs.append(pair)
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"{text!r} names a port twice")
    return tuple(pairs)


def _items(text: str) -> Iterator[str]:
    return filter(None, (part.strip() for part in text.split(",")))

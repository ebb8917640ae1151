"""Whatever a client sends, in whatever pieces: the laws of `tests/conformance/laws.py` hold.

The first octet chooses the side, the second and third where the bytes are cut.
"""

from __future__ import annotations

from proxy.net.sniff import PREFACE
from tests.conformance.laws import complaints
from tests.conformance.memory import MemoryLane

SIDES = ("inbound", "outbound", "forward")


def one_input(data: bytes) -> None:
    if len(data) < 4 or data.startswith(PREFACE, 3):
        return  # HTTP/2 has a target of its own
    side, said = SIDES[data[0] % len(SIDES)], data[3:]
    at, second = sorted((data[1] % len(said), data[2] % len(said)))
    pieces = [piece for piece in (said[:at], said[at:second], said[second:]) if piece]
    seen = MemoryLane(side).converse(pieces, None)
    found = complaints(seen)
    assert not found, found

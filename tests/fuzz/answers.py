"""Whatever an origin answers, in whatever pieces: the laws hold, and the next request gets its own answer or none.

The first octet chooses the method and whether the origin closes, the second and third where its bytes are cut.
"""

from __future__ import annotations

from tests.conformance.laws import complaints
from tests.conformance.memory import MemoryLane

ASK = b" /first HTTP/1.1\r\nHost: shop\r\n\r\n"
NEXT = b"GET /second HTTP/1.1\r\nHost: shop\r\n\r\n"


def one_input(data: bytes) -> None:
    if len(data) < 4:
        return
    method, ends, said = (b"HEAD" if data[0] & 1 else b"GET"), bool(data[0] & 2), data[3:]
    at, second = sorted((data[1] % len(said), data[2] % len(said)))
    pieces = [piece for piece in (said[:at], said[at:second], said[second:]) if piece]
    seen = MemoryLane("inbound").converse([method + ASK], pieces, ends=ends, then=NEXT)
    found = complaints(seen, first=2)
    assert not found, found

"""SETTINGS (RFC 9113 section 6.5): what we tell each peer, and what a peer tells us."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from proxy.wire.h2.faults import FLOW_CONTROL_ERROR, PROTOCOL_ERROR, ConnectionFault
from proxy.wire.h2.frames import ACK, FRAME, MAX_WINDOW, SETTINGS, make_head

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6
ENABLE_CONNECT_PROTOCOL: Final = 8
"""RFC 8441 section 3."""

DEFAULT_WINDOW: Final = 65_535
DEFAULT_TABLE: Final = 4_096

_PAIR: Final = struct.Struct(">HI")

SETTINGS_ACK: Final = make_head(SETTINGS, ACK, 0)


def settings_frame(pairs: Sequence[tuple[int, int]]) -> bytes:
    return make_head(len(pairs) * 6 << 8 | SETTINGS, 0, 0) + b"".join([_PAIR.pack(*pair) for pair in pairs])


def read_settings(data: bytes) -> dict[int, int]:
    """The values of a SETTINGS frame, the last one of each, unknown ones included. Raises ConnectionFault."""
    values: dict[int, int] = {}
    for start in range(0, len(data), 6):
        name, value = _PAIR.unpack_from(data, start)
        if name == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1 (section 6.5.2)")
        if name == MAX_FRAME_SIZE and not FRAME <= value <= 0xFFFFFF:
            raise ConnectionFault(PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE out of its range (section 6.5.2)")
        if name in (ENABLE_PUSH, ENABLE_CONNECT_PROTOCOL) and value > 1:
            raise ConnectionFault(PROTOCOL_ERROR, "a SETTINGS switch that is neither 0 nor 1 (section 6.5.2)")
        values[name] = value
    return values

"""Frames of RFC 9113, section 4.1 and 6: nine bytes, then so many more."""

from __future__ import annotations

import struct

HEAD = struct.Struct(">IBI")
"""Length and type in one number, flags, stream."""

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED, PRIORITY = 0x8, 0x20

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, WINDOW, FRAME_SIZE = 1, 2, 3, 4, 5
DEFAULT_TABLE, DEFAULT_WINDOW, DEFAULT_FRAME = 4096, 65_535, 16_384

OPEN_WINDOW = 1 << 30
"""Nobody waits for us. Half of the largest: two readers give back all that they read, heads of frames as well."""
WINDOW_STEP = 1 << 29
"""How much is received before the connection's window is opened again."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", name, value) for name, value in values.items()))


def read_settings(payload: bytes) -> dict[int, int]:
    """What a SETTINGS frame says; of what is said twice, the last."""
    return dict(struct.iter_unpack(">HI", payload))


def window_update(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


def opening(*, client: bool) -> bytes:
    """The first bytes of a peer that wants no table for header blocks, no push, and no flow control."""
    said = {TABLE_SIZE: 0, WINDOW: OPEN_WINDOW} | ({ENABLE_PUSH: 0} if client else {})
    return (PREFACE if client else b"") + settings(said) + window_update(0, OPEN_WINDOW - DEFAULT_WINDOW)


def without_padding(flags: int, payload: bytes) -> bytes:
    """Of a HEADERS or DATA frame (6.1 and 6.2)."""
    start, end = 0, len(payload)
    if flags & PADDED:
        start, end = 1, end - payload[0]
    return payload[start + (5 if flags & PRIORITY else 0) : end]

"""Frames (RFC 9113 sections 4 and 6): made, taken apart, and put together again where one message has several.

What is written here is as small as every peer must take it: no frame of more than FRAME bytes, no padding.
"""

from __future__ import annotations

import struct
from typing import Final

from proxy.wire.h2.faults import ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, PROTOCOL_ERROR, ConnectionFault

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""Section 3.4."""

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

END_STREAM: Final = 1
ACK: Final = 1
END_HEADERS: Final = 4
PADDED: Final = 8
WITH_PRIORITY: Final = 32

FRAME: Final = 16_384
"""The largest payload (section 4.2), which is also the smallest that a peer may allow."""

HEAD_BYTES: Final = 9

BLOCK_WORK: Final = 32
"""What a stream costs that is answered at once, in frames of one byte."""

MAX_WINDOW: Final = (1 << 31) - 1
"""Section 6.9.1, and the largest stream number as well."""

MAX_BLOCK: Final = 65_536
"""Of a header block, as it comes and as it is written without a table: what a head of HTTP/1 may have. It is told to
peers as SETTINGS_MAX_HEADER_LIST_SIZE."""

MAX_CONTINUATIONS: Final = 16
"""Behind one HEADERS frame: enough for MAX_BLOCK in quarter frames. More of them are a flood (CVE-2024-27316)."""

_HEAD: Final = struct.Struct(">IBI")
_WORD: Final = struct.Struct(">I")
_SIZES: Final = {RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4, PRIORITY: 5}

head_of: Final = _HEAD.unpack_from
"""(length << 8 | type, flags, stream with its reserved bit) of the frame at an offset."""

make_head: Final = _HEAD.pack


def word_of(data: bytes, start: int = 0) -> int:
    """31 bits of four bytes; the first one is reserved wherever this is asked."""
    found: int = _WORD.unpack_from(data, start)[0] & MAX_WINDOW
    return found


def code_of(data: bytes, start: int = 0) -> int:
    """An error code, all 32 bits of it."""
    found: int = _WORD.unpack_from(data, start)[0]
    return found


def reset_frame(sid: int, code: int) -> bytes:
    return make_head(4 << 8 | RST_STREAM, 0, sid) + _WORD.pack(code)


def window_frame(sid: int, step: int) -> bytes:
    return make_head(4 << 8 | WINDOW_UPDATE, 0, sid) + _WORD.pack(step)


def goaway_frame(last: int, code: int, words: bytes = b"") -> bytes:
    """last: the highest stream that was, or will be, looked at; words: for whoever reads the other end's log."""
    return make_head((8 + len(words)) << 8 | GOAWAY, 0, 0) + _WORD.pack(last) + _WORD.pack(code) + words


def ping_ack(data: bytes) -> bytes:
    return make_head(8 << 8 | PING, ACK, 0) + data


def data_frame(sid: int, flags: int, data: bytes) -> bytes:
    return make_head(len(data) << 8, flags, sid) + data


def content_frames(sid: int, data: bytes) -> bytes:
    """All the content of a message, as DATA that ends its stream."""
    last = len(data) - 1 - (len(data) - 1) % FRAME
    whole = [data_frame(sid, 0, data[start : start + FRAME]) for start in range(0, last, FRAME)]
    return b"".join([*whole, data_frame(sid, END_STREAM, data[last:])])


def header_frames(sid: int, flags: int, block: bytes) -> bytes:
    """A block as HEADERS, and CONTINUATIONs where it is long. flags: END_STREAM or 0."""
    size = len(block)
    if size <= FRAME:
        return make_head(size << 8 | HEADERS, flags | END_HEADERS, sid) + block
    out: list[bytes] = []
    kind = HEADERS
    for start in range(0, size, FRAME):
        piece = block[start : start + FRAME]
        out.append(make_head(len(piece) << 8 | kind, flags | (END_HEADERS if start + FRAME >= size else 0), sid))
        out.append(piece)
        kind, flags = CONTINUATION, 0
    return b"".join(out)


def share(data: bytes, work: int) -> int:
    """Up to where the frames go, from the beginning of one on, that cost no more than so much work: one for a frame,
    BLOCK_WORK for one with a block. The length of what was read, or more, where all of them do."""
    pos, end = 0, len(data)
    while work > 0 and end - pos >= HEAD_BYTES:
        size, kind = head_of(data, pos)[0] >> 8, data[pos + 3]
        work -= BLOCK_WORK if kind == HEADERS else 1
        pos += HEAD_BYTES + size
    return pos if work <= 0 else end


def unpadded(data: bytes, flags: int) -> bytes:
    """The payload of DATA or HEADERS without its padding (section 6.1). Raises ConnectionFault."""
    if not flags & PADDED:
        return data
    if not data or data[0] >= len(data):
        raise ConnectionFault(PROTOCOL_ERROR, "padding of more than the frame (section 6.1)")
    return data[1 : len(data) - data[0]]


def assemble(data: bytes, start: int, flags: int, sid: int) -> tuple[bytes | None, int]:
    """The block of the HEADERS frame at `start`, without padding and priority and with what its CONTINUATIONs hold, and
    where the next frame begins; None when not all of it has come. Raises ConnectionFault."""
    stop = start + HEAD_BYTES + (head_of(data, start)[0] >> 8)
    block = unpadded(data[start + HEAD_BYTES : stop], flags)
    if flags & WITH_PRIORITY:
        if len(block) < 5:
            raise ConnectionFault(FRAME_SIZE_ERROR, "HEADERS too short for its priority (section 6.2)")
        if word_of(block) == sid:
            raise ConnectionFault(PROTOCOL_ERROR, "a stream that depends on itself (RFC 7540 section 5.3.1)")
        block = block[5:]
    parts = 0
    while not flags & END_HEADERS:
        if len(data) - stop < HEAD_BYTES:
            return None, 0
        head, flags, same = head_of(data, stop)
        size = head >> 8
        start, stop, parts = stop, stop + HEAD_BYTES + size, parts + 1
        if head & 255 != CONTINUATION or same & MAX_WINDOW != sid:
            raise ConnectionFault(PROTOCOL_ERROR, "another frame within a header block (section 6.10)")
        if size > FRAME:
            raise ConnectionFault(FRAME_SIZE_ERROR, "a frame of more than 16,384 bytes (section 4.2)")
        if parts > MAX_CONTINUATIONS or len(block) + size > MAX_BLOCK:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "a header block that is too large")
        if stop > len(data):
            return None, 0
        block += data[start + HEAD_BYTES : stop]
    return block, stop


def check_control(kind: int, flags: int, sid: int, size: int) -> None:
    """Sizes and streams of frames that are neither DATA nor HEADERS (section 6). Raises ConnectionFault."""
    if _SIZES.get(kind, size) != size:
        raise ConnectionFault(FRAME_SIZE_ERROR, "a frame of the wrong size (section 6)")
    if kind == SETTINGS and (size % 6 or (flags & ACK and size)):
        raise ConnectionFault(FRAME_SIZE_ERROR, "SETTINGS of the wrong size (section 6.5)")
    if kind == GOAWAY and size < 8:
        raise ConnectionFault(FRAME_SIZE_ERROR, "GOAWAY of the wrong size (section 6.8)")
    if sid if kind in (SETTINGS, PING, GOAWAY) else not sid and kind in (RST_STREAM, PRIORITY):
        raise ConnectionFault(PROTOCOL_ERROR, "a frame on the wrong kind of stream (section 6)")
    if kind in (CONTINUATION, PUSH_PROMISE):
        raise ConnectionFault(PROTOCOL_ERROR, "a frame out of place (sections 6.6 and 6.10)")

"""What frames say, read without an engine: one refuses to hear what it has not asked for."""

from __future__ import annotations

from hpack import Decoder, HPACKError

from proxy.wire.h2.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD_BYTES,
    HEADERS,
    PADDED,
    RST_STREAM,
    WITH_PRIORITY,
)

ANY_TABLE = 1 << 32
"""Bytes of the table that a peer may use: what a case has announced."""


class Heard:
    """What a client got on one connection.

    gone:       the code of the GOAWAY, None before
    resets:     stream -> code
    heads:      stream -> fields of its blocks, the last of a name
    data:       stream -> content
    ended:      streams that were ended in good order
    unfinished: the beginning of a frame
    faults:     what nobody may say
    """

    def __init__(self, data: bytes) -> None:
        self.gone: int | None = None
        self.resets: dict[int, int] = {}
        self.heads: dict[int, dict[bytes, bytes]] = {}
        self.data: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.unfinished = b""
        self.faults: list[str] = []
        self._decoder, self._block = Decoder(), b""
        self._decoder.max_allowed_table_size = ANY_TABLE
        at = 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 3])
            end = at + HEAD_BYTES + length
            if end > len(data):
                self.unfinished = data[at:]
                break
            sid = int.from_bytes(data[at + 5 : at + HEAD_BYTES])
            self._frame(data[at + 3], data[at + 4], sid, data[at + HEAD_BYTES : end])
            at = end

    def _frame(self, kind: int, flags: int, sid: int, payload: bytes) -> None:
        if sid in self.resets or (sid in self.ended and kind in (HEADERS, DATA)):
            self.faults.append(f"a frame of type {kind} behind the end of stream {sid}")
        if kind in (HEADERS, DATA) and flags & (PADDED | WITH_PRIORITY):
            payload = bare(kind, flags, payload)
        if kind in (HEADERS, CONTINUATION):
            self._block += payload
            if flags & END_HEADERS:
                self._head(sid)
        elif kind == DATA:
            self.data[sid] = self.data.get(sid, b"") + payload
        elif kind == RST_STREAM:
            self.resets[sid] = int.from_bytes(payload)
        elif kind == GOAWAY:
            self.gone = int.from_bytes(payload[4:8])
        if flags & END_STREAM and kind in (HEADERS, DATA):
            self.ended.add(sid)

    def _head(self, sid: int) -> None:
        try:
            fields = {bytes(name): bytes(value) for name, value in self._decoder.decode(self._block, raw=True)}
        except HPACKError as error:
            self.faults.append(f"a header block that is none: {error}")
        else:
            self.heads[sid] = self.heads.get(sid, {}) | fields
        self._block = b""

    def over(self, sid: int) -> bool:
        """Nothing more will be said on this stream."""
        return sid in self.ended or sid in self.resets


def bare(kind: int, flags: int, payload: bytes) -> bytes:
    """A payload without what may stand around it (sections 6.1 and 6.2)."""
    if flags & PADDED:
        payload = payload[1 : len(payload) - payload[0]]
    return payload[5:] if kind == HEADERS and flags & WITH_PRIORITY else payload

"""The chunked transfer coding (RFC 9112 section 7.1), read to find its end and to refuse what is ambiguous.

Chunks are forwarded as the bytes that came, extensions and trailers included; the reader only follows along. When
the next recipient cannot read chunks (HTTP/1.0) it asks for the payload instead.

    SIZE -> DATA -> CRLF -> SIZE ... -> TRAILER -> done

Only lines are ever held back by a caller, never data: a line that is not complete stays in the reader.
"""

from __future__ import annotations

import re

from proxy.errors import Failure, Refused
from proxy.wire.grammar import CHUNK_SIZE, FIELD_LINE, FIELD_VALUE

MAX_LINE = 4096
"""Bytes of a chunk-size line with its extensions. Extensions carry nothing that anybody uses; long ones are a way
to make a recipient work."""

MAX_TRAILER = 16 * 1024
"""Bytes of the trailer section."""

_QUOTED = rb"\"(?:[^\"\\\r\n\0]|\\[^\r\n\0])*+\""
_EXTENSION = rb"[ \t]*+;(?:[^\"\r\n\0]|" + _QUOTED + rb")*+"
_STRICT_SIZE = re.compile(CHUNK_SIZE + rb"(?:" + _EXTENSION + rb")?+\r\n")
_PADDED_SIZE = re.compile(CHUNK_SIZE + rb"(?:" + _EXTENSION + rb"|[ \t]++)?+\r\n")
"""Some servers pad sizes with spaces; in an answer that is harmless, since who reads it next skips them too."""

_TRAILER_LINE = re.compile(FIELD_LINE)
_FORBIDDEN_TRAILER = re.compile(
    rb"(?:transfer-encoding|content-length|host|connection|te|trailer|upgrade|expect|authorization|cookie|set-cookie"
    rb"|baggage|tracestate|traceparent|b3|x-b3-[a-z]++|skycap-[a-z-]++):" + FIELD_VALUE,
    re.IGNORECASE,
)
"""RFC 9110 section 6.5.1: a trailer must not carry framing, routing or authentication."""

_SIZE, _DATA, _CRLF, _TRAILER = range(4)


class ChunkedReader:
    """Follows one chunked body.

    failure: what a violation is: BAD_REQUEST or BAD_RESPONSE.
    padded:  white space behind a chunk size is allowed.
    payload: None, or the list into which the payload goes, for a recipient that cannot read chunks.
    done:    the body has ended.
    """

    __slots__ = ("_failure", "_left", "_line", "_size_line", "_state", "_trailer", "done", "payload")

    def __init__(self, failure: Failure, *, padded: bool = False) -> None:
        self._failure = failure
        self._size_line = _PADDED_SIZE if padded else _STRICT_SIZE
        self._state = _SIZE
        self._left = 0
        self._line = b""
        self._trailer = 0
        self.done = False
        self.payload: list[bytes] | None = None

    def __repr__(self) -> str:
        return f"<ChunkedReader {('size', 'data', 'crlf', 'trailer')[self._state]} left={self._left}>"

    def feed(self, data: bytes, start: int = 0) -> int:
        """Read `data` from `start`. Returns where the body ends in it, or len(data) when it goes on (or ends just
        there: see `done`). Raises Refused; then nothing of `data` may be forwarded."""
        size = len(data)
        while start < size and not self.done:
            if self._state == _DATA:
                stop = min(size, start + self._left)
                if self.payload is not None:
                    self.payload.append(data[start:stop])
                self._left -= stop - start
                start = stop
                if not self._left:
                    self._state = _CRLF
            else:
                start = self._read_line(data, start)
        return start

    def _read_line(self, data: bytes, start: int) -> int:
        """Take one line, or what there is of it. Returns where the next thing begins."""
        stop = data.find(b"\n", start) + 1
        limit = MAX_TRAILER if self._state == _TRAILER else MAX_LINE
        line = self._line + data[start : stop or len(data)]
        if len(line) > limit:
            raise Refused(self._failure, f"a line of a chunked body has more than {limit} bytes")
        if not stop:
            self._line = line
            self._check_prefix()
            return len(data)
        self._line = b""
        if self._state == _SIZE:
            self._end_of_size(line)
        elif self._state == _CRLF:
            if line != b"\r\n":
                raise Refused(self._failure, "chunk data does not end where its size says (RFC 9112 section 7.1)")
            self._state = _SIZE
        else:
            self._end_of_trailer(line)
        return stop

    def _check_prefix(self) -> None:
        """Refuse at once what no further byte can mend; a peer that waits for our answer sends no more."""
        if self._state == _CRLF and self._line != b"\r":
            raise Refused(self._failure, "chunk data does not end where its size says (RFC 9112 section 7.1)")
        if b"\r" in self._line[:-1]:
            raise Refused(self._failure, "a bare CR in a chunk line (RFC 9112 section 7.1)")

    def _end_of_size(self, line: bytes) -> None:
        match = self._size_line.fullmatch(line)
        if match is None:
            raise Refused(self._failure, "the chunk size is not hexadecimal digits CRLF (RFC 9112 section 7.1)")
        self._left = int(match[1], 16)
        self._state = _DATA if self._left else _TRAILER

    def _end_of_trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.done = True
            return
        self._trailer += len(line)
        if self._trailer > MAX_TRAILER:
            raise Refused(self._failure, f"the trailers have more than {MAX_TRAILER} bytes")
        if not _TRAILER_LINE.fullmatch(line):
            raise Refused(self._failure, "a trailer is not a field line (RFC 9112 section 7.1.2)")
        if _FORBIDDEN_TRAILER.match(line):
            raise Refused(
                self._failure, "a trailer carries framing, routing or authentication (RFC 9110 section 6.5.1)"
            )

"""The chunked transfer coding (RFC 9112 section 7.1), read to find its end and to refuse what is ambiguous.

Chunks are forwarded as the bytes that came, extensions and trailers included; the reader only follows along. When
the next recipient cannot read chunks (HTTP/1.0) it asks for the payload instead.

    SIZE -> DATA -> CRLF -> SIZE ... -> TRAILER -> done

Only lines are ever held back by a caller, never data: a line that is not complete stays in the reader.

The price of a body is that of its lines, and a sender chooses how many it makes of a megabyte. So what has come whole
is read without stepping through the states: chunks of up to 15 bytes and trailers by one pattern as long as they
follow each other (4 to 12 ms per MB), larger chunks by one look each (16 bytes: 25 ms per MB). Step by step the same
megabyte costs 250 ms.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.errors import Failure, Refused
from proxy.wire.grammar import CHUNK_EXTENSIONS, CHUNK_SIZE, FIELD_LINE, FIELD_VALUE

MAX_LINE: Final = 4096
"""Bytes of a chunk-size line with its extensions. Extensions carry nothing that anybody uses; long ones are a way
to make a recipient work."""

MAX_TRAILER: Final = 16 * 1024
"""Bytes of the trailer section."""

_QUOTED = rb"\"(?>(?:[^\"\\\r\n\0]|\\[^\r\n\0])*)\""
_TOLERATED = rb"(?>(?:[ \t]*+;(?>(?:[^\"\r\n\0]|" + _QUOTED + rb")*)|[ \t]++)?)"
"""Behind a size in an answer. Some servers pad sizes with spaces or write extensions of a shape of their own; who reads
them next skips them too. What is in a request has to be by the grammar."""

_FORBIDDEN_NAME = (
    rb"(?:transfer-encoding|content-length|host|connection|te|trailer|upgrade|expect|authorization|cookie|set-cookie"
    rb"|baggage|tracestate|traceparent|b3|x-b3-[a-z]++|skycap-[a-z-]++):"
)
"""RFC 9110 section 6.5.1: a trailer must not carry framing, routing or authentication."""

_TRAILER_LINE: Final = re.compile(FIELD_LINE)
_TRAILER_LINES: Final = re.compile(rb"(?>(?:(?!" + _FORBIDDEN_NAME + rb")" + FIELD_LINE + rb")*)", re.IGNORECASE)
_FORBIDDEN_TRAILER: Final = re.compile(_FORBIDDEN_NAME + FIELD_VALUE, re.IGNORECASE)


def _small_chunks(behind_size: bytes) -> re.Pattern[bytes]:
    """Any number of whole chunks of 1 to 15 bytes."""
    sizes = (
        b"[%x%X]%b\r\n(?s:.{%d})" % (size, size, behind_size, size)  # 0x1 to 0xf, 0x1 to 0xF
        for size in range(1, 16)
    )
    short_line = rb"(?=[^\n]{0,%d}+\n)" % (MAX_LINE - 1)
    return re.compile(rb"(?>(?:" + short_line + rb"0{0,14}+(?:" + b"|".join(sizes) + rb")\r\n)*)")


class _Lines:
    """How the lines between the data look. size: one size line; small: whole chunks, each with its line."""

    __slots__ = ("size", "small")

    def __init__(self, behind_size: bytes) -> None:
        self.size = re.compile(CHUNK_SIZE + behind_size + rb"\r\n")
        self.small = _small_chunks(behind_size)


_STRICT: Final = _Lines(CHUNK_EXTENSIONS)
_PADDED: Final = _Lines(_TOLERATED)

NO_LINE: Final = 0
BEGUN: Final = 1
LASTS: Final = 2
"""Of a line that is not complete, or of the trailers: there is none; it began in what was fed last; it began before."""

_LOOK: Final = 64
"""The work of looking at one chunk by itself."""

_SIZE: Final = 0
_DATA: Final = 1
_CRLF: Final = 2
_TRAILER: Final = 3


class ChunkedReader:
    """Follows one chunked body.

    failure: what a violation is: BAD_REQUEST or BAD_RESPONSE.
    padded:  it is an answer's: white space and any extension are allowed behind a chunk size.
    payload: None, or the list into which the payload goes, for a recipient that cannot read chunks.
    done:    the body has ended.
    work, line: as in `proxy.wire.body.BodyReader`.
    """

    __slots__ = ("_failure", "_left", "_line", "_lines", "_state", "_trailer", "done", "line", "payload", "work")

    def __init__(self, failure: Failure, *, padded: bool = False) -> None:
        self._failure = failure
        self._lines = _PADDED if padded else _STRICT
        self._state = _SIZE
        self._left = 0
        self._line = b""
        self._trailer = 0
        self.done = False
        self.work = 0
        self.line = NO_LINE
        self.payload: list[bytes] | None = None

    def __repr__(self) -> str:
        return f"<ChunkedReader {('size', 'data', 'crlf', 'trailer')[self._state]} left={self._left}>"

    def feed(self, data: bytes, start: int = 0) -> int:
        """Read `data` from `start`. Returns where the body ends in it, or len(data) when it goes on (or ends just
        there: see `done`). Raises Refused; then nothing of `data` may be forwarded."""
        size = len(data)
        trailing = self._state == _TRAILER
        grown = len(self._line) + size - start
        while start < size and not self.done:
            if self._state == _DATA:
                stop = min(size, start + self._left)
                if self.payload is not None:
                    self.payload.append(data[start:stop])
                self._left -= stop - start
                start = stop
                if not self._left:
                    self._state = _CRLF
            elif self._state == _SIZE and not self._line:
                start = self._whole_chunks(data, start)
                if start < size:
                    start = self._read_line(data, start)
            elif self._state == _TRAILER and not self._line:
                start = self._read_line(data, self._whole_trailers(data, start))
            else:
                start = self._read_line(data, start)
        if self._state == _TRAILER and not self.done:
            self.line = LASTS if trailing else BEGUN
        elif self._line:
            self.line = LASTS if self.line != NO_LINE and len(self._line) == grown else BEGUN
        else:
            self.line = NO_LINE
        return start

    def _whole_chunks(self, data: bytes, start: int) -> int:
        """Pass the chunks that have come whole. Returns where the first one begins that has not, or is the last or
        a bad one."""
        read_size, small, payload = self._lines.size.match, self._lines.small.match, self.payload
        while True:
            if payload is None:
                match = small(data, start)
                assert match is not None
                self.work += match.end() - start
                start = match.end()
            self.work += _LOOK
            match = read_size(data, start)
            if match is None or match.end() - start > MAX_LINE:
                return start
            first = match.end()
            stop = first + int(match[1], 16)
            if stop == first or data[stop : stop + 2] != b"\r\n":
                return start
            if payload is not None:
                payload.append(data[first:stop])
            start = stop + 2

    def _whole_trailers(self, data: bytes, start: int) -> int:
        """Pass the trailers that have come whole. Returns where the first one begins that has not, or is a bad one."""
        match = _TRAILER_LINES.match(data, start, min(len(data), start + MAX_TRAILER - self._trailer))
        assert match is not None
        self._trailer += match.end() - start
        self.work += 4 * (match.end() - start)
        return match.end()

    def _read_line(self, data: bytes, start: int) -> int:
        """Take one line, or what there is of it. Returns where the next thing begins."""
        self.work += 2 * _LOOK
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
        match = self._lines.size.fullmatch(line)
        if match is None:
            raise Refused(self._failure, _why_no_size(line))
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


_NUMBER: Final = re.compile(CHUNK_SIZE + rb"[ \t]*+;")


def _why_no_size(line: bytes) -> str:
    if _NUMBER.match(line):
        return "a chunk extension is not ;NAME or ;NAME=VALUE (RFC 9112 section 7.1.1)"
    return "the chunk size is not hexadecimal digits CRLF (RFC 9112 section 7.1)"

"""An answer's text on its way through a gateway: links to the target's own host lead back, and a page gets its banner.

A host counts where two slashes stand in front, as in `http://HOST/path` and `//HOST/path`, or two escaped ones, as JSON
and scripts have them, and nothing behind it that could go on with its name. The body comes in pieces; what may be the
beginning of a host at the end of one waits for the next, so that pieces make no difference.

The banner is inserted behind the doctype, where a parser still expects the document's head (HTML standard, section
13.2.6.4): in front of it, the page would be laid out by other rules.
"""

from __future__ import annotations

import re
from typing import Final

_SLASHES: Final = (b"//", b"\\/\\/")

_MARK: Final = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8."""

_DOCTYPE: Final = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|<!--(?s:.*?)-->)*<!doctype[^>]*>", re.IGNORECASE)

_NO_DOCTYPE: Final = re.compile(rb"(?>(?:\xef\xbb\xbf)?)(?>(?:\s|<!--(?s:.*?)-->)*)(?:[^<\s]|<[^!\s]|<![^-dD])")
"""The document has begun with something else."""

BEGINNING: Final = 4096
"""Bytes in which a doctype is looked for."""

END: Final = b"0\r\n\r\n"


class Rewriter:
    """One body.

    It leaves in chunks (RFC 9112 section 7.1), since nobody knows how long it will be.

    old, new: HOST[:PORT] of the target and of the preview.
    banner:   HTML to insert, b"" for none.
    """

    def __init__(self, old: bytes, new: bytes, banner: bytes) -> None:
        self._new = new
        self._banner = banner
        self._pattern = re.compile(rb"(//|\\/\\/)" + re.escape(old) + rb"(?![0-9A-Za-z_.:-])", re.IGNORECASE)
        self._starts = [slashes + old.lower() for slashes in _SLASHES]
        self._held = b""

    def feed(self, data: bytes, *, last: bool) -> bytes:
        """What leaves of the body, as chunks, for the bytes that came; last: they are all that is left."""
        data = self._held + data
        self._held = b""
        banner = b""
        if self._banner:
            end = self._insertion(data, last)
            if end < 0:
                self._held = data
                return b""
            banner, self._banner = data[:end] + self._banner, b""
            data = data[end:]
        if not last:
            stop = self._begun(data)
            data, self._held = data[:stop], data[stop:]
        data = banner + self._pattern.sub(self._replaced, data)
        chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        return chunk + END if last else chunk

    def _replaced(self, match: re.Match[bytes]) -> bytes:
        return match[1] + self._new

    def _insertion(self, data: bytes, last: bool) -> int:
        """Where the banner belongs, -1 when that cannot be told yet."""
        found = _DOCTYPE.match(data)
        if found is not None:
            return found.end()
        if not last and _MARK.startswith(data):
            return -1
        return 0 if last or len(data) > BEGINNING or _NO_DOCTYPE.match(data) else -1

    def _begun(self, data: bytes) -> int:
        """Where a host begins that may go on in the next piece; the end when none does. One that is whole counts, too:
        what follows may belong to its name."""
        longest = len(self._starts[1])
        low = data[-longest:].lower()
        for at in range(len(low)):
            rest = low[at:]
            if any(start.startswith(rest) for start in self._starts):
                return len(data) - len(low) + at
        return len(data)

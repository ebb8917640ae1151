"""A chunked body has one end and one payload, whole or in pieces, and the reference reader finds the same.

What has none is refused or unfinished. The first octet chooses between a request's body and an answer's, the second
and third where it is cut.
"""

from __future__ import annotations

from proxy.errors import BAD_REQUEST, BAD_RESPONSE, Refused
from proxy.wire.chunked import ChunkedReader
from tests.conformance.messages import read_message

_HEAD = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
_REFUSED = object()


def _read(pieces: list[bytes], answer: bool) -> object:
    """(end, payload) of a finished body, the payload so far of an unfinished one, or that it was refused."""
    reader = ChunkedReader(BAD_RESPONSE if answer else BAD_REQUEST, padded=answer)
    payload: list[bytes] = []
    reader.payload = payload
    taken = 0
    for piece in pieces:
        try:
            taken += reader.feed(piece)
        except Refused:
            return _REFUSED
        if reader.done:
            return taken, b"".join(payload)
    return b"".join(payload)


def one_input(data: bytes) -> None:
    if len(data) < 4:
        return
    answer, body = bool(data[0] & 1), data[3:]
    at, second = sorted((data[1] % (len(body) + 1), data[2] % (len(body) + 1)))
    whole = _read([body], answer)
    cut = _read([body[:at], body[at:second], body[second:]], answer)
    if whole is _REFUSED or cut is _REFUSED:
        # A cut may tell what is wrong earlier or later, but never finish what is wrong.
        assert not isinstance(whole, tuple)
        assert not isinstance(cut, tuple)
    else:
        assert whole == cut
    if isinstance(whole, tuple):
        message = read_message(_HEAD + body, 0, None)
        assert message is not None
        assert message.complete
        assert whole == (message.size - len(_HEAD), message.body)

"""A response head that is taken, mended or not, means the same to the reference reader: status and body.

What is not taken is refused as a bad response, or unfinished; nothing else is ever raised. The first octet of the
input chooses the method that is answered.
"""

from __future__ import annotations

from proxy.errors import BAD_RESPONSE, Refused
from proxy.wire.framing import CHUNKED, NO_BODY, UNTIL_CLOSE
from proxy.wire.head import HeadParser, Limits
from tests.conformance.messages import Framing, read_message

_PARSER = HeadParser(Limits())
_METHODS = (b"GET", b"HEAD", b"POST")
_FRAMING = {Framing.NONE: NO_BODY, Framing.CHUNKED: CHUNKED, Framing.CLOSE: UNTIL_CLOSE}


def one_input(data: bytes) -> None:
    method = _METHODS[data[0] % len(_METHODS)] if data else b"GET"
    refusal = None
    try:
        head = _PARSER.response(data[1:], method)
    except Refused as refused:
        refusal = refused
    if refusal is not None:
        assert refusal.failure is BAD_RESPONSE
        assert refusal.detail.isascii()
        return
    if head is None:
        assert len(data) <= Limits().head_bytes + 1, "unfinished beyond every limit"
        return
    if head.status < 200 or head.status in (204, 304):
        assert head.body == NO_BODY or head.status < 200
        return  # what it announces is taken out when it is forwarded; `answers` looks at that
    message = read_message(head.data[: head.end], 0, method)
    if message is None:
        raise AssertionError("the head has no end")
    assert len(message.head) == head.end, "the head ends elsewhere"
    assert message.status == head.status
    if message.framing is Framing.LENGTH:
        assert head.body == int(message.values(b"content-length")[0])
    else:
        assert head.body == _FRAMING[message.framing]

"""A request head that is taken means the same to the reference reader: method, target, version and body.

What is not taken is refused with one of the documented failures, or unfinished; nothing else is ever raised.
"""

from __future__ import annotations

from proxy.errors import FAILURES, Refused
from proxy.wire.framing import CHUNKED
from proxy.wire.head import HeadParser, Limits
from tests.conformance.messages import Framing, read_message

_PARSER = HeadParser(Limits())
_FRAMING = {Framing.NONE: 0, Framing.CHUNKED: CHUNKED}


def one_input(data: bytes) -> None:
    refusal = None
    try:
        head = _PARSER.request(data)
    except Refused as refused:
        refusal = refused
    if refusal is not None:
        assert refusal.failure in FAILURES
        assert refusal.detail.isascii()
        return
    if head is None:
        assert len(data) <= Limits().head_bytes, "unfinished beyond every limit"
        return
    message = read_message(head.data[: head.end], 0, None)
    assert message is not None
    assert len(message.head) == head.end, "the head ends elsewhere"
    assert message.start[:2] == (head.method, head.target)
    assert (message.start[2] == b"HTTP/1.0") == head.http10
    lengths = message.values(b"content-length")
    assert head.body == _FRAMING.get(message.framing, int(lengths[0]) if lengths else 0)

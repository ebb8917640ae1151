"""However the bytes were cut on their way, the messages are the same; and small cuts cost nobody but their sender."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.wire.head import HeadParser, Limits, RequestHead, ResponseHead
from tests.proxy.exchange.playbook import OK, Client, Peer, Playbook, PlayedUpstream, get, keyed, ready
from tests.proxy.exchange.test_messages import ANSWERS, REQUESTS

UPLOADS = [request for request in REQUESTS.values() if not request.startswith(b"OPTIONS")]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:stop] for start, stop in pairwise(places)]


@settings(max_examples=150, deadline=None)
@given(
    requests=st.lists(st.sampled_from(UPLOADS), min_size=1, max_size=6),
    answers=st.lists(st.sampled_from(list(ANSWERS.values())), min_size=6, max_size=6),
    request_cuts=st.lists(st.integers(0, 10_000), max_size=12),
    answer_cuts=st.lists(st.integers(0, 10_000), max_size=6),
    held_back=st.integers(0, 4),
)
def test_a_conversation_does_not_depend_on_how_it_was_cut(
    requests: list[bytes], answers: list[bytes], request_cuts: list[int], answer_cuts: list[int], held_back: int
) -> None:
    """Pipelined as it comes. held_back: pieces that come only when an answer was given."""
    book = Playbook()
    client = book.connect(book.inbound())
    coming = pieces(b"".join(requests), request_cuts)
    later = coming[len(coming) - held_back :] if held_back else []
    for piece in coming[: len(coming) - len(later)]:
        client.send(piece)
    for request, answer in zip(requests, answers, strict=False):
        while book.app.dials or not book.app.made or not whole(book, request):
            if book.app.dials:
                book.app.accept()
            else:
                client.send(later.pop(0))
        app = book.app.made[-1]
        assert app.new() == request
        for piece in pieces(answer, answer_cuts):
            app.send(piece)
        assert client.new() == answer
    rested = sum(answer.startswith((b"HTTP/1.1 204", b"HTTP/1.1 304")) for answer in answers[: len(requests)])
    assert len(book.app.made) <= 1 + rested
    assert client.calls == []
    book.ends_clean()


def whole(book: Playbook, request: bytes) -> bool:
    """The request in hand has arrived as far as it goes."""
    return len(book.app.made[-1].got) >= len(request)


class CountingParser(HeadParser):
    """How often heads are looked at."""

    __slots__ = ("looks",)

    def __init__(self) -> None:
        super().__init__(Limits())
        self.looks = 0

    def request(self, data: bytes) -> RequestHead | None:
        self.looks += 1
        return super().request(data)

    def response(self, data: bytes, method: bytes) -> ResponseHead | None:
        self.looks += 1
        return super().response(data, method)


def looks_at(book: Playbook, peer: Peer, client: Client, data: bytes) -> int:
    parser = client.exchange.side.parser = CountingParser()
    peer.send(data)
    return parser.looks


@pytest.mark.interpreted  # counts by a subclass
def test_a_head_in_single_bytes_is_looked_at_once_a_line() -> None:
    """Otherwise sixty kilobytes in single bytes cost a minute, and everybody has to wait for it."""
    lines = [f"x-{number}: {'y' * 400}" for number in range(100)]
    book = Playbook(step=1, routes=[ready()])
    client = book.connect(book.inbound())
    assert looks_at(book, client, client, keyed("agent-42", "/", *lines)) <= len(lines) + 5
    shadow: PlayedUpstream = book.shadow.accept()
    head = "HTTP/1.1 200 OK\r\n" + "".join(f"{line}\r\n" for line in lines) + "content-length: 2\r\n\r\n"
    assert looks_at(book, shadow, client, head.encode() + b"ok") <= len(lines) + 5
    assert client.got.endswith(b"\r\n\r\nok")
    book.ends_clean()


def test_a_line_without_an_end_is_refused_at_its_limit() -> None:
    book = Playbook(step=1000)
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000)
    assert b'"bad-response"' in client.got
    assert app.unread > 3000
    client = book.connect(book.inbound())
    client.send(b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000)
    assert client.got.startswith(b"HTTP/1.1 431 ")
    client = book.connect(book.inbound())
    client.send(get())
    book.app.accept().send(OK)
    assert client.got == OK
    book.ends_clean()

"""What is written down about a request when it is over: by decision, status class and duration, once."""

from __future__ import annotations

import pytest

from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, Playbook, get, keyed, ready

DAY = 86_400.0


@pytest.mark.parametrize("status", [200, 204, 302, 404, 503, 599])
def test_by_status_class(make_book: MakeBook, step: int, status: int) -> None:
    book = make_book(step=step)
    client = book.connect(book.inbound())
    client.send(get())
    book.app.accept().send(b"HTTP/1.1 %d x\r\ncontent-length: 0\r\n\r\n" % status)
    assert book.counters.inbound.requests["baseline"][status // 100] == 1
    assert sum(map(sum, book.counters.inbound.requests.values())) == 1


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.000_001_5, 1), (0.000_100, 7), (0.5, 19), (60.0, 26), (30 * DAY, 42)]
)
def test_by_duration(book: Playbook, seconds: float, bucket: int) -> None:
    """In powers of two of a microsecond. A stream may live for a month."""
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    book.clock.now += seconds
    app.send(OK)
    figures = book.counters.inbound
    assert [number for number, count in enumerate(figures.durations) if count] == [bucket]
    assert figures.duration_sum == pytest.approx(seconds)


def test_from_the_end_of_the_head_of_each(book: Playbook) -> None:
    client = book.connect(book.inbound())
    app = book.app.keep()
    client.send(get()[:10])
    book.clock.now += 5
    for _ in range(3):
        client.send(get() if client.got else get()[10:])
        book.clock.now += 0.25
        app.send(OK)
        book.clock.now += 5
    assert book.counters.inbound.duration_sum == pytest.approx(0.75)


def test_spans_are_for_keyed_requests(make_book: MakeBook) -> None:
    book = make_book(routes=[ready()])
    client = book.connect(book.inbound())
    client.send(get())
    book.app.accept().send(OK)
    client.send(keyed())
    book.shadow.accept().send(OK.replace(b"200", b"404"))
    client.send(keyed())
    book.shadow.made[-1].vanish()
    book.shadow.refuse()
    client.send(keyed())
    client.vanish()
    assert book.spans.seen == [
        ("GET", "agent-42", 404, ""),
        ("GET", "agent-42", 503, "shadow-unreachable"),
        ("GET", "agent-42", 0, "client-lost"),
    ]


def test_a_request_that_never_began_is_not_counted(book: Playbook) -> None:
    client = book.connect(book.inbound())
    client.send(get()[:10])
    client.vanish()
    assert sum(map(sum, book.counters.inbound.requests.values())) == 0

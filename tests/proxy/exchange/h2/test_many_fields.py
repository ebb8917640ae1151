"""A field may be one byte of a block: blocks of many cost what their first few cost, and no more is read of them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

import pytest

from proxy.exchange.h2.kinds import Kinds
from proxy.wire.h2.faults import ConnectionFault, StreamFault
from proxy.wire.h2.frames import END_HEADERS, END_STREAM, FRAME, HEADERS, RST_STREAM, make_head
from proxy.wire.h2.hpack import Table, literal
from proxy.wire.head import Limits
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.h2.play import Caller, Service, frame

MOST = 128
ONE = b"\x8f"
"""A whole field, by its index in the static table."""

HEAD = b"\x82\x86\x84" + literal(b":authority", b"users")
BOTH = END_HEADERS | END_STREAM


def calls(read: Callable[[], object]) -> int:
    """How many functions it takes, Python's and C's."""
    count = 0

    def event(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # its callbacks are calls, too
    sys.setprofile(event)
    try:
        read()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def refused(kinds: Kinds, block: bytes) -> None:
    for read in (lambda: kinds.request(block, asleep=False), lambda: kinds.answer(block)):
        with pytest.raises(StreamFault, match=f"more than {MOST} fields"):
            read()


@pytest.mark.interpreted  # counted by a profiler, which compiled functions do not call
@pytest.mark.parametrize("size", [MOST + 1, 4_000, 60_000])
def test_a_block_is_read_as_far_as_it_may_go(size: int) -> None:
    """60,000 of them once took a tenth of a second."""
    kinds = Kinds(frozenset(), Limits(header_lines=MOST))
    assert calls(lambda: refused(kinds, ONE * size)) <= 2 * 12 * MOST


@pytest.mark.interpreted
@pytest.mark.parametrize("part", [ONE, b"\x20"], ids=["fields", "size updates"])
def test_so_is_one_of_a_peer_that_has_a_table(part: bytes) -> None:
    """What is refused has to be read to its end, since others refer to it; else nothing more is read from this peer."""

    def read() -> None:
        with pytest.raises(ConnectionFault, match="too many"):
            Table(2 * MOST).plain(part * 60_000)

    assert calls(read) <= 2 * 12 * MOST


@pytest.mark.parametrize("count", [MOST, FRAME - 50])
def test_only_its_stream_ends(make_book: MakeBook, step: int, count: int) -> None:
    book = make_book(step=step)
    client = Caller(book, book.inbound())
    client.link.table = None
    client.send(frame(HEADERS, BOTH, 1, HEAD + ONE * count))
    assert make_head(4 << 8 | RST_STREAM, 0, 1) in client.got
    assert not client.closed


def test_trailers_too(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = Caller(book, book.inbound())
    client.link.table = None
    client.send(frame(HEADERS, END_HEADERS, 1, HEAD))
    Service(book.app)
    client.send(frame(HEADERS, BOTH, 1, ONE * (MOST + 1)))
    assert make_head(4 << 8 | RST_STREAM, 0, 1) in client.got
    assert not client.closed


def test_with_a_table_twice_as_many_are_read(make_book: MakeBook, step: int) -> None:
    book = make_book(step=step)
    client = Caller(book, book.inbound())
    assert client.link.table is not None
    client.send(frame(HEADERS, BOTH, 1, HEAD + ONE * MOST))
    assert make_head(4 << 8 | RST_STREAM, 0, 1) in client.got
    assert not client.closed
    client.send(frame(HEADERS, BOTH, 3, HEAD + ONE * 2 * MOST))
    assert client.closed

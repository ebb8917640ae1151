"""A body on its way through a gateway: links to the target lead back, and a page gets its banner, in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.exchange.rewriting import BEGINNING, Rewriter

OLD, NEW, BANNER = b"127.0.0.1:18080", b"abc--web.localhost:7080", b"<script></script>"


def unchunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        body, data = body + data[:count], data[count + 2 :]
        if not count:
            assert not data, "something stands behind the end"
            return body
    raise AssertionError("no end")


def rewritten(*pieces: bytes, banner: bytes = b"") -> bytes:
    rewriter = Rewriter(OLD, NEW, banner)
    return unchunked(
        b"".join(rewriter.feed(piece, last=number == len(pieces)) for number, piece in enumerate(pieces, 1))
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'<a href="http://127.0.0.1:18080/x">', b'<a href="http://abc--web.localhost:7080/x">'),
        (b"url(//127.0.0.1:18080)", b"url(//abc--web.localhost:7080)"),
        (rb'{"u":"http:\/\/127.0.0.1:18080\/x"}', rb'{"u":"http:\/\/abc--web.localhost:7080\/x"}'),
        (b"ws://127.0.0.1:18080", b"ws://abc--web.localhost:7080"),
        (b"http://127.0.0.1:180801/", b"http://127.0.0.1:180801/"),
        (b"http://127.0.0.1:18080.example/", b"http://127.0.0.1:18080.example/"),
        (b"http://1127.0.0.1:18080/", b"http://1127.0.0.1:18080/"),
        (b"it listens on 127.0.0.1:18080", b"it listens on 127.0.0.1:18080"),
        (b"", b""),
        (b"//", b"//"),
    ],
)
def test_what_counts_as_the_target(before: bytes, after: bytes) -> None:
    assert rewritten(before) == after
    assert rewritten(*(before[at : at + 1] for at in range(len(before))), b"") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"<!doctype html><html>", b"<!doctype html>" + BANNER + b"<html>"),
        (
            b"\xef\xbb\xbf\n<!-- a > b -->\n<!DOCTYPE html PUBLIC>x",
            b"\xef\xbb\xbf\n<!-- a > b -->\n<!DOCTYPE html PUBLIC>" + BANNER + b"x",
        ),
        (b"<html>", BANNER + b"<html>"),
        (b"just text", BANNER + b"just text"),
        (b"<!-- no doctype --><p>", BANNER + b"<!-- no doctype --><p>"),
        (b"<!doctype", BANNER + b"<!doctype"),
        (b"", BANNER),
    ],
)
def test_where_the_banner_stands(before: bytes, after: bytes) -> None:
    assert rewritten(before, banner=BANNER) == after
    assert rewritten(*(before[at : at + 1] for at in range(len(before))), b"", banner=BANNER) == after


def test_a_doctype_is_not_looked_for_for_ever() -> None:
    rewriter = Rewriter(OLD, NEW, BANNER)
    assert rewriter.feed(b"<!--" + b"-" * BEGINNING, last=False) != b""


def test_nothing_waits_that_cannot_be_the_beginning_of_a_host() -> None:
    rewriter = Rewriter(OLD, NEW, b"")
    assert rewriter.feed(b'{"n":1}\n', last=False) == b'8\r\n{"n":1}\n\r\n'
    assert rewriter.feed(b"", last=False) == b""
    assert rewriter.feed(b"", last=True) == b"0\r\n\r\n"


@given(
    st.lists(st.sampled_from([b"//127.0.0.1:18080", b"http:", b"/", b"x", b"\\/\\/127.0.0.1:18080", b"127", b":"])),
    st.data(),
)
def test_pieces_make_no_difference(parts: list[bytes], data: st.DataObject) -> None:
    body = b"".join(parts)
    cut = data.draw(st.integers(0, len(body)))
    assert rewritten(body[:cut], body[cut:]) == rewritten(body)

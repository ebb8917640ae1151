"""Where the fuzzer starts: the bytes of the corpus, in the form that each target reads."""

from __future__ import annotations

from collections.abc import Iterator

import hpack

from proxy.wire.h2.frames import (
    data_frame,
    goaway_frame,
    header_frames,
    make_head,
    ping_ack,
    reset_frame,
    window_frame,
)
from proxy.wire.h2.hpack import literals
from proxy.wire.h2.settings import settings_frame
from tests.conformance.corpus import Kind, load_corpus
from tests.conformance.memory import AUTHORITY

LARGEST = 2048
"""Bytes. Longer seeds are about limits, and slow everything down."""

CARRIERS = (
    b"routing-key=agent-42", b"a=1,routing-key=agent-42;p=1,b=2", b"undefined,routing-key=x", b"sd-routing-key=a%2Db",
    b"trouting-key=b\nrouting-key=a", b"routing-key=\nrouting-key=a", b"tvendor=1,sd-routing-key=k", b"a=%,b==,=c,,;",
    b"routing-key=\xff%zz", b" a = 1 \n, routing-key = k ; x",
)  # fmt: skip


def _blocks() -> Iterator[bytes]:
    """Two blocks each, as an encoder with a table writes them."""
    for huffman in (False, True):
        for more in range(6):
            encoder = hpack.Encoder()
            fields = [(b":method", b"GET"), (b":path", b"/a"), (b"baggage", b"routing-key=agent-42")]
            fields += [(b"x-%d" % number, b"v" * number) for number in range(more)]
            first, second = (encoder.encode(fields, huffman=huffman) for _ in range(2))
            size = len(first) + len(second)
            yield bytes([min(255, (len(first) - 1) * 256 // size + 1)]) + first + second


def _frames() -> Iterator[bytes]:
    """What a client sends, and a server."""
    block = b"\x83\x86\x84" + literals(((b":authority", b"users"), (b"baggage", b"routing-key=agent-42")))
    ask = header_frames(1, 0, block)
    content = data_frame(1, 1, b"content")
    for said in (
        ask, ask + content, ask + window_frame(1, 10) + content, ask + reset_frame(1, 8), header_frames(1, 1, block),
        ask + header_frames(1, 1, literals(((b"a", b"b"),))), goaway_frame(0, 0), ping_ack(b"12345678"),
        settings_frame(((4, 10), (3, 1))), make_head(8 << 8 | 6, 0, 0) + b"12345678" + ask,
    ):  # fmt: skip
        yield b"\0\x07" + said
    answer = header_frames(1, 0, b"\x88")
    for said in (answer, answer + content, header_frames(1, 1, b"\x88"), reset_frame(1, 7), goaway_frame(0, 0)):
        yield b"\x01\x05" + said


def _heads() -> Iterator[bytes]:
    """Of requests and of answers."""
    for case in load_corpus():
        data = case.fill(case.origin if case.kind is Kind.RESPONSE else case.client, AUTHORITY)
        if len(data) <= LARGEST:
            yield data


def seeds(target: str) -> Iterator[bytes]:
    """The seeds of one target."""
    if target == "carriers":
        yield from CARRIERS
        return
    if target == "header_blocks":
        yield from _blocks()
        return
    if target == "frames":
        yield from _frames()
        return
    if target == "plain_heads":
        yield from _heads()
        return
    answers = target in ("answers", "response_heads")
    for case in load_corpus():
        data = case.fill(case.origin if answers else case.client, AUTHORITY)
        if (case.kind is Kind.RESPONSE) != answers or len(data) > LARGEST:
            continue
        if target == "request_heads":
            yield data
        elif target == "response_heads":
            yield b"\0" + data
        elif target == "chunks":
            if b"chunked\r\n\r\n" in data:
                yield b"\0\x07\x0b" + data.partition(b"\r\n\r\n")[2]
        else:
            yield b"\0\x11\x2b" + data

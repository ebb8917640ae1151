"""Where the fuzzer starts: the bytes of the corpus, in the form that each target reads."""

from __future__ import annotations

from collections.abc import Iterator

from tests.conformance.corpus import Kind, load_corpus
from tests.conformance.memory import AUTHORITY

LARGEST = 2048
"""Bytes. Longer seeds are about limits, and slow everything down."""

CARRIERS = (
    b"routing-key=agent-42", b"a=1,routing-key=agent-42;p=1,b=2", b"undefined,routing-key=x", b"sd-routing-key=a%2Db",
    b"trouting-key=b\nrouting-key=a", b"routing-key=\nrouting-key=a", b"tvendor=1,sd-routing-key=k", b"a=%,b==,=c,,;",
    b"routing-key=\xff%zz", b" a = 1 \n, routing-key = k ; x",
)  # fmt: skip


def seeds(target: str) -> Iterator[bytes]:
    """The seeds of one target."""
    if target == "carriers":
        yield from CARRIERS
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

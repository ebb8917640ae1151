"""The scanner of plain heads and the patterns come to the same with every byte, of requests and of answers."""

from __future__ import annotations

from tests.proxy.wire.both import check


def one_input(data: bytes) -> None:
    check(data)

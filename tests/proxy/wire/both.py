"""Heads read by the scanner and by the patterns, which have to come to the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.errors import Refused
from proxy.wire.head import HeadParser, Limits, RequestHead, ResponseHead
from proxy.wire.scan import ScanningParser

WATCHED = ("x-watched", "x-request-tag")


def said(read: Callable[[], RequestHead | ResponseHead | None]) -> dict[str, Any] | tuple[str, str] | None:
    """Everything that is told of a head, or how it is refused."""
    try:
        head = read()
    except Refused as refused:
        return refused.failure.code, refused.detail
    if head is None:
        return None
    names = [name for name in dir(head) if not name.startswith("_") and not callable(getattr(head, name))]
    found = {name: getattr(head, name) for name in names}
    if "lines" in found:
        assert found["lines"] in (0, found["low"].count(b"\r\n"))
        del found["lines"]
    return found


def check(data: bytes, limits: Limits = Limits(), method: bytes = b"GET") -> None:  # noqa: B008 (frozen)
    """Both come to the same, also the second time, when the scanner knows the names."""
    patterns, scanner = HeadParser(limits, WATCHED), ScanningParser(limits, WATCHED)
    for _ in range(2):
        assert said(lambda: scanner.request(data)) == said(lambda: patterns.request(data))
        assert said(lambda: scanner.response(data, method)) == said(lambda: patterns.response(data, method))

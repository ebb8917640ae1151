"""How the bytes of a case are cut into writes.

A parser that keeps state between two reads can be right on the whole message and wrong on a cut one, so the cut is
part of every claim. `whole` and `piped` (a probe rides in the same write behind the case) find what one read can
find; `split` cuts in two at one place and lets the proxy read the first part before the second is sent; `bytewise`
writes every byte alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.conformance.corpus import Case, Forward, Kind

BYTEWISE_LIMIT = 2048
"""Bytes. Longer cases are about size, and their cuts are covered by the splits."""


@dataclass(frozen=True)
class Delivery:
    """One way to cut. at: where a split cuts, in bytes from the start."""

    name: str
    at: int = 0

    def __str__(self) -> str:
        return f"{self.name} at {self.at}" if self.at else self.name

    def cut(self, data: bytes) -> list[bytes]:
        if self.name == "bytewise":
            return [data[index : index + 1] for index in range(len(data))]
        if self.name == "split":
            return [data[: self.at], data[self.at :]]
        return [data] if data else []


WHOLE = Delivery("whole")
PIPED = Delivery("piped")
BYTEWISE = Delivery("bytewise")


def deliveries(case: Case, splits: int) -> list[Delivery]:
    """The ways to cut this case: whole, with a probe behind it where one may follow, bytewise, and some splits."""
    data = case.origin if case.kind is Kind.RESPONSE else case.client
    found = [WHOLE]
    if may_be_followed(case):
        found.append(PIPED)
    if splits:
        if len(data) <= BYTEWISE_LIMIT:
            found.append(BYTEWISE)
        found += [Delivery("split", place) for place in places(data, splits)]
    return found


def may_be_followed(case: Case) -> bool:
    """A probe behind the case's bytes is a message of its own, not a part of something unfinished."""
    opaque = case.verdict.forward is Forward.OPAQUE
    unfinished = case.verdict.status == 431 and b"\r\n\r\n" not in case.client
    return not (opaque or unfinished or case.idle or case.half_close)


def places(data: bytes, limit: int) -> list[int]:
    """At most `limit` places worth a cut, spread over all: around every CR and LF, and inside the first line."""
    found = {1, 4, len(data) - 1}
    for index, byte in enumerate(data[:4096]):
        if byte in b"\r\n":
            found |= {index, index + 1}
    usable = sorted(place for place in found if 0 < place < len(data))
    if len(usable) <= limit:
        return usable
    return [usable[index * len(usable) // limit] for index in range(limit)]

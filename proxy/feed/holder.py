"""What the rest of the sidecar knows about its feed.

The table says what is routed; this says how far that can be trusted: where it comes from, when its source last
confirmed it, what was refused since. A table never gets worse by age: an old one serves until a better one
comes, and its age is a metric.

A sidecar that has no table holds keyed requests up to `sync_timeout`. Then it gives up: requests are decided
without a table, and a table that comes later is used from then on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Synced(Protocol):
    """The table, as far as readiness needs it."""

    @property
    def synced(self) -> bool: ...


class FeedState:
    """One feed's figures; the feed writes them, everybody reads.

    source:    for people: `file routes.yaml`, `registry http://127.0.0.1:7400`, `none`.
    connected: the watch is open, or the file was readable at the last look.
    applied:   id of the last change in force: the registry's revision, or the number of loads of the file.
    refused:   tables and streams that were dropped because they did not fit the contract.
    ignored:   changes older than what is in force, skipped.
    failures:  connections that could not be made, ended or fell silent.
    problem:   what is wrong now, one line; empty when all is well.
    given_up:  `sync_timeout` has passed without a table.
    needs_table: who has no table is not ready, given up or not. A file can be mended by whoever started the sidecar; a
               registry that is down must not take all that is behind its sidecars down.
    watchers:  called once, when the feed is given up.
    """

    __slots__ = (
        "_clock", "_confirmed", "_table", "applied", "connected", "failures", "given_up", "ignored", "needs_table",
        "problem", "refused", "source", "watchers",
    )  # fmt: skip

    def __init__(
        self, source: str, table: Synced, clock: Callable[[], float] = time.monotonic, *, needs_table: bool = False
    ) -> None:
        self.source = source
        self.connected = False
        self.applied = 0
        self.refused = 0
        self.ignored = 0
        self.failures = 0
        self.problem = ""
        self.given_up = False
        self.needs_table = needs_table
        self.watchers: list[Callable[[], None]] = []
        self._table = table
        self._clock = clock
        self._confirmed: float | None = None

    def __repr__(self) -> str:
        age = self.age()
        told = "never confirmed" if age is None else f"confirmed {age:.1f}s ago"
        return f"<FeedState {self.source} applied={self.applied} {told}{' given up' if self.given_up else ''}>"

    @property
    def ready(self) -> bool:
        """Requests are decided without waiting: there is a table, or the time for one is over."""
        return self._table.synced or (self.given_up and not self.needs_table)

    def confirm(self) -> None:
        """The source has just said that the table in force is the right one."""
        self._confirmed = self._clock()

    def age(self) -> float | None:
        """Seconds since the table was last confirmed; None when it never was."""
        return None if self._confirmed is None else self._clock() - self._confirmed

    def give_up(self) -> None:
        """To be called when `sync_timeout` has passed, or at once where there is no feed. Idempotent."""
        if self._table.synced or self.given_up:
            return
        self.given_up = True
        for watcher in self.watchers:
            watcher()

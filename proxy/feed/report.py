"""What this sidecar tells the registry: up to which revision its routes are in force, and which sleeping shadow a
request waits for.

One report is under way at a time and the latest figure wins, so a burst of changes costs two requests. A report lets
everything go first that is ready at this moment, requests and further changes: it costs several times what the change
itself does, and no answer shall wait for it. A report that fails is no error: the registry only believes for longer
than necessary that this sidecar lags. It is sent again with the next change, heartbeat or connection; while a request
may be waiting, every second.
"""

from __future__ import annotations

import asyncio
import logging

from proxy import __version__
from proxy.feed.link import RegistryLink

log = logging.getLogger("skycap.feed")

REPORT_SECONDS = 5.0
"""For one report: as long as the longest wait between two connections."""

WAITING_SECONDS = 1.0
"""Until a report that was lost is sent again while a request may be waiting: a tenth of how long it waits at most."""

MAX_WAITING = 100
"""Keys in one report."""

TURNS = 8
"""Of the event loop, that what is ready gets before a report: reading, waking its task and applying take three, and
what arrived during those three the same again. An idle loop has done them in a tenth of a millisecond."""


class AppliedReport:
    """`PUT` of {"workload", "appliedRevision", "waiting"}, in the order: `applied` and `waits`, sent by `run`.

    acknowledged: the revision that the registry has accepted, None before the first.
    """

    def __init__(self, link: RegistryLink, workload: str) -> None:
        self.acknowledged: int | None = None
        self._link = link
        self._workload = workload
        self._latest: int | None = None
        self._waiting: dict[str, None] = {}
        self._wanted = asyncio.Event()

    def applied(self, revision: int) -> None:
        """Tell it, even when the same was told before: another registry may listen now."""
        self._latest = revision
        self._wanted.set()

    def waits(self, key: str) -> None:
        """A request waits for the shadow of this key, which sleeps."""
        self._waiting[key] = None
        self._wanted.set()

    def remind(self) -> None:
        """Tell it again if the last report was lost."""
        if self._latest != self.acknowledged or self._waiting:
            self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wanted.wait()
            for _ in range(TURNS):
                await asyncio.sleep(0)
            self._wanted.clear()
            revision, waiting = self._latest, list(self._waiting)[:MAX_WAITING]
            body: dict[str, object] = {"workload": self._workload, "appliedRevision": revision, "version": __version__}
            if waiting:
                body["waiting"] = waiting
            link = self._link
            try:
                async with await link.request("PUT", link.report_url, json=body, seconds=REPORT_SECONDS) as answer:
                    if answer.ok:
                        self.acknowledged = revision
                        for key in waiting:
                            self._waiting.pop(key, None)
            except Exception:
                log.debug("a report was lost", exc_info=True)  # nothing that happens here may end the feed
            if self._waiting:
                await asyncio.sleep(0 if len(waiting) == MAX_WAITING else WAITING_SECONDS)
                self._wanted.set()

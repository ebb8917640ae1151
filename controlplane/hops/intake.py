"""What the sidecars tell: batches of hops, checked line by line and kept for the sandboxes that exist."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from controlplane.hops.learned import Learned
from controlplane.hops.port import HopStore, Line
from proxy.contract.hops import INBOUND, MAX_BATCH_HOPS, MAX_HOP_BYTES, Hop, HopError, decode_hop

log = logging.getLogger(__name__)

LINES_AT_ONCE = 100
"""Checked before everybody else has a turn: about a millisecond."""


PENDING = "shadow-pending"
"""The error of a request whose shadow did not start in time."""

STRANGERS = 256
"""Keys of no sandbox that are remembered: a misspelt one is looked for soon after it was sent."""


class Intake:
    """owned: whether a sandbox has a routing key. Hops of other keys are dropped and counted.

    kept, dropped, strange, malformed: lines since the start that were kept, that the store could not take, that had the
    key of no sandbox, or were no hops, or of a workload that
    their sender may not speak of.
    strangers: the keys that no sandbox had, the latest last, with the requests that came in with each.
    learned:   who calls whom, from all hops.
    unserved:  is called with the keys of requests that have waited for their shadow in vain.
    """

    def __init__(
        self, store: HopStore, owned: Callable[[str], bool], unserved: Callable[[set[str]], Awaitable[None]]
    ) -> None:
        self.kept = 0
        self.dropped = 0
        self.strange = 0
        self.malformed = 0
        self.strangers: dict[str, int] = {}
        self.learned = Learned()
        self._store = store
        self._owned = owned
        self._unserved = unserved

    def __repr__(self) -> str:
        return f"<Intake kept={self.kept} strange={self.strange} malformed={self.malformed}>"

    async def take(self, batch: bytes, namespace: str = "") -> None:
        """Keep what is of use in one batch. namespace: whose workloads its sender may tell of, "" for any."""
        by_key: dict[str, list[Line]] = {}
        unserved: set[str] = set()
        for count, text in enumerate(batch.splitlines(keepends=True)[:MAX_BATCH_HOPS], 1):
            if count % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                if len(text) > MAX_HOP_BYTES:
                    raise HopError([("", f"a line of more than {MAX_HOP_BYTES} bytes")])
                hop = decode_hop(text)
            except HopError as error:
                self.malformed += 1
                log.debug("a hop is dropped: %s", error)
                continue
            if namespace and hop.workload.partition("/")[0] != namespace:
                self.malformed += 1
                log.debug("a hop is dropped: a sidecar in %s tells of %s", namespace, hop.workload)
                continue
            self.learned.see(hop)
            if self._owned(hop.key):
                by_key.setdefault(hop.key, []).append(Line(hop.id, hop.parent, hop.trace, text))
                if hop.error == PENDING:
                    unserved.add(hop.key)
            else:
                self._strange(hop)
        for key, lines in by_key.items():
            kept = await self._store.add(key, lines)
            self.kept += kept
            self.dropped += len(lines) - kept
        if unserved:
            await self._unserved(unserved)

    def _strange(self, hop: Hop) -> None:
        self.strange += 1
        count = self.strangers.pop(hop.key, 0)
        self.strangers[hop.key] = count + (hop.side == INBOUND and not hop.parent)
        if len(self.strangers) > STRANGERS:
            del self.strangers[next(iter(self.strangers))]

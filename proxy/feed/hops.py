"""Hops on their way to the registry: a batch at a time, and no request ever waits for one.

    the ring fills -> BATCH_SECONDS later, so that a burst is one batch -> lines -> POST -> the next batch

A batch that nobody takes is told again after a pause: who asks what became of a request must not be told that it never
came, because the registry was slow. Meanwhile the ring fills, and drops its oldest. One that is refused is lost. Both
are counted.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from proxy.base.backoff import Backoff
from proxy.contract.hops import HOPS_TYPE, MAX_BATCH_HOPS, MAX_HOP_BYTES
from proxy.feed.hop_lines import hop_line
from proxy.feed.link import RegistryLink
from proxy.telemetry.hops import HopRing

log = logging.getLogger("skycap.feed")

BATCH_SECONDS = 0.1
"""From the first hop to its batch: a person does not notice, and a thousand requests a second make ten batches."""

SENT_BYTES = 1 << 20
"""Of one batch at most: a quarter of what the registry takes, and written to the socket in one piece."""

BATCH_TIMEOUT = 5.0
"""For one batch to be taken."""

FINISH_SECONDS = 2.0
"""For the last batches, when the sidecar ends: what its application did last is what somebody will ask about."""

_TAKEN, _REFUSED, _NOBODY = range(3)
"""What became of a batch: the registry has it, or wants none of it, or cannot be asked now."""

_LATER = frozenset({429, 502, 503, 504})
"""Answers of a registry, or of what stands before it, that has no time for a batch now."""

LINES_AT_ONCE = 50
"""Written before requests have their turn: less than a millisecond without bodies."""


class HopReport:
    """
    prefix: of this process's hop ids (`proxy.telemetry.hops`).
    secret: names of fields, lower case, whose values are not told.

    ring:       where the data path leaves its hops.
    sent, lost: hops that the registry took, and that it could not be told.
    """

    def __init__(self, link: RegistryLink, prefix: str, secret: frozenset[str]) -> None:
        self.sent = 0
        self.lost = 0
        self._link = link
        self._secret = secret
        self._filled = asyncio.Event()
        self._said = False
        self._batch: list[bytes] = []
        self.ring = HopRing(prefix, self._filled.set)

    def __repr__(self) -> str:
        return f"<HopReport sent={self.sent} lost={self.lost}>"

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff()
        while True:
            await self._filled.wait()
            await asyncio.sleep(BATCH_SECONDS)
            self._filled.clear()
            while self._batch or len(self.ring):
                if await self._tell():
                    backoff.reset()
                else:
                    await asyncio.sleep(backoff.next())

    async def finish(self) -> None:
        """Tell what still waits when the sidecar ends, as far as FINISH_SECONDS go; `run` is over.

        A batch that was under way is sent again: the registry takes a hop that comes twice for one.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_SECONDS):
                while (self._batch or len(self.ring)) and await self._tell():
                    pass
        self.lost += len(self._batch) + len(self.ring)

    async def _tell(self) -> bool:
        """One batch, that of before when nobody took it. False: it was not taken."""
        self._batch = lines = self._batch or await self._lines()
        answer = await self._send(b"".join(lines))
        if answer == _NOBODY:
            return False
        self._batch = []
        if answer == _TAKEN:
            self.sent += len(lines)
        else:
            self.lost += len(lines)
        return answer == _TAKEN

    async def _lines(self) -> list[bytes]:
        """The oldest hops, as many as one batch may hold."""
        ring = self.ring
        lines: list[bytes] = []
        room = SENT_BYTES - MAX_HOP_BYTES
        while len(ring) and len(lines) < MAX_BATCH_HOPS and room > 0:
            lines.append(hop_line(ring.take(), self._secret))
            room -= len(lines[-1])
            if len(lines) % LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
        return lines

    async def _send(self, batch: bytes) -> int:
        answered = _NOBODY
        try:
            headers = {"content-type": HOPS_TYPE}
            async with await self._link.request(
                "POST", self._link.hops_url, headers=headers, data=batch, seconds=BATCH_TIMEOUT
            ) as answer:
                if answer.ok:
                    self._said = False
                    return _TAKEN
                reason = f"it answers {answer.status}"
                if answer.status not in _LATER:  # a batch that breaks the registry must not be told for ever
                    answered = _REFUSED
        except Exception as error:
            log.debug("a batch of hops was not taken", exc_info=True)  # nothing that happens here may end the feed
            reason = str(error) or type(error).__name__
        if not self._said:
            self._said = True
            log.warning("the registry cannot be told of requests, which `skycap trace` lacks meanwhile: %s", reason)
        return answered

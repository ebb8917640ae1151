"""The registry's watch: connect, apply, report, and come back.

The registry may be down, restart, or send nonsense at any time; requests never notice. Every way in which a
connection can end leads to the same place: the last good table stays, the end is counted, each kind of it is
logged once until the watch works again, and the next attempt comes after a back-off.

A connection counts as alive while complete events or comments arrive. Bytes alone do not: a peer that drips an
endless line is as dead as a silent one.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import NamedTuple

from proxy.base.problems import ConfigurationError
from proxy.contract.previews import PREVIEWS
from proxy.contract.watch import HEARTBEAT_SECONDS, EventParser
from proxy.errors import ContractError
from proxy.feed.holder import FeedState
from proxy.feed.http import Answer, BrokenError, TruncatedError, UnreachableError
from proxy.feed.link import RegistryLink
from proxy.feed.report import AppliedReport
from proxy.feed.stream import WatchStream
from proxy.routing.links import LinkTable
from proxy.routing.table import RouteTable

log = logging.getLogger("skycap.feed")

MISSED_HEARTBEATS = 3
"""Until the peer counts as gone."""

YIELD_EVENTS = 20
"""Changes applied at a stretch, about 0.5 ms."""


class _Ended(NamedTuple):
    """How a connection ended: `kind` is logged once, `why` goes on after the registry's name."""

    kind: str
    why: str


class RegistryFeed:
    """Keeps a table as the registry at the other end of `link` says.

    links:     of a gateway, None of others.
    heartbeat: seconds between two comments of the registry.
    acting:    requests are decided by the table, so the registry waits until this sidecar has put a change to use. The
               one beside a shadow decides nothing: it watches without a name, and nobody waits for it.
    """

    def __init__(
        self,
        link: RegistryLink,
        table: RouteTable,
        state: FeedState,
        *,
        links: LinkTable | None = None,
        heartbeat: float = HEARTBEAT_SECONDS,
        acting: bool = True,
    ) -> None:
        self._link = link
        self._table = table
        self._state = state
        self._links = links
        self._silence = heartbeat * MISSED_HEARTBEATS
        self._report = AppliedReport(link, table.workload) if acting else None
        if self._report is not None:
            table.callers.append(self._report.waits)
        self._resume = False
        self._said: set[str] = set()

    def __repr__(self) -> str:
        return f"<RegistryFeed {self._link.watch_url} {self._state!r}>"

    async def start(self) -> None:
        """What can be checked before the sidecar starts. Raises ConfigurationError."""
        await self._link.check()

    async def check(self) -> None:
        """The same."""
        await self._link.check()

    def reload(self) -> None:
        """Come back at once where the link is down; a watch that is open has nothing to read again."""
        self._link.hurry()

    async def run(self) -> None:
        """Until cancelled. Never raises anything else."""
        async with asyncio.TaskGroup() as tasks:
            if self._report is not None:
                tasks.create_task(self._report.run(), name="feed report")
            loop = asyncio.get_running_loop()
            while True:
                opened = loop.time()
                self._end(await self._attempt())
                await self._link.pause(loop.time() - opened)

    async def _attempt(self) -> _Ended:
        """One connection, until it is over."""
        try:
            return await self._watch()
        except ContractError as error:
            self._state.refused += 1
            self._resume = False  # a registry that talks nonsense is asked for everything the next time
            return _Ended("nonsense", f"talks nonsense ({error})")
        except ConfigurationError as error:
            return _Ended("token", f"needs a token ({error})")
        except UnreachableError as error:
            return _Ended("unreachable", f"cannot be reached ({_why(error.error)})")
        except TruncatedError:
            return _Ended("closed", "closed the connection")
        except TimeoutError:
            return _Ended("silent", f"has said nothing for {self._silence:g} s")
        except (BrokenError, OSError) as error:
            return _Ended("broken", f"broke off ({str(error) or type(error).__name__})")
        except Exception as error:
            log.exception("route watch: internal error")  # a bug here must not end the feed
            return _Ended("bug", f"could not be followed ({error!r})")

    def _end(self, ended: _Ended) -> None:
        self._state.connected = False
        self._state.failures += 1
        self._state.problem = f"{self._state.source} {ended.why}"
        if ended.kind not in self._said:
            self._said.add(ended.kind)
            stays = "the last good routes stay in force" if self._table.synced else "there are no routes yet"
            log.warning("%s; %s", self._state.problem, stays)

    async def _watch(self) -> _Ended:
        resumed = self._resume and self._table.synced
        headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
        if resumed:
            headers["last-event-id"] = str(self._state.applied)
        async with asyncio.timeout(self._silence) as deadline:
            async with await self._link.request(
                "GET",
                self._link.watch_url,
                params=self._asked(),
                headers=headers,
            ) as answer:
                if answer.status != 200:
                    return _Ended(f"status {answer.status}", f"answers {answer.status} {answer.reason}")
                if answer.content_type != "text/event-stream":
                    raise ContractError([("", f"content-type {answer.content_type}, not text/event-stream")])
                self._state.connected = True
                await self._follow(answer, WatchStream(self._table, self._state, resumed, self._links), deadline)
        return _Ended("closed", "closed the connection")

    def _asked(self) -> dict[str, str]:
        asked = {"workload": self._table.workload}
        if self._report is not None:
            asked["sidecar"] = self._link.instance
        return asked if self._links is None else asked | {PREVIEWS: "true"}

    async def _follow(self, answer: Answer, stream: WatchStream, deadline: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        parser = EventParser()
        comments = 0
        welcomed = False
        while chunk := await answer.read():
            events = parser.feed(chunk)
            changed = False
            for count, event in enumerate(events, 1):
                changed |= await stream.apply(event)
                if count % YIELD_EVENTS == 0:
                    await asyncio.sleep(0)
            if events or parser.comments != comments:
                comments = parser.comments
                deadline.reschedule(loop.time() + self._silence)
                if stream.synced:
                    self._state.confirm()
                    if self._report is not None:
                        self._report.remind()
            if changed and self._report is not None:
                self._report.applied(self._state.applied)
            if stream.synced and not welcomed:
                welcomed = True
                self._welcome()

    def _welcome(self) -> None:
        """The table is the registry's again, or for the first time."""
        self._resume = True
        self._state.problem = ""
        self._said.clear()
        log.info("%s: %d routes of %s in force", self._state.source, len(self._table), self._table.workload)


_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}
"""What OpenSSL says when the answer begins with no TLS record: which of them depends on its version."""


def _why(error: OSError) -> str:
    """Why there is no connection. asyncio writes the address into strerror; a failed look-up has a negative number."""
    reason = getattr(error, "reason", None)  # OpenSSL's, whose numbers are not the system's
    if isinstance(reason, str):
        plain = "it does not speak TLS, say http:// instead of https://"
        return plain if reason in _NO_TLS else f"TLS: {getattr(error, 'verify_message', '') or reason.lower()}"
    number = error.errno or 0
    return os.strerror(number) if number > 0 else str(error)

"""The route feeds of a whole fleet in one process: the sidecar's own client, each with a table and an id of its own.

    python -m benchmarks.load.fleet URL TOKEN_FILE SPACE WORKLOADS COUNT

Feed n is of the workload SPACE/w(n % WORKLOADS). What it prints, one JSON line each; times are `time.monotonic_ns()`:

    {"what": [WORKLOAD, KEY, STATE, REVISION, ENDPOINT], "last": ...}   the last feed of the workload has that route now
    {"what": [WORKLOAD, KEY, "gone", 0, ""], "last": ...}               ... has none, or one that has ended
    {"up": COUNT, "at": ...}      all feeds are connected and up to date
    {"down": ..., "at": ...}      the first of them is not any more

For each line on stdin it prints `{"tables": {WORKLOAD: ROUTES}, "differ": [WORKLOAD, ...], "gone": {KEY: times}}`: what
is in force now, which workloads have feeds that do not agree, and how often a feed has lost a key. Ends with stdin.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import resource
import sys
import time
from collections import Counter
from pathlib import Path

import uvloop

from proxy.base.token import read_token
from proxy.contract.routes import Route, State
from proxy.feed.holder import FeedState
from proxy.feed.link import RegistryLink
from proxy.feed.registry import RegistryFeed
from proxy.routing.table import RouteTable

LOOK_SECONDS = 0.02
"""Between two looks at which feeds are connected."""

What = tuple[str, int, str]
"""State, revision, endpoint."""

GONE: What = ("gone", 0, "")


class _Link(RegistryLink):
    """Its token is read once. A thousand sidecars each read it in a thread of their own process; here a thousand reads
    would wait for each other."""

    def __init__(self, url: str, instance: str, token: Path) -> None:
        super().__init__(url, instance, token_file=token)
        self._known = {"authorization": f"Bearer {read_token(token)}"}

    async def _authorization(self) -> dict[str, str]:
        return self._known


class Feed:
    def __init__(self, url: str, token: Path, workload: str, number: int) -> None:
        self.table = RouteTable(workload)
        self.state = FeedState(f"registry {url}", self.table)
        self.link = _Link(url, f"{workload.replace('/', '-')}-{number}", token)
        self.feed = RegistryFeed(self.link, self.table, self.state)
        self.routes: list[Route] = []
        self.known: dict[str, What] = {}
        self.connected_since: float | None = None

    def look(self) -> bool:
        """Bring `known` up to date. False: nothing of its routes has changed."""
        routes = self.table.routes()
        if routes == self.routes:  # the same objects: keys of other workloads have come and gone
            return False
        self.routes = routes
        self.known = {
            route.key: (route.state.value, route.revision, ",".join(map(str, route.endpoints)))
            for route in routes
            if route.state is not State.ENDED
        }
        return True

    def up_to_date(self) -> bool:
        """Its source has said so, on the connection that is open."""
        if not self.state.connected:
            self.connected_since = None
            return False
        now, age = time.monotonic(), self.state.age()
        if self.connected_since is None:
            self.connected_since = now - LOOK_SECONDS
        return age is not None and now - age >= self.connected_since


class Fleet:
    def __init__(self, feeds: list[Feed]) -> None:
        self._feeds = feeds
        self._sizes = Counter(feed.table.workload for feed in feeds)
        self._seen: dict[tuple[str, str, What], set[int]] = {}
        self._gone: Counter[str] = Counter()
        for number, feed in enumerate(feeds):
            feed.table.watchers.append(lambda number=number: self._changed(number))  # type: ignore[misc]

    async def run(self) -> None:
        """Until stdin ends."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(feed.feed.run()) for feed in self._feeds]
            tasks.append(group.create_task(self._look()))
            while await reader.readline():
                print(json.dumps(self._tables()), flush=True)
            for task in tasks:
                task.cancel()

    async def _look(self) -> None:
        up = False
        while True:
            behind = sum(not feed.up_to_date() for feed in self._feeds)
            if up != (behind == 0):
                up = behind == 0
                said = {"up": len(self._feeds)} if up else {"down": behind}
                print(json.dumps({**said, "at": time.monotonic_ns()}), flush=True)
                if up:  # as a sidecar does: a full collection would stop all of them
                    gc.collect()
                    gc.freeze()
            await asyncio.sleep(LOOK_SECONDS)

    def _changed(self, number: int) -> None:
        feed = self._feeds[number]
        before = feed.known
        if not feed.look():
            return
        after, now = feed.known, time.monotonic_ns()
        for key in before.keys() | after.keys():
            what = after.get(key, GONE)
            if what == before.get(key, GONE):
                continue
            if what == GONE:
                self._gone[key] += 1
            at = (feed.table.workload, key, what)
            seen = self._seen.setdefault(at, set())
            seen.add(number)
            if len(seen) == self._sizes[feed.table.workload]:
                del self._seen[at]
                print(json.dumps({"what": [*at[:2], *what], "last": now}), flush=True)

    def _tables(self) -> dict[str, object]:
        tables: dict[str, dict[str, What]] = {}
        differ = set()
        for feed in self._feeds:
            if tables.setdefault(feed.table.workload, feed.known) != feed.known:
                differ.add(feed.table.workload)
        return {"tables": tables, "differ": sorted(differ), "gone": self._gone}


def main(url: str, token: str, space: str, workloads: int, count: int) -> None:
    logging.getLogger("skycap.feed").setLevel(logging.ERROR)  # a thousand say the same when the leader goes
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    feeds = [Feed(url, Path(token), f"{space}/w{number % workloads}", number) for number in range(count)]
    uvloop.run(Fleet(feeds).run())


if __name__ == "__main__":
    address, file, namespace, many, size = sys.argv[1:]
    main(address, file, namespace, int(many), int(size))

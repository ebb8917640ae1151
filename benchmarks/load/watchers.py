"""Many sidecars' route feeds in one process: the real feed client, each with a table and an id of its own.

    python -m benchmarks.load.watchers URL WORKLOAD KEY COUNT

Prints `ready` when all tables are synced, and then one JSON line whenever all of them lead KEY to a new port:
`{"port": ..., "times": [...]}`, one `time.monotonic_ns()` per feed, taken inside the call by which the table tells
that it has changed, which is when a sidecar would use the route for its next request. Ends with SIGTERM.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time

import uvloop

from proxy.feed.holder import FeedState
from proxy.feed.link import RegistryLink
from proxy.feed.registry import RegistryFeed
from proxy.routing.table import RouteTable


class Watchers:
    """COUNT feeds and what they have seen."""

    def __init__(self, url: str, workload: str, key: str, count: int) -> None:
        self._key = key
        self._count = count
        self._tables = [RouteTable(workload) for _ in range(count)]
        self._seen = [0] * count
        self._times: dict[int, list[int]] = {}
        self._ready = False
        self._feeds = []
        for number, table in enumerate(self._tables):
            table.watchers.append(lambda number=number: self._changed(number))  # type: ignore[misc]
            state = FeedState(f"registry {url}", table)
            self._feeds.append(RegistryFeed(RegistryLink(url, f"watcher-{number}"), table, state))

    async def run(self) -> None:
        """Until the process is ended."""
        async with asyncio.TaskGroup() as tasks:
            for feed in self._feeds:
                tasks.create_task(feed.run())

    def _changed(self, number: int) -> None:
        now = time.monotonic_ns()
        route = self._tables[number].lookup(self._key)
        port = route.endpoints[0].port if route is not None and route.endpoints else 0  # pending: none yet
        if self._ready and port and port != self._seen[number]:
            times = self._times.setdefault(port, [])
            times.append(now)
            if len(times) == self._count:
                print(json.dumps({"port": port, "times": self._times.pop(port)}), flush=True)
        self._seen[number] = port or self._seen[number]
        if not self._ready and all(table.synced for table in self._tables):
            self._ready = True
            # As a sidecar does. With 500 of them in one process a full collection would stop all for 90 ms.
            gc.collect()
            gc.freeze()
            print("ready", flush=True)


if __name__ == "__main__":
    address, name, wanted, size = sys.argv[1:]
    uvloop.run(Watchers(address, name, wanted, int(size)).run())

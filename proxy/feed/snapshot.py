"""A table that arrives in pieces, and the swap.

100,000 routes are 300,000 objects. What touches them all at once stalls the data path (measured, CPython 3.11):
decoding them takes 1 s, freeing them 57 ms, copying the list of them or dropping their dictionary 2 ms each, one full
pass of the cyclic garbage collector 50-90 ms. So they are decoded and freed in slices with the event loop running in
between, and kept away from the collector by `gc.freeze()`: routes are acyclic and go by reference count, frozen or
not. The price is that cycles alive at that moment are never collected; small tables do not pay it.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Sized

from proxy.contract.routes import MAX_ROUTES, Route, decode_route, decode_tombstone
from proxy.contract.watch import SNAPSHOT_ROUTES
from proxy.errors import ContractError
from proxy.routing.table import RouteTable

FREEZE_ROUTES = 1000
"""Routes between two calls of `gc.freeze()`: the collector walks 3,000 new objects at most, under 1 ms."""

DECODE_ROUTES = 20
"""Routes decoded at a stretch, about 0.3 ms. One stretch in 100,000 routes also doubles the dictionary: 3 ms."""

FREE_ROUTES = 1000
"""Routes freed at a stretch, about 0.5 ms."""


def parse(data: str) -> object:
    """JSON text of one event. Raises ContractError."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ContractError([("", "JSON that is nested too deeply")]) from None
    except ValueError as error:
        raise ContractError([("", f"data that is not JSON: {error}")]) from None


def decode(document: object, workload: str, path: str = "") -> Route:
    """One route of one workload, from another program. Raises ContractError."""
    return check_workload(decode_route(document, path, lenient=True), workload, path)


def check_workload(route: Route, workload: str, path: str = "") -> Route:
    """Raises ContractError for a route of another one."""
    if route.workload != workload:
        raise ContractError([(path, f"a route of {route.workload}, asked was for {workload}")])
    route.workload = workload  # one string for all of them: 59 bytes each
    return route


def check_size(routes: Sized) -> None:
    """Raises ContractError past MAX_ROUTES."""
    if len(routes) > MAX_ROUTES:
        raise ContractError([("", f"a table of more than {MAX_ROUTES} routes")])


class Snapshot:
    """What a table is to become: pieces are added, changes are made, and `swap` puts it in force as a whole.

    A route that is in force already is kept as it is: after most reconnects that is nearly all of them, and a
    second table need not be held.
    """

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._routes: dict[str, Route] = {}
        self._unfrozen = 0

    def __len__(self) -> int:
        return len(self._routes)

    async def add(self, data: str) -> None:
        """The data of one `snapshot` event. Raises ContractError; the snapshot is worthless then."""
        document = parse(data)
        document = document if isinstance(document, dict) else {}
        listed, ended = document.get("routes"), document.get("ended", [])
        if not (isinstance(listed, list) and isinstance(ended, list) and len(listed + ended) <= SNAPSHOT_ROUTES):
            raise ContractError([("", f"a snapshot is an object with up to {SNAPSHOT_ROUTES} `routes` and `ended`")])
        await asyncio.sleep(0)
        for index, item in enumerate(listed, 1):
            self.put(decode(item, self._table.workload, f"routes[{index - 1}]"))
            if index % DECODE_ROUTES == 0:
                await asyncio.sleep(0)
        for index, item in enumerate(ended, 1):
            path = f"ended[{index - 1}]"
            self.put(check_workload(decode_tombstone(item, path), self._table.workload, path))
            if index % DECODE_ROUTES == 0:
                await asyncio.sleep(0)
        self._unfrozen += len(listed) + len(ended)
        if self._unfrozen >= FREEZE_ROUTES:
            self._freeze()

    def put(self, route: Route) -> None:
        """One more route, or another one for its key. Raises ContractError past MAX_ROUTES."""
        in_force = self._table.lookup(route.key)
        self._routes[route.key] = in_force if in_force == route else route
        check_size(self._routes)

    def delete(self, key: str) -> None:
        self._routes.pop(key, None)

    def swap(self) -> dict[str, Route]:
        """Put it in force. The caller gives what is returned, the old routes, to `discard`."""
        if len(self._routes) >= FREEZE_ROUTES:
            self._freeze()
        routes, self._routes = self._routes, {}
        return self._table.replace(routes)

    def _freeze(self) -> None:
        gc.collect(1)  # the young garbage first, so that it is not kept for good
        gc.freeze()
        self._unfrozen = 0


async def discard(routes: dict[str, Route]) -> None:
    """Free them slice by slice, the dictionary's own entries too: dropping 100,000 of those alone takes 3 ms."""
    while routes:
        for _ in range(min(FREE_ROUTES, len(routes))):
            routes.popitem()
        await asyncio.sleep(0)

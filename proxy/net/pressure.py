"""Who gives way when descriptors are short."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import TYPE_CHECKING

from proxy.exchange.phase import IDLE, ROUTING, WAITING
from proxy.exchange.settings import TICK_SECONDS

if TYPE_CHECKING:
    from proxy.net.downstream import Downstream

IDLE_TICKS = int(5 / TICK_SECONDS)
"""Nobody gives way before: a client that has just connected is about to say something. Node.js keeps an idle connection
for as long."""


def give_way(connections: Iterable[Downstream], count: int) -> int:
    """End up to `count` connections whose clients do nothing. Returns how many.

    Those that have never said anything come first, then half a head, then connections between two requests, then
    requests whose body has come to a standstill; of each, those that have waited for longest.
    """
    found = [(*rank, number, one) for number, one in enumerate(connections) if (rank := _rank(one)) is not None]
    chosen = heapq.nsmallest(count, found)
    for *_, connection in chosen:
        connection.give_way()
    return len(chosen)


def _rank(connection: Downstream) -> tuple[int, int] | None:
    """How easily it is spared, less first; None while it is in use."""
    exchange = connection.exchange
    if exchange is None:
        streams = connection.streams
        if streams is None or streams.flows or streams.closed:
            return None
        now = streams.side.wheel.now
        since = streams.idle_since
        return (2, since) if now - since >= IDLE_TICKS else None
    settings, now, passage = exchange.side.settings, exchange.side.wheel.now, exchange.passage
    if exchange.phase == IDLE and exchange.held:
        since, kind = exchange.due - settings.header_ticks, 1
    elif exchange.phase == IDLE:
        since, kind = (exchange.due - settings.idle_ticks, 2) if passage.started else (connection.accepted, 0)
    elif exchange.phase in (ROUTING, WAITING) and passage.body is not None:
        since, kind = exchange.heard, 3
    else:
        return None
    return (kind, since) if now - since >= IDLE_TICKS else None

"""What a client is told of an upstream's window for a stream's request.

All streams of a client begin with one window, the largest that one of its upstreams gave; what is granted later passes.
So an upstream that gives little at first, and then all that there can be, would let the client's window overflow, which
is a fault of its connection. What would be too much is withheld; the client has it already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.exchange.h2.flow import LIMBO
from proxy.wire.h2.frames import MAX_WINDOW, window_frame

if TYPE_CHECKING:
    from proxy.exchange.h2.way import StreamWay


def told_window(exchange: StreamWay) -> int:
    """What the client may still send, as far as it was told."""
    server, request = exchange.server, exchange.request
    beyond = exchange.client.granted - server.initial if server is not None and not request.state & LIMBO else 0
    return request.window + beyond - exchange.withheld


def tellable(exchange: StreamWay, step: int) -> int:
    """How much of the upstream's grant the client is told of."""
    excess = min(step, max(0, told_window(exchange) + step - MAX_WINDOW))
    exchange.withheld += excess
    return step - excess


def tell_all(exchange: StreamWay) -> None:
    """All streams of the client have a smaller window than this one could."""
    missing = exchange.request.window - told_window(exchange)
    if missing > 0:
        exchange.client.write(window_frame(exchange.sid, missing))
        exchange.withheld -= missing

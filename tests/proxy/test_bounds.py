"""Every table that strangers can fill, filled all at once: what they weigh together is what their bounds say."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest

from proxy.contract.routes import Endpoint
from proxy.errors import Refused
from proxy.exchange.h2.kinds import MAX_KNOWN, MAX_KNOWN_BYTES, Kinds
from proxy.exchange.passage import Passage
from proxy.exchange.side import Side
from proxy.telemetry.notices import Notices
from proxy.wire.h2.faults import StreamFault
from proxy.wire.h2.hpack import literals
from proxy.wire.h2.template import MAX_SHAPES
from proxy.wire.head import Limits
from tests.proxy.net.rig import Net, on_uvloop

MIB = 1 << 20
REQUESTS = 4_500
"""More than any of the tables holds, but for the ids of traces: those weigh 180 bytes each, and a request leaves three
names of them."""

LONG = 8_000
"""Bytes of every second request's baggage beside the key: it is read, and not kept."""

BOUND = 4 * MIB + 2 * 3 * MIB + 2 * 1.3 * MIB + 1 * MIB + REQUESTS * 2 * 3 * 180 + 2 * MIB
"""Readings of carriers, plans of two sides, pools of two directions, sides behind CONNECT, ids, notices, the rest."""


def asked(side: Side, request: bytes) -> None:
    """A request is decided on, and over."""
    passage = Passage()
    try:
        head = side.parser.request(request)
        assert head is not None
        passage.head = head
        passage.plan = side.admit(passage, head)
    except Refused:
        pass
    side.settled(passage, 200, "")


@pytest.mark.timeout(180)  # every allocation is traced
@on_uvloop
async def test_all_tables_at_once() -> None:
    dice = random.Random(5)
    parts = Net()
    inbound, forward = parts.inbound(Endpoint("127.0.0.1", 9001)), parts.outbound(None)
    call = parts.outbound(Endpoint("payments", 80))
    notices = Notices("shop/users")

    def sweep() -> None:
        parts.pools.sweep({Endpoint("127.0.0.1", 9001)})

    parts.pools.crowded = sweep
    filler = "x" * LONG
    gc.collect()  # what other tests left and what is freed meanwhile is no weight of these tables
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(REQUESTS):
        key, trace = f"k{number:05}".ljust(63, "k"), f"{dice.getrandbits(128) | 1:032x}"
        lines = (
            f"host: users\r\nbaggage: a={number}{filler if number % 2 else ''},routing-key={key}\r\n"
            f"traceparent: 00-{trace}-00f067aa0ba902b7-01\r\nx-request-id: {trace}{number}\r\n"
            f"x-b3-traceid: {trace}\r\n\r\n"
        )
        asked(inbound, f"GET / HTTP/1.1\r\n{lines}".encode())
        asked(call, f"GET / HTTP/1.1\r\n{lines}".encode())
        host = f"{number}.{'a' * 60}.example"
        asked(forward, f"GET http://{host}/ HTTP/1.1\r\n{lines}".encode())
        connect = forward.parser.request(f"CONNECT {host}:443 HTTP/1.1\r\nhost: {host}:443\r\n\r\n".encode())
        assert connect is not None
        forward.through(connect)
        notices.key_conflict("baggage", key, "tracestate", key[::-1])
        notices.key_lost(host, "GET", f"/{filler}", ["traceparent"], disputed=False)
        parts.wheel.turn()
    gc.collect()
    weight = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert weight < BOUND, f"{weight / MIB:.1f} of {BOUND / MIB:.1f} MiB"
    await parts.tasks.close()


KINDS_BOUND = 3 * MIB + 2 * MIB + 3 * 0.5 * MIB
"""Of one side of HTTP/2: shapes, answers, and what stood in holes."""


def numbered(number: int) -> bytes:
    """Three fields of one byte each, which stand in the static table."""
    return bytes(0x90 | number >> shift & 15 for shift in (0, 4, 8))


HEADS: dict[str, Callable[[int], bytes]] = {
    "a field for each byte": lambda number: numbered(number) + b"\x8f" * 4093,
    "as many fields as may be": lambda number: numbered(number) + b"\x8f" * 124,
    "many short fields": lambda number: literals([(b"%x-%d" % (number, n), b"v") for n in range(60)]),
    "few long fields": lambda number: literals([(b"%x-%d" % (number, n), b"v" * 500) for n in range(7)]),
}
"""Of which no two are of one shape: the more fields they have, and the larger they are, the more each weighs."""


@pytest.mark.timeout(180)  # every allocation is traced
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_all_tables_of_http2_at_once(head: Callable[[int], bytes]) -> None:
    kinds = Kinds(frozenset({b"baggage"}), Limits(header_lines=128))
    usual = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"users")]
    gc.collect()
    tracemalloc.start()
    before = heaviest = tracemalloc.get_traced_memory()[0]
    for number in range(MAX_SHAPES - 1):
        with suppress(StreamFault):
            kinds.request(head(number), asleep=False)
    for number in range(MAX_KNOWN - 2):
        varying = [(b":path", b"/%d" % number + b"p" * 100), (b"baggage", b"k=%d" % number + b"b" * 100)]
        kinds.request(literals([*usual, *varying]), asleep=False)
        answer = b"\x88" + head(number)
        with suppress(StreamFault):
            kinds.answer(answer if len(answer) < MAX_KNOWN_BYTES else b"\x88" + numbered(number) + b"\x8f" * 120)
        heaviest = max(heaviest, tracemalloc.get_traced_memory()[0])
    weight = heaviest - before
    tracemalloc.stop()
    assert weight < KINDS_BOUND, f"{weight / MIB:.1f} of {KINDS_BOUND / MIB:.1f} MiB"


def test_the_bound_says_something() -> None:
    """The long values alone, at three sides, would weigh twice as much if they were kept."""
    assert 3 * REQUESTS / 2 * LONG > 2 * BOUND

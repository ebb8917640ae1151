"""The steps of a proxied request one by one, and the whole of it without sockets. A pyperf program:

    python -m benchmarks.load.micro --fast

`exchange` is everything that Python does for a request between two reads of uvloop: the request's bytes come in, go
out to a pooled upstream, the answer comes in and goes out. Its sockets are replaced by ones that forget; pool,
timers, counters, correlation and plans are the real ones. `stream` is the same of HTTP/2, alone in its reads or with
seven others (then one of them is what is told). What `http1` measures beyond this is uvloop and the kernel.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable
from importlib import import_module
from types import FrameType

from benchmarks.load.calls import WIDE, answered, asked, calls
from benchmarks.traffic import FORKED, Traffic
from proxy.base.tasks import Tasks
from proxy.contract.routes import Endpoint, OnUnavailable, Route, State
from proxy.exchange.carriers import Carriers
from proxy.exchange.exchange import Exchange
from proxy.exchange.h2.client import ClientLink
from proxy.exchange.inbound import Inbound
from proxy.exchange.recorder import HopRecorder
from proxy.exchange.settings import ExchangeSettings
from proxy.exchange.side import SideParts
from proxy.feed.hop_lines import hop_line
from proxy.feed.hops import LINES_AT_ONCE
from proxy.net.addresses import OwnAddresses
from proxy.net.descriptors import Descriptors
from proxy.net.pools import Pools
from proxy.net.timers import TimerWheel
from proxy.net.upstream import ConnectionPool, UpstreamConnection
from proxy.routing.captures import Captures
from proxy.routing.correlation import Correlation
from proxy.routing.key import KeyReader
from proxy.routing.table import RouteTable
from proxy.routing.trace import TraceReader
from proxy.sides import head_parser
from proxy.telemetry.counters import Counters
from proxy.telemetry.hops import HopRing
from proxy.telemetry.notices import Notices
from proxy.wire.h2.frames import PREFACE
from proxy.wire.head import Limits

WORKLOAD = "shop/users"
KEY_NAMES = ("routing-key", "sd-routing-key")
APP, SHADOW = Endpoint("127.0.0.1", 9001), Endpoint("127.0.0.1", 9002)

TOGETHER = 8
"""Streams of a read, and requests that calls are counted over."""

_HEADS = 1_000
"""Different requests that take turns, so that nothing is read from a cache that life would not have."""

ANSWER = (
    b"HTTP/1.1 200 OK\r\nserver: nginx/1.22.1\r\ndate: Mon, 23 Nov 2026 10:00:00 GMT\r\n"
    b"content-type: text/plain\r\ncontent-length: 100\r\nconnection: keep-alive\r\n\r\n" + b"." * 100
)

Case = Callable[[int], object]
"""Does its work once, for the request of that number."""


class Forgetful:
    """A transport that takes everything and keeps nothing."""

    def write(self, data: bytes, /) -> None:
        return

    def write_eof(self) -> None:
        return

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return

    def close(self) -> None:
        return

    def abort(self) -> None:
        return

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


_SEED = "b37e4e817b98e7cf1d7536f8"
"""Of all ids: some random ones take a closer look (`proxy.routing.context`), and would make counts differ."""


def heads(keys: tuple[str, ...]) -> list[bytes]:
    """Requests as the load sends them."""
    traffic = Traffic(keys)
    template = traffic.template(_SEED)
    return [traffic.head(number, template) for number in range(_HEADS)]


def table(size: int) -> RouteTable:
    """A table with that many routes, the keys of the load among them."""
    made = RouteTable(WORKLOAD)
    keys = [*FORKED, *(f"other-{number}" for number in range(size - len(FORKED)))]
    made.replace({key: Route(WORKLOAD, key, (SHADOW,), key, 1, State.READY, OnUnavailable.ERROR) for key in keys})
    return made


def inbound(ring: HopRing | None = None) -> tuple[Inbound, Counters]:
    """The side of a workload with a hundred shadows, with all its parts but the sockets. ring: takes hops."""
    counters, wheel, notices = Counters(), TimerWheel(), Notices(WORKLOAD)
    pools = Pools(
        counters=counters.inbound, wheel=wheel, own=OwnAddresses(), tasks=Tasks("micro"),
        descriptors=Descriptors(counters),
    )  # fmt: skip
    hops = None
    if ring is not None:
        hops = HopRecorder(
            ring, time.time, Captures(), workload=WORKLOAD, side="inbound", instance="users-1", sandbox="", revision=1
        )
    side = Inbound(
        SideParts(
            workload=WORKLOAD,
            settings=ExchangeSettings(),
            parser=head_parser(Limits()),
            counters=counters.inbound,
            wheel=wheel,
            clock=time.perf_counter,
            carriers=Carriers(KeyReader(KEY_NAMES), counters.inbound, notices),
            traces=TraceReader(),
            correlation=Correlation(time.monotonic, b"5ca1ab1e"),
            pools=pools,
            reporter=notices,
            hops=hops,
        ),
        app=APP,
        table=table(100),
        gave_up=lambda: False,
        instance="0123456789abcdef",
        sandbox="",
        revision=1,
        random_bits=random.getrandbits,
        in_hand=lambda: (),
    )
    return side, counters


def upstream_of(side: Inbound, endpoint: Endpoint) -> UpstreamConnection:
    """A connection to an endpoint that is idle in its pool."""
    pool = side.pools(endpoint)
    assert isinstance(pool, ConnectionPool)
    upstream = UpstreamConnection(pool)
    upstream.connection_made(Forgetful())  # type: ignore[arg-type]
    pool.give(upstream, -1)
    return upstream


def exchange(keys: tuple[str, ...], ring: HopRing | None = None) -> Case:
    """A whole request and its answer on a connection that stays open. ring: hops are recorded, and told in batches."""
    side, counters = inbound(ring)
    upstream = upstream_of(side, SHADOW if keys else APP)
    ours = Exchange(side, Forgetful())
    requests = heads(keys)

    def once(number: int) -> None:
        ours.request.received(requests[number % _HEADS])
        upstream.data_received(ANSWER)
        if ring is not None and len(ring) == LINES_AT_ONCE:
            for _ in range(LINES_AT_ONCE):
                hop_line(ring.take())

    once(0)
    assert counters.inbound.requests["shadow" if keys else "baseline"][2] == 1, ours
    return once


def streams(keys: tuple[str, ...], together: int) -> Case:
    """A gRPC call and its answer on a connection of HTTP/2 that stays open; so many of them come in one read."""
    side, counters = inbound()
    pool = side.pools(SHADOW if keys else APP)
    assert isinstance(pool, ConnectionPool)
    upstream = UpstreamConnection(pool)
    upstream.connection_made(Forgetful())  # type: ignore[arg-type]
    upstream.early = None
    ours = ClientLink(side, Forgetful())
    ours.adopt(pool, upstream)
    ours.begin(PREFACE + WIDE)
    upstream.data_received(WIDE)
    blocks = calls(keys)
    first = 1

    def once(number: int) -> None:
        nonlocal first
        if (number + 1) % together:
            return
        sids = range(first, first + 2 * together, 2)
        first = sids.stop
        ours.received(b"".join([asked(sid, blocks[(number + sid) % _HEADS]) for sid in sids]))
        upstream.data_received(b"".join([answered(sid) for sid in sids]))

    for number in range(together):
        once(number)
    assert counters.inbound.requests["shadow" if keys else "baseline"][2] == together, ours
    return once


def cases() -> dict[str, Case]:
    """Name -> what to do."""
    keyed = heads(FORKED)
    parser = head_parser(Limits())
    reader = KeyReader(KEY_NAMES)
    baggage = [f"tenant=acme,routing-key={key},user.tier=gold;source=gateway".encode() for key in FORKED]
    small, large = table(100), table(100_000)
    return {
        "request head": lambda number: parser.request(keyed[number % _HEADS]),
        "answer head": lambda number: parser.response(ANSWER, b"GET"),
        "key in baggage": lambda number: reader.read((baggage[number % len(FORKED)],)),
        "route among 100": lambda number: small.lookup(FORKED[number % len(FORKED)]),
        "route among 100,000": lambda number: large.lookup(FORKED[number % len(FORKED)]),
        "exchange, no key": exchange(()),
        "exchange, keyed": exchange(FORKED),
        "exchange, keyed, and its hop": exchange(FORKED, HopRing("5ca1ab1e", lambda: None)),
        "stream, no key": streams((), 1),
        "stream, keyed": streams(FORKED, 1),
        "eight streams, no key": streams((), TOGETHER),
        "eight streams, keyed": streams(FORKED, TOGETHER),
    }


def python_calls(case: Case) -> int:
    """Python-level calls that the case makes, those of this file not counted. The same on every machine."""
    for number in range(2 * len(FORKED)):
        case(number)  # what is decided once for a key has been
    count = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call" and frame.f_code.co_filename != __file__

    gc.collect()
    gc.disable()  # its callbacks are calls, too
    sys.setprofile(profile)
    try:
        for number in range(TOGETHER):
            case(number)
    finally:
        sys.setprofile(None)
        gc.enable()
    return count // TOGETHER


def timed(loops: int, case: Case) -> float:
    """CPU seconds for so many times, the cost of the loop included: other programs are not in it."""
    began = time.process_time()
    for number in range(loops):
        case(number)
    return time.process_time() - began


def main() -> None:
    """Time all cases, as pyperf's command line says."""
    runner = import_module("pyperf").Runner(program_args=("-m", "benchmarks.load.micro"))
    for title, case in cases().items():
        runner.bench_time_func(title, timed, case)


if __name__ == "__main__":
    main()

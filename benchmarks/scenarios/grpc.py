"""gRPC: unary calls, a stream of messages, a new connection for every call, and what waits costs."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks import accounting
from benchmarks.errors import WrongAnswer
from benchmarks.http2 import fleet as http2
from benchmarks.http2.answers import ROLE, SpoiledError
from benchmarks.http2.client import Client
from benchmarks.http2.fleet import Echo, Echoes
from benchmarks.http2.lanes import Order, drive
from benchmarks.http2.requests import FRAMED_BYTES, Kind, message
from benchmarks.run import Run, Running
from benchmarks.scenario import Bound, Metric, Scenario, Target
from benchmarks.traffic import FORKED, UNFORKED

MESSAGES = 10_000
IN_FLIGHT = 16

HELD = 1_000
"""Connections, each of which has served one call."""

STREAMS = 1_000
_PER_CONNECTION = 50
"""Streams that are held open, and how many of them on one connection: fewer than anybody's limit."""

CASES = {
    "16x8": (Order(Kind(FORKED), "shadow", 16, 8), "unary, keyed, 16 connections x 8 streams"),
    "16x8-no-fork": (Order(Kind(UNFORKED), "baseline", 16, 8), "unary, keyed, nothing forked, 16 x 8"),
    "16x8-unkeyed": (Order(Kind(), "baseline", 16, 8), "unary, no key, 16 x 8"),
    "16x1": (Order(Kind(FORKED), "shadow", 16, 1), "unary, keyed, 16 x 1"),
    "64x1": (Order(Kind(FORKED), "shadow", 64, 1), "unary, keyed, 64 x 1"),
    "stream": (
        Order(Kind(FORKED), "shadow", 8, 1, messages=MESSAGES, in_flight=IN_FLIGHT),
        f"streams of {MESSAGES:,} messages both ways, 8 at once, {IN_FLIGHT} messages under way in each",
    ),
    "new": (Order(Kind(FORKED), "shadow", 16, 1, fresh=True), "a new connection for every call, 16 at once"),
}


_WARM_SECONDS = 0.2


def run(run: Run) -> None:
    """Memory once, for processes that have served next to nothing; then every case in every round."""
    origins = Echoes(Echo("baseline", run), Echo("shadow", run))
    fleet = http2.start(run, origins.baseline.http2, origins.shadow.http2, grpc=True)
    peers = [running for running in fleet if not running.direct]
    run.steps(len(peers) + run.rounds * len(CASES) * len(fleet))
    for running in peers:
        run.step("connections and streams that wait", running.name)
        run.record("waiting", running.name, 0, _waiting(running))
    for running in fleet:
        drive(Order(Kind(FORKED), running.expected("shadow"), 1, 1), running.port, _WARM_SECONDS)
    for number in range(run.rounds):
        for case, (order, title) in CASES.items():
            for running in run.turns(fleet, number):
                run.step(f"round {number + 1} of {run.rounds}: {title}", running.name)
                run.record(case, running.name, number, http2.closed_loop(run, list(origins), running, order))
    http2.check(fleet, grpc=True)


def _waiting(running: Running) -> dict[str, float]:
    """KiB of an idle connection with its upstream, and of a stream that waits for its next message."""
    (process,) = running.processes
    values = {}
    with ExitStack() as stack:
        clients: list[Client] = []
        start = accounting.resident_bytes(process.pid)
        for number in range(HELD):
            client = stack.enter_context(Client(running.port, Kind(FORKED)))
            clients.append(client)
            _call(running.name, client, number)
        values["per_connection_kib"] = (accounting.resident_bytes(process.pid) - start) / HELD / 1024
        for client in clients[:: HELD - 1]:
            _call(running.name, client, 0)
    with ExitStack() as stack:
        few = STREAMS // _PER_CONNECTION
        clients = [stack.enter_context(Client(running.port, Kind(FORKED))) for _ in range(few)]
        for number, client in enumerate(clients):
            _call(running.name, client, number)
        start = accounting.resident_bytes(process.pid)
        for number in range(STREAMS):
            _open(running.name, clients[number % few], number)
        values["per_stream_kib"] = (accounting.resident_bytes(process.pid) - start) / STREAMS / 1024
    return values


def _call(name: str, client: Client, number: int) -> None:
    """A whole call. Raises WrongAnswer."""
    try:
        client.begin(number, ends=False)
        client.send(message(number), ends=True)
        answer = client.whole()
    except (OSError, SpoiledError) as error:
        raise WrongAnswer(f"{name}: connection {number + 1}: {error}") from error
    _judge(name, answer.fields.get(ROLE), answer.body, number)


def _open(name: str, client: Client, number: int) -> None:
    """A call of which one message has come back and that stays open. Raises WrongAnswer."""
    try:
        client.begin(number, ends=False)
        client.send(message(number), ends=False)
        answer = client.receive(FRAMED_BYTES)
    except (OSError, SpoiledError) as error:
        raise WrongAnswer(f"{name}: stream {number + 1}: {error}") from error
    _judge(name, answer.fields.get(ROLE), answer.body, number)


def _judge(name: str, role: str | None, body: bytes, number: int) -> None:
    if role != "shadow" or body != message(number):
        raise WrongAnswer(f"{name}: call {number + 1}: {role} answered {body[:40]!r}")


SCENARIO = Scenario(
    name="grpc",
    summary="unary calls over 16 and 64 connections, streams of messages, new connections: CPU; what waits: memory",
    cases={
        "waiting": f"{HELD:,} idle connections, each has served one call; {STREAMS:,} open streams",
        **{case: title for case, (_, title) in CASES.items()},
    },
    metrics=(
        Metric("cpu_us", "CPU per call", "us"),
        Metric("cpu_us_per_message", "CPU per message", "us"),
        Metric("rps", "calls/s", "", 0),
        Metric("mps", "messages/s", "", 0),
        Metric("busy", "core used", "%", 0),
        Metric("per_connection_kib", "per idle connection", "KiB"),
        Metric("per_stream_kib", "per open stream", "KiB", 2),
    ),
    targets=(
        Target("cpu_us", Bound.AT_MOST, 0.50, "envoy", ("16x8",)),
        Target("cpu_us", Bound.AT_MOST, 1.0, "nginx", ("16x8",)),
        Target("cpu_us", Bound.AT_MOST, 0.40, "envoy", ("16x8-unkeyed",)),
        Target("cpu_us", Bound.AT_MOST, 0.75, "envoy", ("16x1", "64x1")),
        Target("cpu_us_per_message", Bound.AT_MOST, 0.7, "envoy", ("stream",)),
        Target("cpu_us", Bound.AT_MOST, 1.3, "envoy", ("new",)),
        Target("per_connection_kib", Bound.AT_MOST, 10),
        Target("per_stream_kib", Bound.AT_MOST, 1),
    ),
    run=run,
    rounds=3,
    duration=1.0,
)

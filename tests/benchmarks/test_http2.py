"""The load of HTTP/2 and gRPC: what it sends is right, it believes no answer, and whole scenarios of it run."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hpack import Decoder
from rich.console import Console

from benchmarks import builds
from benchmarks.http2 import frames, lanes, probe
from benchmarks.http2.answers import Judge, SpoiledError
from benchmarks.http2.client import Client
from benchmarks.http2.requests import FRAMED_BYTES, Blocks, Kind, message
from benchmarks.machine import Cores, free_ports
from benchmarks.peers import ALL_PEERS
from benchmarks.peers.known import INTERPRETER
from benchmarks.process import Process
from benchmarks.progress import Progress
from benchmarks.run import Candidate, Run
from benchmarks.scenario import SKYCAP_INTERPRETED, Scenario
from benchmarks.scenarios import bodies, grpc, http2
from benchmarks.traffic import FORKED
from tests.tools import find, require

CALL = lanes.Order(Kind(FORKED), "shadow", connections=2, streams=3)
SECONDS = 0.05


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an application that calls itself the shadow."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "benchmarks.http2.echo", str(port), "shadow"]
    folder = tmp_path_factory.mktemp("echo")
    with Process("echo", command, os.sched_getaffinity(0), folder) as process:
        process.await_ready(lambda: probe.answers(port, probe.CALL))
        yield port


@contextmanager
def server(answer: Callable[[int], bytes], given: list[int] | None = None) -> Iterator[int]:
    """A server of HTTP/2 that answers each frame of HEADERS with what `answer` makes of its stream.

    given: notes by how much its client opens windows."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as reader:
            reader.read(len(frames.PREFACE))
            connection.sendall(frames.opening(client=False))
            while head := reader.read(9):
                size, _, stream = frames.HEAD.unpack(head)
                payload = reader.read(size >> 8)
                if given is not None and size & 0xFF == frames.WINDOW_UPDATE:
                    given.append(int.from_bytes(payload, "big"))
                if size & 0xFF == frames.HEADERS:
                    connection.sendall(answer(stream))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        thread.join(5)


def fields(block: bytes, decoder: Decoder) -> dict[str, str]:
    return {str(name): str(value) for name, value in decoder.decode(block)}


@pytest.mark.parametrize("table", [0, 4096])
def test_requests_are_whole_and_their_ids_differ(table: int) -> None:
    blocks, decoder = Blocks(Kind(FORKED), table), Decoder()
    seen = [fields(blocks.block(number, first=not number), decoder) for number in range(200)]
    assert seen[0][":method"] == "POST"
    assert seen[0][":authority"] == "users:8080"
    assert (
        seen[0]["baggage"] == seen[100]["baggage"] == "tenant=acme,routing-key=agent-000,user.tier=gold;source=gateway"
    )
    assert len({one["traceparent"] for one in seen}) == len({one["x-request-id"] for one in seen}) == 200
    assert {len(one["x-request-id"]) for one in seen} == {36}
    for one in seen:
        assert set(Kind(FORKED).fixed) <= set(one.items())


def test_a_table_is_used_where_there_is_one() -> None:
    lengths = [len(Blocks(Kind(FORKED), table).block(1, first=False)) for table in (0, 4096)]
    assert lengths[0] > lengths[1] + 50


def test_fetches_and_uploads() -> None:
    fetch = dict(Kind(path="/a", grpc=False).fixed)
    upload = dict(Kind(path="/b", grpc=False, body=7).fixed)
    assert (fetch[":method"], upload[":method"], upload["content-length"]) == ("GET", "PUT", "7")


@pytest.mark.parametrize(
    "order",
    [CALL, replace(CALL, fresh=True), replace(CALL, kind=Kind()), replace(CALL, messages=300, in_flight=16)],
    ids=["kept", "fresh", "unkeyed", "messages"],
)
def test_every_call_is_answered_and_counted(echo: int, order: lanes.Order) -> None:
    outcome = lanes.drive(order, echo, SECONDS)
    assert outcome.problems == []
    assert outcome.requests >= order.connections
    assert outcome.messages == outcome.requests * order.messages


def test_an_answer_of_another_one_is_a_problem(echo: int) -> None:
    outcome = lanes.drive(replace(CALL, role="baseline"), echo, SECONDS)
    assert outcome.problems == ["SpoiledError: expected baseline, and shadow answered"]


HEAD = b"\x88\0\x08x-origin\x06shadow"
TRAILERS = b"\0\x0bgrpc-status\x01"


def framed(stream: int, body: bytes, trailers: bytes) -> bytes:
    ends = frames.END_HEADERS | frames.END_STREAM
    return (
        frames.frame(frames.HEADERS, frames.END_HEADERS, stream, HEAD)
        + frames.frame(frames.DATA, 0, stream, body)
        + frames.frame(frames.HEADERS, ends, stream, trailers)
    )


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda stream: framed(stream, message(1), TRAILERS + b"0"), "came back as"),
        (lambda stream: framed(stream, b"", TRAILERS + b"0"), "an answer ended early"),
        (lambda stream: framed(stream, message(0)[:50], TRAILERS + b"0"), "an answer ended early"),
        (lambda stream: framed(stream, message(0), TRAILERS + b"5"), "grpc-status 5"),
        (lambda stream: frames.frame(1, 5, stream, b"\x8d"), "status 404"),
        (lambda stream: frames.frame(frames.RST_STREAM, 0, stream, struct.pack(">I", 8)), "reset with code 8"),
        (lambda stream: frames.frame(frames.GOAWAY, 0, 0, struct.pack(">II", 0, 11)), "GOAWAY with error 11"),
        (lambda stream: framed(stream + 2, message(0), TRAILERS + b"0"), "on which nothing was asked"),
        (lambda stream: frames.frame(1, 4, stream, b"\xff\xff\xff"), "a header block that cannot be read"),
    ],
)
def test_what_is_not_the_answer_is_a_problem(answer: Callable[[int], bytes], problem: str) -> None:
    with server(answer) as port:
        outcome = lanes.drive(replace(CALL, connections=1, streams=1), port, SECONDS)
    assert len(outcome.problems) == 1
    assert problem in outcome.problems[0]
    assert outcome.requests == 0


def test_a_right_answer_in_pieces_is_one() -> None:
    def answer(stream: int) -> bytes:
        said = message(stream // 2)
        whole = framed(stream, said, TRAILERS + b"0")
        pieces = [said[start : start + 40] for start in range(0, FRAMED_BYTES, 40)]
        cut = b"".join(frames.frame(frames.DATA, 0, stream, piece) for piece in pieces)
        return whole.replace(frames.frame(frames.DATA, 0, stream, said), cut)

    with server(answer) as port, Client(port, Kind()) as client:
        client.begin(0, ends=True)
        assert client.whole().body == message(0)
    with server(answer) as port:
        outcome = lanes.drive(replace(CALL, connections=1, streams=1), port, SECONDS)
    assert outcome.problems == []
    assert outcome.requests > 0


def test_no_more_is_given_back_than_came_as_content(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "WINDOW_STEP", 1000)
    given: list[int] = []

    def answer(stream: int) -> bytes:
        return framed(stream, bytes(600), TRAILERS + b"0")

    with server(answer, given) as port, Client(port, Kind()) as client:
        for number in range(4):
            client.begin(number, ends=True)
            client.whole()
    assert given == [frames.OPEN_WINDOW - frames.DEFAULT_WINDOW, 1200, 1200]


def test_heads_are_judged_once_and_known_then() -> None:
    judge = Judge("shadow", grpc=True)
    judge.head(HEAD)
    judge.head(HEAD)
    with pytest.raises(SpoiledError, match="expected shadow, and nobody answered"):
        judge.head(b"\x88")


def run_of(scenario: Scenario, folder: Path, stack: ExitStack) -> Run:
    """Of the sidecar as it stands, HAProxy and nginx, on all cores."""
    require("nginx", "haproxy")
    builds.make(builds.INTERPRETED)
    names = {
        SKYCAP_INTERPRETED: INTERPRETER,
        "haproxy": Path(find("haproxy") or ""),
        "nginx": Path(find("nginx") or ""),
    }
    available = tuple(sorted(os.sched_getaffinity(0)))
    return Run(
        scenario=scenario, rounds=1, duration=SECONDS,
        candidates=[Candidate(peer, names[peer.name]) for peer in ALL_PEERS if peer.name in names],
        tools={"nginx": names["nginx"]}, cores=Cores(available, available, available), folder=folder,
        progress=Progress(Console(quiet=True)), stack=stack,
    )  # fmt: skip


@pytest.mark.timeout(180)
def test_grpc_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_KEPT", tmp_path / "builds")
    monkeypatch.setattr(grpc, "HELD", 20)
    monkeypatch.setattr(grpc, "STREAMS", 100)
    stream, title = grpc.CASES["stream"]
    monkeypatch.setitem(grpc.CASES, "stream", (replace(stream, messages=200), title))
    with ExitStack() as stack:
        run = run_of(grpc.SCENARIO, tmp_path, stack)
        grpc.SCENARIO.run(run)
    peers = {sample.peer for sample in run.samples}
    assert peers == {SKYCAP_INTERPRETED, "haproxy", "nginx", "direct"}
    assert {sample.case for sample in run.samples} == set(grpc.SCENARIO.cases)
    for sample in run.samples:
        if sample.case != "waiting":
            assert sample.values["mps" if sample.case == "stream" else "rps"] > 0


@pytest.mark.timeout(180)
def test_bodies_run_over_both_protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_KEPT", tmp_path / "builds")
    for module in (bodies, http2):
        small = {case: told for case, told in module.CASES.items() if told[0] == 1}
        monkeypatch.setattr(module, "CASES", small)
        folder = tmp_path / module.__name__.rpartition(".")[2]  # a socket stands there, whose path may have 107 bytes
        folder.mkdir()
        with ExitStack() as stack:
            run = run_of(module.SCENARIO, folder, stack)
            module.SCENARIO.run(run)
        assert {sample.case for sample in run.samples} == set(small)
        assert {sample.peer for sample in run.samples} == {SKYCAP_INTERPRETED, "haproxy", "nginx", "direct"}
        assert all(sample.values["rate"] > 0 for sample in run.samples)

"""A client that disappears, in every phase of its exchange, by a reset or by closing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.faults import peers, subject
from tests.faults.peers import Origin, Peer, connect, error_code, ok, request
from tests.faults.subject import WORKLOAD, Subject, until

pytestmark = pytest.mark.parametrize("how", ["reset", "close"])

KEYED = b"baggage: routing-key=%b"


@pytest.fixture(scope="module")
def shared(application: socket.socket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """With a shadow that is not ready, and one that does not take the dial. What ends does so because its client has:
    a busy machine meets no limit."""
    folder = tmp_path_factory.mktemp("sidecar")
    with peers.silent_address() as silent:
        routes = folder / "routes.yaml"
        routes.write_text(
            "routes:\n"
            f"- {{workload: {WORKLOAD}, key: pending, endpoints: ['127.0.0.1:1'], state: pending}}\n"
            f"- {{workload: {WORKLOAD}, key: silent, endpoints: ['127.0.0.1:{silent}']}}\n"
        )
        port = application.getsockname()[1]
        with subject.running(port, folder, "--hold-timeout", "1s", "--routes", str(routes)) as running:
            yield running


async def served(sidecar: Subject, origin: Origin) -> None:
    """Whoever comes next is served as if nothing had been."""
    origin.script = origin.answer
    client = await connect(sidecar.inbound)
    await client.send(request(b"/next"))
    assert (await client.message())[0].startswith(b"HTTP/1.1 200 ")
    client.close()
    assert origin.paths[-1] == b"/next"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\nhost: a\r\nx:",
        request()[:-1],
    ],
    ids=["nothing", "one-byte", "half-a-head", "all-but-one-byte"],
)
async def test_before_its_head_is_complete(sidecar: Subject, origin: Origin, how: str, sent: bytes) -> None:
    accepted = await sidecar.metric("skycap_connections_accepted_total")
    client = await connect(sidecar.inbound)
    await client.send(sent)
    await sidecar.reaches(accepted + 1, "skycap_connections_accepted_total")
    client.end(how)
    await sidecar.at_rest()
    assert origin.requests == []
    await served(sidecar, origin)


@pytest.mark.parametrize(
    "framing", [b"content-length: 100\r\n\r\nhalf", b"transfer-encoding: chunked\r\n\r\n8\r\nhalf"]
)
async def test_inside_its_body(sidecar: Subject, origin: Origin, how: str, framing: bytes) -> None:
    """The application must not take half a body for a whole one, nor the connection be used again."""
    ended: list[tuple[bytes, str]] = []

    async def script(peer: Peer) -> None:
        origin.requests.append(await peer.head())
        ended.append(await peer.rest())

    origin.script = script
    client = await connect(sidecar.inbound)
    await client.send(b"POST / HTTP/1.1\r\nhost: a\r\n" + framing)
    await until(lambda: origin.requests, "the application has the head")
    client.end(how)
    await until(lambda: ended, "the application is told")
    assert ended[0][0].endswith(b"half")
    await served(sidecar, origin)


async def test_while_it_waits_for_the_answer(sidecar: Subject, origin: Origin, how: str) -> None:
    """The application is told at once, while it is silent, in the way in which the client has gone. A close may be half
    a close (RFC 9112 section 9.6): who answers it all the same learns the rest."""
    told: list[str] = []

    async def script(peer: Peer) -> None:
        await origin.take(peer)
        told.append(await peer.ended())
        if how == "close":
            try:
                await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                while True:
                    await peer.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            except ConnectionError:
                told.append("reset")

    origin.script = script
    client = await connect(sidecar.inbound)
    await client.send(request())
    await until(lambda: origin.requests, "the application has the request")
    client.end(how)
    await until(lambda: "reset" in told, "the application is told")
    assert told == (["closed", "reset"] if how == "close" else ["reset"])
    await served(sidecar, origin)


async def test_inside_the_answer(sidecar: Subject, origin: Origin, how: str) -> None:
    ended: list[str] = []

    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            while True:
                await peer.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        except ConnectionError:
            ended.append(how)

    origin.script = script
    client = await connect(sidecar.inbound)
    await client.send(request())
    await client.head()
    await client.exactly(1 << 20)
    client.end(how)
    await until(lambda: ended, "the application is told")
    await served(sidecar, origin)


async def test_between_two_requests(untaught: Subject, origin: Origin, how: str) -> None:
    client = await connect(untaught.inbound)
    await client.send(request())
    await client.message()
    client.end(how)
    await served(untaught, origin)
    assert origin.connections == 1  # the application's connection is none of the client's business


async def test_while_its_shadow_is_pending(sidecar: Subject, origin: Origin, how: str) -> None:
    client = await connect(sidecar.inbound)
    await client.send(request(b"/", KEYED % b"pending"))
    await until_phase(sidecar, "routing")
    client.end(how)
    await sidecar.at_rest()
    await served(sidecar, origin)
    assert len(origin.requests) == 1


async def test_while_its_shadow_is_dialled(sidecar: Subject, origin: Origin, how: str) -> None:
    """A dial that nobody waits for any more is given up."""
    client = await connect(sidecar.inbound)
    await client.send(request(b"/", KEYED % b"silent"))
    await until_phase(sidecar, "routing")
    client.end(how)
    await sidecar.at_rest()
    await served(sidecar, origin)
    assert len(origin.requests) == 1


async def test_a_dial_that_nobody_answers(sidecar: Subject, origin: Origin, how: str) -> None:
    client = await connect(sidecar.inbound)
    await client.send(request(b"/", KEYED % b"silent"))
    head, body = await client.message()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert error_code(head) == b"shadow-unreachable"
    assert b"no connection in time" in body
    client.end(how)
    assert origin.requests == []


async def test_in_a_tunnel(sidecar: Subject, origin: Origin, how: str) -> None:
    ended: list[str] = []

    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        await peer.send(await peer.exactly(4))
        ended.append(await peer.ended())

    origin.script = script
    client = await connect(sidecar.inbound)
    await client.send(request(b"/", b"connection: upgrade", b"upgrade: echo"))
    await client.head()
    await client.send(b"ping")
    assert await client.exactly(4) == b"ping"
    client.end(how)
    await until(lambda: ended, "the application is told")
    await served(sidecar, origin)


async def test_with_requests_ahead(sidecar: Subject, origin: Origin, how: str) -> None:
    """Of a pipeline whose client is gone no further request is sent: nobody would read its answer."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await go.wait()
        with contextlib.suppress(ConnectionError):  # the sidecar has told it with a reset
            await peer.send(ok())
            await peer.ended()

    origin.script = script
    client = await connect(sidecar.inbound)
    await client.send(b"".join(request(b"/%d" % number) for number in range(20)))
    await until(lambda: origin.requests, "the first is with the application")
    client.reset()
    await until(lambda: not sidecar.peers() or len(sidecar.peers()) <= 1, "the sidecar knows")
    go.set()
    await sidecar.at_rest()
    assert origin.paths == [b"/0"]
    await served(sidecar, origin)


async def until_phase(sidecar: Subject, phase: str) -> None:
    phases: list[str] = []
    while phase not in phases:
        phases = [one["phase"] for one in (await sidecar.page("/connections"))["connections"]]

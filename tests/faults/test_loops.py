"""Tables with a cycle: 508 at the first sight of it, and a handful of connections, never a storm."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from tests.acceptance.running import free_port
from tests.faults import peers, subject
from tests.faults.peers import Origin, connect, error_code, request
from tests.faults.subject import WORKLOAD, Subject

KEYED = b"baggage: routing-key=loop"
TRACED = b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FEW = 8


def table(folder: Path, name: str, *endpoints: int) -> tuple[str, str]:
    listed = ", ".join(f"'127.0.0.1:{port}'" for port in endpoints)
    path = folder / f"{name}.yaml"
    path.write_text(f"routes:\n- {{workload: {WORKLOAD}, key: loop, endpoints: [{listed}]}}\n")
    return "--routes", str(path)


async def ask(port: int, *lines: bytes) -> tuple[bytes, bytes]:
    client = await connect(port)
    await client.send(request(b"/", *lines))
    answer = await client.message()
    client.close()
    return answer


@pytest.mark.parametrize("at", ["inbound", "outbound", "admin"])
async def test_a_shadow_that_is_the_sidecar_itself(
    application: socket.socket, origin: Origin, tmp_path: Path, at: str
) -> None:
    routes = tmp_path / "later.yaml"
    routes.write_text("routes: []\n")
    with subject.running(application.getsockname()[1], tmp_path, "--routes", str(routes)) as sidecar:
        own = {"inbound": sidecar.inbound, "outbound": sidecar.outbound, "admin": sidecar.admin}[at]
        table(tmp_path, "later", own)
        async with asyncio.timeout(8):
            while not (await sidecar.page("/routes"))["total"]:
                pass
        head, body = await ask(sidecar.inbound, KEYED)
        assert head.startswith(b"HTTP/1.1 508 ")
        assert error_code(head) == b"loop"
        assert b"own listeners" in body
        assert (await ask(sidecar.inbound))[0].startswith(b"HTTP/1.1 200 ")
        assert await sidecar.metric("skycap_connections_accepted_total") == 2
        await peers.hang_up()
    assert len(origin.requests) == 1


@pytest.mark.parametrize("lines", [(KEYED,), (KEYED, TRACED)], ids=["bare", "traced"])
@pytest.mark.parametrize("length", [2, 3])
async def test_sidecars_that_lead_to_each_other(
    application: socket.socket, origin: Origin, tmp_path: Path, lines: tuple[bytes, ...], length: int
) -> None:
    app = application.getsockname()[1]
    ring: list[Subject] = []
    with contextlib.ExitStack() as stack:
        gates = [free_port() for _ in range(length)]
        for number, gate in enumerate(gates):
            following = gates[(number + 1) % length]
            extra = ("--inbound", f"127.0.0.1:{gate}=127.0.0.1:{app}")
            folder = tmp_path / str(number)
            folder.mkdir()
            ring.append(stack.enter_context(subject.running(app, folder, *extra, *table(folder, "t", following))))
        head, _ = await ask(ring[0].inbound, *lines)
        assert head.startswith(b"HTTP/1.1 508 ")
        assert error_code(head) == b"loop"
        for sidecar in ring:
            assert await sidecar.metric("skycap_connections_accepted_total") <= FEW
        assert (await ask(ring[0].inbound))[0].startswith(b"HTTP/1.1 200 ")
        await peers.hang_up()
    assert len(origin.requests) == 1


async def test_an_application_that_calls_itself_is_no_loop(
    application: socket.socket, origin: Origin, tmp_path: Path
) -> None:
    """By way of the forward proxy, or of a listener whose target is its own address: it ends at the application, with a
    key and without."""
    forward = free_port()
    with subject.running(application.getsockname()[1], tmp_path, "--outbound", f"127.0.0.1:{forward}") as sidecar:
        for lines in (b"", KEYED + b"\r\n"):
            client = await connect(forward)
            target = b"127.0.0.1:%d" % sidecar.inbound
            await client.send(b"GET http://%b/ HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (target, target, lines))
            head, _ = await client.message()
            assert head.startswith(b"HTTP/1.1 200 ")
            client.close()
        await peers.hang_up()
    assert len(origin.requests) == 2


async def test_a_listener_whose_target_is_its_own_application(
    application: socket.socket, origin: Origin, tmp_path: Path
) -> None:
    gate, call = free_port(), free_port()
    app = application.getsockname()[1]
    extra = ("--inbound", f"127.0.0.1:{gate}=127.0.0.1:{app}", "--outbound", f"127.0.0.1:{call}=127.0.0.1:{gate}")
    with subject.running(app, tmp_path, *extra):
        assert (await ask(call))[0].startswith(b"HTTP/1.1 200 ")
        await peers.hang_up()
    assert len(origin.requests) == 1


async def test_an_inbound_side_that_is_sent_to_itself(
    application: socket.socket, origin: Origin, tmp_path: Path
) -> None:
    """Two listeners that guard each other, and one that guards a listener of the outbound side."""
    one, other, call, behind = (free_port() for _ in range(4))
    extra = (
        "--inbound", f"127.0.0.1:{one}=127.0.0.1:{other}", "--inbound", f"127.0.0.1:{other}=127.0.0.1:{one}",
        "--outbound", f"127.0.0.1:{call}=127.0.0.1:{behind}", "--inbound", f"127.0.0.1:{behind}=127.0.0.1:{call}",
    )  # fmt: skip
    with subject.running(application.getsockname()[1], tmp_path, *extra):
        for port in (one, other, call, behind):
            head, _ = await ask(port)
            assert head.startswith(b"HTTP/1.1 508 ")
            assert error_code(head) == b"loop"
        await peers.hang_up()
    assert origin.requests == []


async def test_a_forward_proxy_that_is_asked_for_itself(application: socket.socket, tmp_path: Path) -> None:
    forward = free_port()
    with subject.running(application.getsockname()[1], tmp_path, "--outbound", f"127.0.0.1:{forward}") as sidecar:
        for target in (forward, sidecar.admin):
            client = await connect(forward)
            await client.send(b"GET http://localhost:%d/ HTTP/1.1\r\nhost: localhost:%d\r\n\r\n" % (target, target))
            head, _ = await client.message()
            assert head.startswith(b"HTTP/1.1 508 ")
            client.close()
        assert await sidecar.metric("skycap_connections_accepted_total") == 2
        await peers.hang_up()

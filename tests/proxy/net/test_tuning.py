"""How connections are set up: those that we make, and those that we accept."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest

from proxy.net.tuning import keep_alive, tune
from tests.proxy.net.rig import Line, client, eventually, net, on_uvloop, origin
from tests.proxy.net.test_listener import address, listener

TUNED = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 60,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 15,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 4,
    (socket.IPPROTO_TCP, socket.TCP_NODELAY): 1,
}


def is_tuned(transport: object) -> bool:
    """A peer that vanished without a word is noticed; buffers hold a read or two."""
    assert isinstance(transport, object)
    sock = transport.get_extra_info("socket")  # type: ignore[attr-defined]
    assert {option: sock.getsockopt(*option) for option in TUNED} == TUNED
    assert transport.get_write_buffer_limits() == (64 * 1024, 256 * 1024)  # type: ignore[attr-defined]
    return True


@on_uvloop
async def test_connections_that_we_make() -> None:
    async with net() as parts, origin() as app:
        borrower = await parts.borrow(parts.pools(app.endpoint))
        assert borrower.upstream is not None
        assert is_tuned(borrower.upstream.stream)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connections_that_we_accept(host: str) -> None:
    """From their listening socket, which is what the kernel does; should it stop to, this fails."""

    @on_uvloop
    async def accepted() -> None:
        async with AsyncExitStack() as stack:
            parts, app = await stack.enter_async_context(net()), await stack.enter_async_context(origin())
            listening = await stack.enter_async_context(listener(parts.inbound(app.endpoint), host))
            await stack.enter_async_context(client(address(listening)))
            await eventually(lambda: listening.connections)
            (connection,) = listening.connections
            assert is_tuned(connection.stream)

    accepted()


@on_uvloop
async def test_sockets_that_are_not_tcp_are_left_alone() -> None:
    here, there = socket.socketpair()
    with there:
        transport, _ = await asyncio.get_running_loop().create_connection(Line, sock=here)
        tune(transport)
        assert here.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        transport.abort()


def test_without_the_times_the_probes_are_still_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that has no TCP_KEEPIDLE."""
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    with socket.socket() as sock:
        keep_alive(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1

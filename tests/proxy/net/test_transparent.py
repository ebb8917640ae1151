"""What a sidecar does with destinations that it is told, on loopback. Real redirections: tests/interception."""

from __future__ import annotations

import logging

import pytest

from proxy.contract.routes import Endpoint
from proxy.net import transparent
from proxy.net.addresses import OwnConnections
from proxy.net.listener import Listener, bind
from proxy.net.silence import Opening
from proxy.net.transparent import Destinations, Redirection
from tests.proxy.net.rig import Borrower, Net, client, eventually, net, on_uvloop, origin

GET = b"GET / HTTP/1.1\r\nhost: users\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
OWN = "127.0.0.2"
"""An address of this machine that is not the one that loopback is called by."""


@on_uvloop
async def test_an_application_is_dialled_on_loopback_first() -> None:
    async with net() as parts, origin() as near:
        pool = parts.pools.local(Endpoint(OWN, near.endpoint.port))
        borrower = await parts.borrow(pool)
        assert borrower.events == ["connected"]
        await near.line()
        assert pool is parts.pools.local(Endpoint(OWN, near.endpoint.port))
        assert pool is not parts.pools(Endpoint(OWN, near.endpoint.port)), "which is dialled as it is called"


@on_uvloop
async def test_and_on_its_own_address_when_it_does_not_listen_there() -> None:
    async with net() as parts, origin(host=OWN) as own:
        await parts.borrow(parts.pools.local(own.endpoint))
        await own.line()


@on_uvloop
async def test_an_application_that_listens_nowhere() -> None:
    async with net() as parts:
        (taken,) = bind("127.0.0.1", 0)
        port = taken.getsockname()[1]
        taken.close()
        borrower = Borrower()
        parts.pools.local(Endpoint(OWN, port)).dial(borrower)
        await borrower.happens("failed: connection refused")
        assert parts.counters.inbound.upstream_dials == 1


@on_uvloop
async def test_a_listener_of_ours_is_no_application() -> None:
    """Neither on loopback, nor under the address that the client knows it by."""
    async with net() as parts:
        sockets = bind("127.0.0.1", 0)
        parts.own.add(sockets)
        borrower = Borrower()
        parts.pools.local(Endpoint(OWN, sockets[0].getsockname()[1])).dial(borrower)
        await borrower.happens("refused")
        sockets[0].close()


@on_uvloop
async def test_a_dial_that_has_arrived_at_ourselves_is_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "skycap.connections")

    class Arrived(OwnConnections):
        """As if the connection had been redirected to us, and been noticed before the dial was over."""

        def made(self, ends: tuple[str, int, str, int]) -> bool:
            self.arrived(ends)
            return super().made(ends)

    async with net() as parts, origin() as app:
        own = parts.own.connections = Arrived()
        for _ in range(2):
            borrower = Borrower()
            parts.pools(app.endpoint).dial(borrower)
            await borrower.happens("refused")
        assert len(caplog.records) == 1
        assert caplog.records[0].message.startswith(
            "a connection of our own came back to us: the sidecar runs as user "
        )
        await eventually(lambda: repr(own) == "<OwnConnections made=0 arrived=2>")


@on_uvloop
async def test_a_dial_that_went_away_is_remembered_for_as_long_as_it_lasts() -> None:
    async with net() as parts, origin() as app:
        own = parts.own.connections = OwnConnections()
        pool = parts.pools(app.endpoint)
        borrower = await parts.borrow(pool)
        assert repr(own) == "<OwnConnections made=1 arrived=0>"
        (upstream,) = pool.open
        assert upstream.ends is not None
        assert upstream.ends[2:] == (app.endpoint.host, app.endpoint.port)
        borrower.give_back(pool, 0)
        await eventually(lambda: repr(own) == "<OwnConnections made=0 arrived=0>")


async def _redirecting(parts: Net, own: OwnConnections) -> Listener:
    known = Destinations(lambda destination: (parts.inbound(destination), Opening()))
    listener = Listener(Redirection(known, parts.counters.inbound, own), bind("127.0.0.1", 0), parts.descriptors)
    await listener.start()
    return listener


@on_uvloop
async def test_a_redirected_connection_is_served_by_the_side_of_its_destination(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with net() as parts, origin() as one, origin() as other:
        own = OwnConnections()
        listener = await _redirecting(parts, own)
        address = listener.sockets[0].getsockname()[:2]
        for app in (one, other):
            monkeypatch.setattr(transparent, "original_destination", lambda _, app=app: app.endpoint)
            async with client(address) as peer:
                peer.send(GET)
                line = await app.line()
                await line.receives(GET)
                line.send(OK)
                await peer.receives(OK)
                assert repr(own) == "<OwnConnections made=0 arrived=1>"
            await listener.emptied()
        assert repr(own) == "<OwnConnections made=0 arrived=0>"
        assert parts.counters.inbound.connections_accepted == 2
        listener.stop_accepting()


@on_uvloop
async def test_a_connection_of_our_own_is_refused_when_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    class Made(OwnConnections):
        """As if the dial had been noticed before."""

        def arrived(self, ends: tuple[str, int, str, int]) -> bool:
            self.made(ends)
            return super().arrived(ends)

    async with net() as parts:
        listener = await _redirecting(parts, Made())
        monkeypatch.setattr(transparent, "original_destination", lambda _: Endpoint("10.0.0.9", 80))
        async with client(listener.sockets[0].getsockname()[:2]) as peer:
            await peer.until(lambda: peer.lost)
            assert isinstance(peer.error, ConnectionResetError)
        assert parts.counters.inbound.failures == {"loop": 1}
        assert parts.counters.inbound.connections_accepted == 0
        listener.stop_accepting()

"""What the kernel tells about a redirection, and what is made of it. Real redirections: tests/interception."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

import pytest

from proxy.base.problems import ConfigurationError
from proxy.contract.routes import Endpoint
from proxy.exchange.side import Side
from proxy.net.addresses import OwnConnections
from proxy.net.listener import Listener, bind
from proxy.net.original_destination import original_destination
from proxy.net.silence import Opening
from proxy.net.transparent import ANYWHERE, LOOPBACK, Destinations, Redirection, bind_redirected
from tests.proxy.net.rig import client, net, on_uvloop

HERE = ("10.0.0.7", 15006)
HERE6 = ("fd00::7", 15006, 0, 0)


class Told:
    """A socket of which the kernel tells something."""

    def __init__(self, family: int, name: tuple[str, int] | tuple[str, int, int, int], says: bytes | OSError) -> None:
        self.family = family
        self.asked: list[tuple[int, int, int]] = []
        self._name = name
        self._says = says

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        self.asked.append((level, option, size))
        if isinstance(self._says, OSError):
            raise self._says
        assert len(self._says) == size
        return self._says

    def getsockname(self) -> tuple[str, int] | tuple[str, int, int, int]:
        return self._name


def _in(host: str, port: int) -> bytes:
    """struct sockaddr_in"""
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton(host))


def _in6(host: str, port: int, scope: int = 0) -> bytes:
    """struct sockaddr_in6"""
    address = socket.inet_pton(socket.AF_INET6, host)
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16s", port, 77, address) + struct.pack("=I", scope)


def test_where_it_wanted_to_go() -> None:
    told = Told(socket.AF_INET, HERE, _in("10.0.0.7", 8080))
    assert original_destination(told) == Endpoint("10.0.0.7", 8080)
    assert told.asked == [(0, 80, 16)]
    told = Told(socket.AF_INET6, HERE6, _in6("fd00::7", 8080, scope=3))
    assert original_destination(told) == Endpoint("fd00::7", 8080)
    assert told.asked == [(41, 80, 28)]


@pytest.mark.parametrize(
    "told",
    [
        Told(socket.AF_INET, HERE, _in(*HERE)),
        Told(socket.AF_INET6, HERE6, _in6("fd00::7", 15006)),
        Told(socket.AF_INET6, ("fe80::7%eth0", 15006, 0, 2), _in6("fe80::7", 15006, scope=2)),
        Told(socket.AF_INET, HERE, OSError(errno.ENOENT, "not tracked")),
        Told(socket.AF_INET6, HERE6, OSError(errno.ENOPROTOOPT, "no such option")),
    ],
)
def test_who_dialled_us_wanted_to_go_nowhere_else(told: Told) -> None:
    assert original_destination(told) is None


def test_a_real_connection_that_nobody_redirected() -> None:
    (listening,) = bind("127.0.0.1", 0)
    with listening, socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
        assert original_destination(accepted) is None


# -- our own ----------------------------------------------------------------------------------------------------------

ENDS = ("10.0.0.7", 40000, "10.0.0.9", 80)


def test_a_connection_is_not_both_made_and_arrived() -> None:
    own = OwnConnections()
    assert own.made(ENDS)
    assert not own.arrived(ENDS)
    own = OwnConnections()
    assert own.arrived(ENDS)
    assert not own.made(ENDS)


def test_the_same_port_to_another_place_is_another_connection() -> None:
    """Linux gives one local port to connections that differ in where they go."""
    own = OwnConnections()
    assert own.made(ENDS)
    assert own.arrived(("10.0.0.7", 40000, "10.0.0.9", 81))
    assert own.arrived(("10.0.0.7", 40001, "10.0.0.9", 80))


def test_what_has_ended_is_forgotten() -> None:
    own = OwnConnections()
    assert own.made(ENDS)
    own.unmade(ENDS)
    assert own.arrived(ENDS)
    own.left(ENDS)
    assert own.made(ENDS)
    own.unmade(ENDS)
    assert repr(own) == "<OwnConnections made=0 arrived=0>"


# -- destinations -----------------------------------------------------------------------------------------------------


class _Maker:
    """Makes sides, and keeps account."""

    def __init__(self, make: Callable[[Endpoint], Side]) -> None:
        self.made: list[Side] = []
        self.forgotten: list[Side] = []
        self._make = make

    def __call__(self, destination: Endpoint) -> tuple[Side, Opening]:
        self.made.append(self._make(destination))
        return self.made[-1], Opening()


def _endpoint(number: int) -> Endpoint:
    return Endpoint("10.0.0.9", 1000 + number)


@on_uvloop
async def test_a_destination_has_one_side_for_as_long_as_it_is_known() -> None:
    async with net() as parts:
        maker = _Maker(parts.outbound)
        known = Destinations(maker, maker.forgotten.append, limit=3)
        sides = [known.find(_endpoint(number), set)[0] for number in range(3)]
        assert known.find(_endpoint(1), set)[0] is sides[1]
        assert list(known) == sides == maker.made
        assert known.endpoints() == {_endpoint(number) for number in range(3)}
        assert repr(known) == "<Destinations 3>"


@on_uvloop
async def test_what_nobody_uses_is_forgotten_when_there_are_many() -> None:
    async with net() as parts:
        maker = _Maker(parts.outbound)
        known = Destinations(maker, maker.forgotten.append, limit=3)
        sides = [known.find(_endpoint(number), set)[0] for number in range(3)]
        known.find(_endpoint(3), lambda: {sides[1]})
        assert known.endpoints() == {_endpoint(1), _endpoint(3)}
        assert maker.forgotten == [sides[0], sides[2]]
        assert known.find(_endpoint(1), set)[0] is sides[1]


@on_uvloop
async def test_a_crowd_in_use_is_not_counted_on_every_arrival() -> None:
    async with net() as parts:
        maker = _Maker(parts.outbound)
        known = Destinations(maker, limit=4)
        asked = 0

        def all_of_them() -> set[Side]:
            nonlocal asked
            asked += 1
            return set(maker.made)

        for number in range(64):
            known.find(_endpoint(number), all_of_them)
        assert len(known.endpoints()) == 64, "who is connected is never forgotten"
        assert asked <= 5


@on_uvloop
async def test_a_drain_reaches_sides_that_are_there_and_those_to_come() -> None:
    async with net() as parts:
        known = Destinations(_Maker(parts.outbound))
        known.find(_endpoint(0), set)
        assert [side.draining for side in known] == [False]
        known.drain()
        known.find(_endpoint(1), set)
        assert [side.draining for side in known] == [True, True]


# -- the listener -----------------------------------------------------------------------------------------------------


@on_uvloop
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_connection_that_was_not_redirected_is_refused(host: str) -> None:
    async with net() as parts:
        maker = _Maker(parts.inbound)
        counters, own = parts.counters.inbound, OwnConnections()
        redirection = Redirection(Destinations(maker), counters, own)
        listener = Listener(redirection, bind(host, 0), parts.descriptors)
        await listener.start()
        async with client(listener.sockets[0].getsockname()[:2]) as peer:
            await peer.until(lambda: peer.lost)
            assert isinstance(peer.error, ConnectionResetError)
        assert counters.failures == {"not-redirected": 1}
        assert counters.connections_accepted == 0
        assert maker.made == []
        assert repr(own) == "<OwnConnections made=0 arrived=0>"
        assert repr(redirection) == "<Redirection <Destinations 0>>"
        listener.stop_accepting()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("hosts", [LOOPBACK, ANYWHERE])
def test_both_families_are_bound_one_by_one(hosts: tuple[str, str]) -> None:
    port = _free_port()
    sockets = bind_redirected(hosts, port)
    try:
        assert [found.getsockname()[:2] for found in sockets] == [(host, port) for host in hosts]
    finally:
        for found in sockets:
            found.close()


def test_a_port_that_only_one_family_can_have_is_nobodys() -> None:
    port = _free_port()
    (taken,) = bind("::1", port)
    with taken:
        with pytest.raises(
            ConfigurationError, match=rf"cannot listen on \[::1\]:{port}: port {port} is in use by another process"
        ):
            bind_redirected(LOOPBACK, port)
        (free,) = bind("127.0.0.1", port)
        free.close()


@pytest.mark.parametrize("where", ["socket", "bind"])
def test_without_ipv6_there_is_ipv4(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    real = socket.socket

    class Disabled(real):  # type: ignore[misc, valid-type]
        def __init__(self, family: int = socket.AF_INET, *arguments: int, **named: object) -> None:
            if where == "socket" and family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *arguments, **named)

        def bind(self, address: tuple[str, int], /) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Disabled)
    (only,) = bind_redirected(LOOPBACK, _free_port())
    with only:
        assert only.family == socket.AF_INET

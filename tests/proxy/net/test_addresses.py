"""Our own addresses: in every spelling, because dialling one of them is calling ourselves."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from proxy.net.addresses import OwnAddresses, OwnConnections


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listen(sockets: ExitStack, host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if family == socket.AF_INET6 and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        return sockets.enter_context(socket.create_server((host, 0), family=family))
    except OSError as error:
        pytest.skip(f"cannot listen on {host}: {error}")


def port_of(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("host", "ours", "others"),
    [
        ("127.0.0.1", ["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::"], ["127.0.0.2", "::1", "10.0.0.7"]),
        ("127.0.0.2", ["127.0.0.2", "0.0.0.0"], ["127.0.0.1"]),
        ("::1", ["::1", "0:0:0:0:0:0:0:1", "::1%lo", "::"], ["127.0.0.1", "::2"]),
        ("0.0.0.0", ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::ffff:127.0.0.1"], ["192.0.2.1", "2001:db8::1"]),
        ("::", ["::1", "127.0.0.1", "::", "0.0.0.0"], ["192.0.2.1", "2001:db8::1"]),
    ],
)
def test_who_we_are(sockets: ExitStack, host: str, ours: list[str], others: list[str]) -> None:
    """A listener on all addresses is met at each of this machine's, and at no other."""
    listening = listen(sockets, host)
    own = OwnAddresses()
    own.add([listening])
    port = port_of(listening)
    for address in ours:
        assert (address, port) in own, address
        assert (address, port, 0, 0) in own, "as IPv6 addresses come from the look-up"
        assert (address, port - 1) not in own
    for address in others:
        assert (address, port) not in own, address


def test_what_is_no_address_is_not_ours(sockets: ExitStack) -> None:
    own = OwnAddresses()
    own.add([listen(sockets, "0.0.0.0")])
    assert ("users.shop", 80) not in own
    assert "127.0.0.1" not in own
    assert None not in own


def test_sockets_without_a_port_are_nobodys_address(sockets: ExitStack) -> None:
    here, there = socket.socketpair()
    own = OwnAddresses()
    own.add([sockets.enter_context(here), sockets.enter_context(there)])
    assert ("127.0.0.1", 0) not in own


def test_several_listeners(sockets: ExitStack) -> None:
    listening = [listen(sockets, "127.0.0.1") for _ in range(3)]
    own = OwnAddresses()
    own.add(listening[:2])
    own.add(listening[2:])
    assert all(("127.0.0.1", port_of(each)) in own for each in listening)


CALL = ("10.0.0.1", 40_000, "10.0.0.9", 80)
OTHER = ("10.0.0.1", 40_001, "10.0.0.9", 80)


def test_a_connection_that_we_made_and_that_was_redirected_to_us_is_our_own() -> None:
    """Whichever of its ends is told of second finds the first."""
    connections = OwnConnections()
    assert connections.made(CALL)
    assert not connections.arrived(CALL)
    connections = OwnConnections()
    assert connections.arrived(CALL)
    assert not connections.made(CALL)
    assert connections.made(OTHER)
    assert repr(connections) == "<OwnConnections made=2 arrived=1>"


def test_ports_are_used_again() -> None:
    connections = OwnConnections()
    assert connections.made(CALL)
    connections.unmade(CALL)
    assert connections.arrived(CALL)
    connections.left(CALL)
    assert connections.made(CALL)
    connections.unmade(CALL)
    connections.unmade(CALL)
    connections.left(CALL)
    assert repr(connections) == "<OwnConnections made=0 arrived=0>"

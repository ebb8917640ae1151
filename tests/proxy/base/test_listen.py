"""Addresses to listen on, and their sockets."""

from __future__ import annotations

import socket

import pytest

from proxy.base.listen import Listen, bind, parse_listen


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is not HOST:PORT"),
        ("7070", "'7070' is not HOST:PORT"),
        (":7070", "':7070' has no host: write 0.0.0.0:7070 for all addresses, 127.0.0.1:7070 for loopback"),
        ("a:65536", "'a:65536' is not HOST:PORT"),
        ("a:-1", "'a:-1' is not HOST:PORT"),
        ("a:8_0", "'a:8_0' is not HOST:PORT"),
        ("::1:80", "'::1:80': write an IPv6 address in brackets, [::1]:80"),
    ],
)
def test_what_is_no_address(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"is|has|write") as raised:
        parse_listen(text)
    assert str(raised.value) == why


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_they_listen_at_once_all_with_one_port(host: str) -> None:
    """Two that are bound and do not listen yet share a port, and the second finds out too late."""
    sockets = bind(Listen(host, 0), 16)
    try:
        (port,) = {bound.getsockname()[1] for bound in sockets}
        socket.create_connection((host, port), 5).close()
        with pytest.raises(OSError, match="in use"):
            bind(Listen(host, port), 16)
    finally:
        for bound in sockets:
            bound.close()


def test_what_cannot_be_bound_leaves_nothing_open() -> None:
    with pytest.raises(OSError, match=r"assign requested address"):
        bind(Listen("192.0.2.1", 0), 16)
    with pytest.raises(OSError, match=r"[Nn]ame"):
        bind(Listen("no.such.name.invalid", 0), 16)

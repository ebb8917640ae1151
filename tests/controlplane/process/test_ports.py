from __future__ import annotations

import socket
from pathlib import Path

import pytest

from controlplane.process import ports
from controlplane.process.ports import PortPool, why_busy


def listener(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, 0))
    sock.listen()
    return sock


def test_a_port_is_handed_out_once_until_it_is_given_back() -> None:
    pool = PortPool(41_000, 41_000)  # no range of its own: the kernel chooses
    first = pool.take()
    assert pool.take(first) != first
    pool.give_back([first])
    assert pool.take(first) == first


def test_ports_lie_below_the_ephemeral_range() -> None:
    pool = PortPool()
    end = ports._ephemeral_start()
    assert all(ports.FIRST <= pool.take() < end for _ in range(50))


def test_ports_are_distinct() -> None:
    pool = PortPool()
    assert len({pool.take() for _ in range(200)}) == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_port_that_somebody_listens_on_is_not_free(host: str) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("no IPv6")
    with listener(host) as busy:
        port = busy.getsockname()[1]
        assert PortPool().take(port) != port


def test_a_named_port_is_never_handed_out() -> None:
    pool = PortPool(20_000, 20_001)
    free = PortPool().take()
    pool.keep(free)
    assert pool.take(free) != free


def test_a_full_range_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "why_busy", lambda port, hosts: "is in use")
    with pytest.raises(OSError, match=r"no free port between 20000 and 30000"):
        PortPool(20_000, 30_000).take()


def test_why_a_port_is_busy() -> None:
    with listener() as busy:
        port = busy.getsockname()[1]
        assert why_busy(port) == "is in use"
        assert why_busy(port, ["127.0.0.2"]) == ""
    assert why_busy(port) == ""


def test_connections_in_time_wait_do_not_make_a_port_busy() -> None:
    with listener() as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # the side that closes first keeps the port in TIME_WAIT
            assert client.recv(1) == b""
    assert why_busy(port) == ""


def test_an_unusable_address_says_why() -> None:
    assert why_busy(20_000, ["192.0.2.1"]).startswith("cannot be used: ")


def test_a_missing_kernel_setting_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_EPHEMERAL", Path("/nowhere"))
    assert ports._ephemeral_start() == 32_768

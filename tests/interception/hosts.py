"""Real hosts of a test: network namespaces, joined by pairs of virtual Ethernet devices.

A socket belongs to the namespace that it was made in, whoever uses it later. So one process can play the programs of
several hosts: it enters a host for as long as it takes to make a socket.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.tools import find, require

CLONE_NEWNET = 0x40000000
CONNECT_SECONDS = 10.0

_libc = ctypes.CDLL(None, use_errno=True)

_PROBE = """
table inet probe {
\tchain output {
\t\ttype nat hook output priority -100; policy accept;
\t\tfib daddr type local return
\t\ttcp dport 9 counter redirect to :10
\t}
}
"""


def _ip(*arguments: str) -> None:
    done = subprocess.run([find("ip") or "ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


class Host:
    """A network namespace of its own, with loopback."""

    def __init__(self, role: str) -> None:
        self.name = f"skycap-{os.getpid()}-{secrets.token_hex(3)}-{role}"
        _ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    def ip(self, *arguments: str) -> None:
        _ip("-n", self.name, *arguments)

    def end(self) -> None:
        _ip("netns", "del", self.name)

    def command(self, *command: str) -> list[str]:
        """What runs a command on this host."""
        return [find("ip") or "ip", "netns", "exec", self.name, *command]

    def run(self, *command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*command), capture_output=True, text=True, check=False, timeout=60,
            env=None if env is None else {**os.environ, **env},
        )  # fmt: skip

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """What this thread makes meanwhile belongs to this host."""
        with Path("/proc/thread-self/ns/net").open() as home, Path(f"/run/netns/{self.name}").open() as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def listen(self, host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with self.inside():
            listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        listening.listen(64)
        return listening

    def connect(self, host: str, port: int, seconds: float = CONNECT_SECONDS) -> socket.socket:
        with self.inside():
            connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        connection.settimeout(seconds)
        try:
            connection.connect((host, port))
        except BaseException:
            connection.close()
            raise
        return connection


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def join(one: Host, one_addresses: Sequence[str], other: Host, other_addresses: Sequence[str]) -> None:
    """A cable between two hosts. Addresses with their prefix length."""
    here, there = f"v{secrets.token_hex(4)}", f"v{secrets.token_hex(4)}"
    one.ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", other.name)
    for host, device, addresses in ((one, here, one_addresses), (other, there, other_addresses)):
        for address in addresses:
            # Without duplicate address detection, which takes a second.
            host.ip("addr", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
        host.ip("link", "set", device, "up")


def require_hosts() -> None:
    """Skip the calling test where hosts cannot be made, or their connections not redirected."""
    require("ip", "nft", "setpriv")
    if os.geteuid() != 0:
        pytest.skip("needs root, to make network namespaces")
    try:
        host = Host("probe")
    except AssertionError as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    try:
        done = subprocess.run(
            host.command("nft", "-f", "-"), input=_PROBE, capture_output=True, text=True, check=False, timeout=30
        )
        if done.returncode != 0:
            pytest.skip(f"this kernel does not redirect: {done.stderr.strip().splitlines()[0]}")
    finally:
        host.end()

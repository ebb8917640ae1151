"""An application with an egress proxy of its own, behind a sidecar that neither knows of.

The proxy is another host, and what the application says to it is redirected on its way there like every other call.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interception.hosts import Host
from tests.interception.street import HOUSE, PAY, PAYMENTS, Reader, Street, Writer, fetch, line
from tests.tools import require

EGRESS = 3128
OUTWARD = 8083
"""Where the application listens whose calls go through the proxy."""

CREDENTIALS = "joe:secret"
SAID = "Basic " + base64.b64encode(CREDENTIALS.encode()).decode()
TRACE = "00-5c1e2f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Egress:
    """A forward proxy that wants credentials. heads: what it was asked, in order."""

    def __init__(self, at: Host) -> None:
        self._at = at
        self.heads: list[bytes] = []

    async def talk(self, reader: Reader, writer: Writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        if f"\r\nproxy-authorization: {SAID}\r\n".lower().encode() not in head.lower():
            writer.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n"
                b"content-length: 2\r\nconnection: close\r\n\r\nno"
            )
            return
        method, target = head.split(b" ", 2)[:2]
        authority = target.removeprefix(b"http://").partition(b"/")[0].decode()
        host, _, port = authority.rpartition(":")
        there, away = await asyncio.open_connection(sock=await dialled(self._at, host.strip("[]"), int(port)))
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            away.write(head.replace(b"http://" + authority.encode(), b"", 1))
        try:
            await asyncio.gather(passed(reader, away), passed(there, writer))
        finally:
            away.close()


async def dialled(at: Host, host: str, port: int) -> socket.socket:
    with at.inside():
        calling = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    calling.setblocking(False)
    await asyncio.get_running_loop().sock_connect(calling, (host, port))
    return calling


async def passed(source: Reader, sink: Writer) -> None:
    """All bytes of one direction, and their end."""
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.write_eof()


class Outward:
    """An application that answers with what payments says, whom it calls through the proxy: in the absolute form, or
    behind CONNECT (path /connect). It forwards the trace and nothing else."""

    def __init__(self, at: Host, version: int) -> None:
        self._at = at
        self._proxy = PAYMENTS[version]
        self._payments = name(PAYMENTS[version], PAY)

    async def talk(self, reader: Reader, writer: Writer) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        trace = next(one for one in head.split("\r\n") if one.startswith("traceparent: "))
        rest = f"host: {self._payments}\r\n{trace}\r\n"
        there, away = await asyncio.open_connection(sock=await dialled(self._at, self._proxy, EGRESS))
        if head.startswith("GET /connect "):
            away.write(f"CONNECT {self._payments} HTTP/1.1\r\nproxy-authorization: {SAID}\r\n{rest}\r\n".encode())
            joined = await there.readuntil(b"\r\n\r\n")
            assert joined.startswith(b"HTTP/1.1 200 "), joined
            away.write(f"GET /charge HTTP/1.1\r\n{rest}\r\n".encode())
        else:
            target = f"http://{self._payments}/charge"
            away.write(f"GET {target} HTTP/1.1\r\nproxy-authorization: {SAID}\r\n{rest}\r\n".encode())
        answered = await there.readuntil(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", answered)
        assert size is not None, answered
        body = await there.readexactly(int(size[1]))
        away.close()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))


def name(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@pytest.fixture
def egress(intercepted: Street, version: int) -> Iterator[Egress]:
    proxy, application = Egress(intercepted.payments), Outward(intercepted.house, version)
    with (
        intercepted.serving(intercepted.payments, PAYMENTS[version], EGRESS, proxy.talk),
        intercepted.serving(intercepted.house, HOUSE[version], OUTWARD, application.talk),
    ):
        yield proxy


def curl(street: Street, version: int, *arguments: str, user: str = CREDENTIALS) -> Any:
    """The status that payments answered with and what it said, asked by a real client in the house."""
    require("curl")
    done = street.house.run(
        "curl", "-sS", "--max-time", "20", "--proxy", f"http://{name(PAYMENTS[version], EGRESS)}", "--proxy-user", user,
        "--write-out", "\n%{http_connect} %{http_code}", *arguments, f"http://{name(PAYMENTS[version], PAY)}/charge",
    )  # fmt: skip
    said, _, statuses = done.stdout.rpartition("\n")
    return done, statuses.split(" "), json.loads(said) if said.startswith("{") else said


def test_connect_becomes_a_tunnel_at_2xx(intercepted: Street, egress: Egress, version: int) -> None:
    before = intercepted.figure("requests_total", direction="outbound", decision="forward", status="2xx")
    _, statuses, said = curl(intercepted, version, "--proxytunnel")
    assert statuses == ["200", "200"]
    assert said["by"] == "payments"
    assert "proxy-authorization" not in said["headers"], "it is for the proxy"
    (head,) = egress.heads
    assert head.startswith(f"CONNECT {name(PAYMENTS[version], PAY)} HTTP/1.1\r\n".encode())
    after = intercepted.figure("requests_total", direction="outbound", decision="forward", status="2xx")
    assert after == before + 1, "it is a request; what is said behind it is none"


def test_a_call_through_the_proxy_gets_its_key(intercepted: Street, egress: Egress, version: int) -> None:
    answer = fetch(
        intercepted.client, HOUSE[version], OUTWARD, baggage="routing-key=agent-7", traceparent=TRACE
    )  # fmt: skip
    assert answer.status == 200
    assert answer.said["headers"]["baggage"] == "routing-key=agent-7"
    assert len(egress.heads) == 1


def test_what_is_said_behind_connect_is_not_read(intercepted: Street, egress: Egress, version: int) -> None:
    """The CONNECT is a call and has the key; nothing of ours is put between the application and its proxy after it."""
    answer = fetch(
        intercepted.client, HOUSE[version], OUTWARD, "/connect", baggage="routing-key=agent-7", traceparent=TRACE
    )  # fmt: skip
    assert answer.status == 200
    assert set(answer.said["headers"]) == {"host", "traceparent"}
    (head,) = egress.heads
    assert b"\r\nbaggage: routing-key=agent-7\r\n" in head


def test_a_proxy_that_refuses_is_heard(intercepted: Street, egress: Egress, version: int) -> None:
    done, statuses, _ = curl(intercepted, version, "--proxytunnel", user="joe:guessed")
    assert statuses[0] == "407"
    assert done.returncode != 0
    assert egress.heads, "it was asked"


def test_what_is_no_http_passes_the_tunnel_unread(intercepted: Street, egress: Egress, version: int) -> None:
    """A server behind the proxy that speaks first."""
    target = name(PAYMENTS[version], 2525)
    with intercepted.house.connect(PAYMENTS[version], EGRESS) as connection:
        connection.sendall(
            f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\nproxy-authorization: {SAID}\r\n\r\n".encode()
        )
        assert line(connection).startswith(b"HTTP/1.1 200 ")
        while line(connection) != b"\r\n":
            pass
        assert line(connection) == b"220 mail.shop ESMTP\r\n"
        connection.sendall(b"quit\r\n")
        assert line(connection) == b"QUIT\r\n"
    assert len(egress.heads) == 1


def test_the_absolute_form_reaches_the_proxy_as_well(intercepted: Street, egress: Egress, version: int) -> None:
    _, statuses, said = curl(intercepted, version)
    assert statuses == ["000", "200"]
    assert said["by"] == "payments"
    (head,) = egress.heads
    assert head.startswith(f"GET http://{name(PAYMENTS[version], PAY)}/charge HTTP/1.1\r\n".encode())

"""Three hosts in a row, and what runs on them.

    client ── 10.71.1.0/24, fd00:71:1::/64 ── house ── 10.71.2.0/24, fd00:71:2::/64 ── payments

The house is where the application `shop/users` lives, with a sidecar beside it that it knows nothing of.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.interception.hosts import Host, join

ROOT = Path(__file__).parents[2]
READY_SECONDS = 20.0

HOUSE = {4: "10.71.1.2", 6: "fd00:71:1::2"}
PAYMENTS = {4: "10.71.2.1", 6: "fd00:71:2::1"}
CLIENT = {4: "10.71.1.1", 6: "fd00:71:1::1"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
ANYWHERE = {4: "0.0.0.0", 6: "::"}

APP = 8080
"""Listens everywhere."""
NEAR = 8081
"""On loopback only."""
OWN = 8082
"""On the address of the house only."""
MAIL = 2525
"""Speaks first."""
EXCLUDED = 7000
PAY = 9090
SHADOW = 9102
ADMIN = 9901
NOBODY = 8099
"""Nothing listens there."""

GREETING = b"220 mail.shop ESMTP\r\n"

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Program = Callable[[Reader, Writer], Awaitable[None]]


class Answer:
    """What a client got. said: the JSON document of the one who answered."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        body = response.read()
        self.said: dict[str, Any] = json.loads(body) if body else {}


def fetch(at: Host, address: str, port: int, path: str = "/", **headers: str) -> Answer:
    """GET from a host."""
    with at.connect(address, port) as connection:
        lines = [f"GET {path} HTTP/1.1", "connection: close"]
        lines += [f"{name}: {value}" for name, value in ({"host": "users"} | headers).items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        response = HTTPResponse(connection)
        response.begin()
        return Answer(response)


class Street:
    """The hosts, and the programs that this process plays on them, in a thread of their own."""

    def __init__(self) -> None:
        self._hosts: list[Host] = []
        try:
            self.client, self.house, self.payments = (self._host(role) for role in ("client", "house", "payments"))
            self._join()
        except BaseException:
            self._end()
            raise
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="street")
        self._servers: list[asyncio.Server] = []

    def _host(self, role: str) -> Host:
        host = Host(role)
        self._hosts.append(host)
        return host

    def _end(self) -> None:
        for host in self._hosts:
            host.end()

    def _join(self) -> None:
        join(
            self.client, [f"{CLIENT[4]}/24", f"{CLIENT[6]}/64"],
            self.house, [f"{HOUSE[4]}/24", f"{HOUSE[6]}/64"],
        )  # fmt: skip
        join(
            self.house, ["10.71.2.2/24", "fd00:71:2::2/64"],
            self.payments, [f"{PAYMENTS[4]}/24", f"{PAYMENTS[6]}/64"],
        )  # fmt: skip
        for version in (4, 6):
            self.house.ip("route", "add", "default", "via", PAYMENTS[version])

    def __enter__(self) -> Street:
        self._thread.start()
        for version in (4, 6):
            self._serve(self.house, ANYWHERE[version], APP, self._users)
            self._serve(self.house, LOOPBACK[version], NEAR, self._users)
            self._serve(self.house, HOUSE[version], OWN, self._users)
            self._serve(self.house, ANYWHERE[version], MAIL, mail)
            self._serve(self.house, ANYWHERE[version], EXCLUDED, echo)
            self._serve(self.payments, PAYMENTS[version], PAY, payments)
            self._serve(self.payments, PAYMENTS[version], SHADOW, shadow)
            self._serve(self.payments, PAYMENTS[version], MAIL, mail)
            self._serve(self.payments, PAYMENTS[version], EXCLUDED, echo)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._end()

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _serve(self, host: Host, address: str, port: int, program: Program) -> asyncio.Server:
        async def start() -> asyncio.Server:
            async def talk(reader: Reader, writer: Writer) -> None:
                try:
                    await program(reader, writer)
                except (ConnectionError, asyncio.IncompleteReadError):
                    pass  # the other end has gone
                finally:
                    writer.close()

            server = await asyncio.start_server(talk, sock=host.listen(address, port))
            self._servers.append(server)
            return server

        return asyncio.run_coroutine_threadsafe(start(), self._loop).result(10)

    @contextlib.contextmanager
    def serving(self, host: Host, address: str, port: int, program: Program) -> Iterator[None]:
        """One more program, for as long as it is wanted."""
        server = self._serve(host, address, port, program)
        try:
            yield
        finally:
            self._servers.remove(server)
            self._loop.call_soon_threadsafe(server.close)

    async def _users(self, reader: Reader, writer: Writer) -> None:
        """The application. /call/ADDRESS calls payments there and forwards nothing but `traceparent`."""
        path, headers = await _request(reader)
        document: dict[str, Any] = {"by": "users", "from": writer.get_extra_info("peername")[0], "headers": headers}
        if path.startswith("/call/"):
            with self.house.inside():
                calling = socket.socket(socket.AF_INET6 if path.count(":") else socket.AF_INET)
            calling.setblocking(False)
            await asyncio.get_running_loop().sock_connect(calling, (path.removeprefix("/call/"), PAY))
            upstream, away = await asyncio.open_connection(sock=calling)
            away.write(
                f"GET /charge HTTP/1.1\r\nhost: payments\r\ntraceparent: {headers['traceparent']}\r\n\r\n".encode()
            )
            document["payments"] = await _answer(upstream)
            away.close()
        await _reply(writer, document)

    # -- what a person does -------------------------------------------------------------------------------------------

    def skycap(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """`skycap ARGUMENTS` in the house."""
        return self.house.run(str(Path(sys.executable).parent / "skycap"), *arguments, env=variables)

    @contextlib.contextmanager
    def intercepted(self, *flags: str) -> Iterator[None]:
        done = self.skycap("intercept", "install", *flags)
        assert done.returncode == 0, done.stderr
        try:
            yield
        finally:
            done = self.skycap("intercept", "remove")
            assert done.returncode == 0, done.stderr

    @contextlib.contextmanager
    def sidecar(self, *flags: str, user: int = 1337) -> Iterator[subprocess.Popen[bytes]]:
        """A transparent one, beside the application."""
        process = subprocess.Popen(
            self.house.command(*_as_user(user), sys.executable, "-m", "proxy", "--workload", "shop/users",
                               "--transparent", "--admin", f"0.0.0.0:{ADMIN}", "--drain-timeout", "1", *flags),
            cwd=ROOT,
        )  # fmt: skip
        try:
            self._ready(process)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0

    def _ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            with contextlib.suppress(OSError):
                if fetch(self.house, "127.0.0.1", ADMIN, "/ready", host="localhost").status == 200:
                    return
            assert process.poll() is None, f"the sidecar ended with {process.returncode}"
            assert time.monotonic() < deadline, "the sidecar does not get ready"
            time.sleep(0.01)

    def figure(self, name: str, **labels: str) -> float:
        """What the sidecar has counted."""
        with self.house.connect("127.0.0.1", ADMIN) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n")
            text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        samples = [
            sample.value
            for family in text_string_to_metric_families(text.partition("\r\n\r\n")[2])
            for sample in family.samples
            if sample.name == f"skycap_{name}" and sample.labels == labels
        ]
        assert len(samples) == 1, (name, labels, samples)
        return samples[0]

    def rules(self) -> str:
        done = self.house.run("nft", "list", "ruleset")
        assert done.returncode == 0, done.stderr
        return done.stdout


def _as_user(user: int) -> list[str]:
    # The capability is for interpreters that live where only root may look; a deployed one needs none.
    capable = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"] if user else []
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *capable]


# -- programs ---------------------------------------------------------------------------------------------------------


async def payments(reader: Reader, writer: Writer) -> None:
    _, headers = await _request(reader)
    await _reply(writer, {"by": "payments", "headers": headers})


async def shadow(reader: Reader, writer: Writer) -> None:
    _, headers = await _request(reader)
    await _reply(writer, {"by": "shadow", "headers": headers})


async def mail(reader: Reader, writer: Writer) -> None:
    """Speaks first, then says everything back in upper case."""
    writer.write(GREETING)
    while line := await reader.readline():
        writer.write(line.upper())


async def echo(reader: Reader, writer: Writer) -> None:
    """Speaks first: says who calls. Then says everything back."""
    writer.write(writer.get_extra_info("peername")[0].encode() + b"\n")
    while data := await reader.read(65536):
        writer.write(data)


async def _request(reader: Reader) -> tuple[str, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = (line.split(":", 1) for line in head[1:] if line)
    return head[0].split(" ")[1], {name.lower(): value.strip() for name, value in fields}


async def _answer(reader: Reader) -> Any:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    found = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
    assert found is not None, head
    body = await reader.readexactly(int(found[1]))
    return json.loads(body) | {"status": int(head.split(" ")[1])}


async def _reply(writer: Writer, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))
    await writer.drain()


def is_reset(at: Host, address: str, port: int, said: bytes = b"\0") -> bool:
    """The other end accepts and then resets the connection, instead of saying anything."""
    try:
        with at.connect(address, port) as connection:
            connection.sendall(said)
            connection.recv(1)
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


def line(connection: socket.socket) -> bytes:
    """The next line that comes."""
    got = b""
    while not got.endswith(b"\n"):
        more = connection.recv(1)
        if not more:
            break
        got += more
    return got


def descriptors(process: subprocess.Popen[bytes]) -> int:
    """How many files and sockets a process holds."""
    return len(list(Path(f"/proc/{process.pid}/fd").iterdir()))

"""Listening, accepting, and how it ends; and what a client's connection hands to its exchange."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from proxy.base.problems import ConfigurationError
from proxy.contract.routes import Route
from proxy.exchange.side import Side
from proxy.net.descriptors import Descriptors
from proxy.net.listener import FixedEntrance, Listener, bind
from proxy.net.silence import Opening
from proxy.telemetry.counters import Counters
from tests.proxy.net.rig import WORKLOAD, Line, client, eventually, net, on_uvloop, origin

GET = b"GET / HTTP/1.1\r\nhost: users\r\n\r\n"
KEYED = b"GET / HTTP/1.1\r\nhost: users\r\nbaggage: routing-key=agent-42\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CLOSING = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


@asynccontextmanager
async def listener(
    side: Side, host: str = "127.0.0.1", descriptors: Descriptors | None = None, sniff_delay: float = 0.0
) -> AsyncIterator[Listener]:
    listening = Listener(
        FixedEntrance(side, Opening(sniff_delay)), bind(host, 0), descriptors or Descriptors(Counters())
    )
    await listening.start()
    try:
        yield listening
    finally:
        listening.stop_accepting()
        listening.abort()
        await listening.emptied()


def address(listening: Listener) -> tuple[str, int]:
    host, port = listening.sockets[0].getsockname()[:2]
    return host, port


# -- binding ------------------------------------------------------------------------------------------------------


def test_a_busy_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as raised:
            bind("127.0.0.1", port)
    assert raised.value.problems == [f"cannot listen on 127.0.0.1:{port}: port {port} is in use by another process"]


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_that_is_not_ours_is_one_line(host: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        bind(host, 8080)
    (line,) = raised.value.problems
    shown = f"[{host}]" if ":" in host else host
    assert line.startswith(f"cannot listen on {shown}:8080: ")
    assert "\n" not in line


def test_a_port_that_was_just_in_use_can_be_bound_again() -> None:
    """A restart must not wait for the kernel's TIME_WAIT."""
    (first,) = bind("127.0.0.1", 0)
    host, port = first.getsockname()
    first.setblocking(True)
    with socket.create_connection((host, port)):
        connection, _ = first.accept()
        connection.close()  # who closes first waits
    first.close()
    (second,) = bind(host, port)
    second.close()


def test_both_families_are_bound_by_themselves() -> None:
    """`::` does not take IPv4 along, so that 0.0.0.0 can have the same port."""
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    (six,) = bind("::", 0)
    port = six.getsockname()[1]
    try:
        (four,) = bind("0.0.0.0", port)
        four.close()
    finally:
        six.close()


def test_a_name_is_bound_in_all_its_addresses() -> None:
    sockets = bind("localhost", 0)
    names = {each.getsockname()[0] for each in sockets}
    for each in sockets:
        each.close()
    assert names <= {"127.0.0.1", "::1"}
    assert len(names) == len(sockets)


def test_without_file_descriptors_it_is_one_line_too() -> None:
    """In a process of its own, whose limit is reached."""
    program = """
import resource, socket
from proxy.base.problems import ConfigurationError
from proxy.net.descriptors import Descriptors
from proxy.net.listener import bind
socket.getaddrinfo("127.0.0.1", 1)
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
kept = []
try:
    while True:
        kept.append(socket.socket())
except OSError:
    pass
try:
    bind("127.0.0.1", 0)
except ConfigurationError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert run.stderr == ""
    assert run.stdout == "cannot listen on 127.0.0.1:0: too many open files\n"


# -- serving ------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_a_request_and_its_answer() -> None:
    async with net() as parts, origin() as app, listener(parts.inbound(app.endpoint)) as listening:
        async with client(address(listening)) as caller:
            for _ in range(3):
                caller.send(GET)
                line = await app.line()
                await line.receives(GET)
                line.send(OK)
                await caller.receives(OK)
            assert len(app.lines) == 1
            figures = parts.counters.inbound
            assert (figures.connections_accepted, figures.connections_open) == (1, 1)
        await eventually(lambda: figures.connections_open == 0)
        assert listening.connections == set()


@pytest.mark.parametrize(("host", "node"), [("127.0.0.1", b"for=127.0.0.1"), ("::1", b'for="[::1]"')])
def test_the_client_s_address_goes_to_the_application(host: str, node: bytes) -> None:
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")

    @on_uvloop
    async def play() -> None:
        async with (
            net() as parts,
            origin() as app,
            listener(parts.inbound(app.endpoint, forwarded=True), host) as listening,
            client(address(listening)) as caller,
        ):
            caller.send(GET)
            line = await app.line()
            await line.receives(GET[:-2] + b"x-forwarded-for: %b\r\nforwarded: %b\r\n\r\n" % (host.encode(), node))

    play()


@on_uvloop
async def test_keys_lead_elsewhere() -> None:
    async with (
        origin() as app,
        origin() as shadow,
        net([Route(WORKLOAD, "agent-42", (shadow.endpoint,))]) as parts,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as caller,
    ):
        caller.send(KEYED)
        line = await shadow.line()
        await line.until(lambda: b"\r\n\r\n" in line.got)
        line.send(OK)
        await caller.until(lambda: caller.got.endswith(b"ok"))
        assert b"skycap-served-by: shop/users;sandbox=agent-42;rev=1\r\n" in caller.got
        assert app.lines == []


@on_uvloop
async def test_a_dead_application_is_told_as_such() -> None:
    async with net() as parts, origin() as app:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            dead = type(app.endpoint)(*taken.getsockname())
            async with listener(parts.inbound(dead)) as listening, client(address(listening)) as caller:
                caller.send(GET)
                await caller.until(lambda: b"connection refused" in caller.got)
                assert caller.got.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")


@on_uvloop
async def test_a_client_that_has_said_all_still_gets_its_answer() -> None:
    async with (
        net() as parts,
        origin() as app,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as caller,
    ):
        caller.send(GET)
        caller.wire.write_eof()
        line = await app.line()
        await line.receives(GET)
        line.send(OK)
        await caller.is_told()
        assert caller.got == OK


@on_uvloop
async def test_a_client_that_goes_takes_its_upstream_along() -> None:
    async with net() as parts, origin() as app, listener(parts.inbound(app.endpoint)) as listening:
        async with client(address(listening)) as caller:
            caller.send(GET)
            line = await app.line()
            await line.receives(GET)
            caller.reset()
            await line.is_told()
        await eventually(lambda: parts.pools(app.endpoint).unused)


@on_uvloop
async def test_an_answer_cut_short_ends_with_a_reset() -> None:
    """Behind an answer without a length, an end would look like its regular one."""
    async with (
        net() as parts,
        origin() as app,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as caller,
    ):
        caller.send(GET)
        line = await app.line()
        line.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await caller.until(lambda: caller.got.endswith(b"half"))
        line.reset()
        await caller.until(lambda: caller.lost)
        assert isinstance(caller.error, ConnectionResetError)


@on_uvloop
async def test_whoever_is_slow_slows_the_other_end() -> None:
    """Sixteen MiB each way, while memory holds a fraction of them."""
    size = 16 << 20
    async with (
        net() as parts,
        origin() as app,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as caller,
    ):
        caller.send(b"POST / HTTP/1.1\r\nhost: users\r\ncontent-length: %d\r\n\r\n" % size)
        line = await app.line()
        await line.until(lambda: b"\r\n\r\n" in line.got)
        line.got = b""
        line.wire.pause_reading()
        caller.send(b"x" * size)
        await eventually(lambda: parts.counters.inbound.paused_downstream)
        assert caller.wire.get_write_buffer_size() > size // 4
        line.wire.resume_reading()
        await line.until(lambda: len(line.got) == size)
        caller.wire.pause_reading()
        line.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"y" * size)
        await eventually(lambda: parts.counters.inbound.paused_upstream)
        assert line.wire.get_write_buffer_size() > size // 4
        caller.wire.resume_reading()
        await caller.until(lambda: caller.got.endswith(b"y") and len(caller.got) > size)


@on_uvloop
async def test_a_server_that_speaks_first_is_heard_through_connect() -> None:
    async with net() as parts, origin(b"220 hello\r\n") as mail, listener(parts.outbound(None)) as listening:
        for _ in range(10):
            async with client(address(listening)) as caller:
                caller.send(f"CONNECT {mail.endpoint} HTTP/1.1\r\nhost: {mail.endpoint}\r\n\r\n".encode())
                await caller.receives(b"HTTP/1.1 200 OK\r\n\r\n220 hello\r\n")
                caller.send(b"QUIT\r\n")
                line = await mail.line()
                await line.receives(b"QUIT\r\n")


TRACE = b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"


@on_uvloop
@pytest.mark.parametrize("together", [False, True], ids=["after the 200", "with CONNECT"])
async def test_http_inside_of_connect_gets_its_key(together: bool) -> None:
    """What undici, `curl -p` and WebSocket clients do with HTTP_PROXY."""
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(net())
        app, shop = [await stack.enter_async_context(origin()) for _ in range(2)]
        entry = await stack.enter_async_context(listener(parts.inbound(app.endpoint)))
        proxy = await stack.enter_async_context(listener(parts.outbound(None)))
        who, caller = [await stack.enter_async_context(client(address(one))) for one in (entry, proxy)]
        who.send(b"GET / HTTP/1.1\r\nhost: x\r\nbaggage: routing-key=agent-42\r\n" + TRACE + b"\r\n")
        await app.line()
        connect = f"CONNECT {shop.endpoint} HTTP/1.1\r\nhost: {shop.endpoint}\r\n\r\n".encode()
        call = b"GET /x HTTP/1.1\r\nhost: shop\r\n" + TRACE + b"\r\n"
        caller.send(connect + call if together else connect)
        await caller.until(lambda: caller.got == b"HTTP/1.1 200 OK\r\n\r\n")
        caller.send(b"" if together else call)
        line = await shop.line()
        for _ in range(3):
            await line.until(lambda: line.got.endswith(b"\r\n\r\n"))
            assert b"baggage: routing-key=agent-42\r\n" in line.got
            line.got = caller.got = b""
            line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await caller.until(lambda: caller.got.endswith(b"ok"))
            caller.send(call)
        assert len(shop.lines) == 1, "the connection that was made is the one that is used"
        assert parts.counters.outbound.requests["forward"][2] == 4


@on_uvloop
@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (b"\x16\x03\x01\x02\x00", "tls"),
        (b"*1\r\n$4\r\nPING\r\n", "other"),
    ],
)
async def test_what_is_no_http_inside_of_connect_is_not_read(first: bytes, kind: str) -> None:
    async with net() as parts, origin() as shop, listener(parts.outbound(None)) as listening:
        async with client(address(listening)) as caller:
            caller.send(f"CONNECT {shop.endpoint} HTTP/1.1\r\nhost: {shop.endpoint}\r\n\r\n".encode())
            await caller.receives(b"HTTP/1.1 200 OK\r\n\r\n")
            for byte in first:
                caller.send(bytes([byte]))
            line = await shop.line()
            await line.until(lambda: line.got == first)
            caller.got = b""
            line.send(b"welcome")
            await caller.receives(b"welcome")
        await line.is_told()
        assert parts.counters.outbound.opaque[kind] == 1
        assert len(shop.lines) == 1


@on_uvloop
async def test_a_tunnel_whose_client_goes_without_a_word() -> None:
    async with net() as parts, origin() as shop, listener(parts.outbound(None)) as listening:
        async with client(address(listening)) as caller:
            caller.send(f"CONNECT {shop.endpoint} HTTP/1.1\r\nhost: {shop.endpoint}\r\n\r\n".encode())
            await caller.receives(b"HTTP/1.1 200 OK\r\n\r\n")
            line = await shop.line()
        await line.is_told()
        await eventually(lambda: not listening.connections)


@on_uvloop
async def test_a_call_of_ourselves_is_a_loop() -> None:
    async with net() as parts, listener(parts.outbound(None)) as listening:
        parts.own.add(listening.sockets)
        host, port = address(listening)
        async with client((host, port)) as caller:
            caller.send(f"GET http://{host}:{port}/ HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            await caller.until(lambda: b"own listeners" in caller.got)
            assert caller.got.startswith(b"HTTP/1.1 508 Loop Detected\r\n")
        assert parts.counters.outbound.connections_accepted == 1


@on_uvloop
async def test_what_people_are_shown_of_a_connection() -> None:
    async with origin() as app, origin() as shadow, net([Route(WORKLOAD, "agent-42", (shadow.endpoint,))]) as parts:
        async with listener(parts.inbound(app.endpoint)) as listening, client(address(listening)) as caller:
            await eventually(lambda: listening.connections)
            (connection,) = listening.connections
            host, port = caller.wire.get_extra_info("sockname")
            shown = connection.describe()
            assert shown["client"] == f"{host}:{port}"
            assert (shown["phase"], shown["action"], shown["sandbox"]) == ("idle", "", "")
            caller.send(KEYED.replace(b"GET", b"DELETE"))
            await shadow.line()
            await eventually(lambda: connection.describe()["phase"] == "waiting")
            shown = connection.describe()
            assert (shown["method"], shown["action"], shown["sandbox"]) == ("DELETE", "shadow", "agent-42")
        await eventually(lambda: not listening.connections)
        assert connection.describe()["phase"] == "closed"


# -- ending -------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_a_drain_lets_finish_what_is_in_flight() -> None:
    async with (
        net() as parts,
        origin() as app,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as busy,
        client(address(listening)) as idle,
    ):
        busy.send(GET)
        line = await app.line()
        await line.receives(GET)
        await eventually(lambda: len(listening.connections) == 2)
        host, port = address(listening)
        listening.stop_accepting()
        assert isinstance(listening.entrance, FixedEntrance)
        assert listening.entrance.side.draining
        with pytest.raises(ConnectionRefusedError):
            await asyncio.get_running_loop().create_connection(Line, host, port)
        emptied = asyncio.ensure_future(listening.emptied())  # noqa: TID251 (the test owns it)
        listening.drain(last_call=True)
        await idle.is_told()
        assert idle.got == b""
        await eventually(lambda: len(listening.connections) == 1)
        assert not emptied.done()
        line.send(OK)
        await busy.receives(CLOSING)
        await busy.is_told()
        busy.wire.close()
        await asyncio.wait_for(emptied, 20)


@on_uvloop
async def test_what_does_not_end_is_cut() -> None:
    async with (
        net() as parts,
        origin() as app,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as one,
        client(address(listening)) as other,
    ):
        one.send(GET)
        line = await app.line()
        await line.receives(GET)
        await eventually(lambda: len(listening.connections) == 2)
        assert listening.abort() == 2
        await one.is_told()
        await other.is_told()
        await line.is_told()
        await listening.emptied()
        assert listening.abort() == 0


@on_uvloop
async def test_without_connections_there_is_nothing_to_wait_for() -> None:
    async with net() as parts, origin() as app, listener(parts.inbound(app.endpoint)) as listening:
        await listening.emptied()


@on_uvloop
async def test_a_thousand_connections_come_and_go(capfd: pytest.CaptureFixture[str]) -> None:
    """Each is counted once, and nothing is left of any."""
    async with net() as parts, origin() as app, listener(parts.inbound(app.endpoint)) as listening:
        figures = parts.counters.inbound
        for number in range(10):
            async with AsyncExitStack() as stack:
                callers = [await stack.enter_async_context(client(address(listening))) for _ in range(100)]
                for caller in callers:
                    caller.send(GET)
                await eventually(lambda: len(listening.connections) == 100)
                if number % 2:
                    await eventually(lambda: len(parts.pools(app.endpoint).open) == 100)
                for caller in callers:
                    caller.reset()
            await eventually(lambda: not listening.connections)
            await eventually(lambda: parts.pools(app.endpoint).unused)
        assert (figures.connections_accepted, figures.connections_open) == (1000, 0)
    assert capfd.readouterr() == ("", "")

"""Connections to applications and the pools that keep them, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from ipaddress import ip_address
from typing import cast

import pytest

from proxy.contract.addresses import why_no_shadow
from proxy.contract.routes import Endpoint
from proxy.exchange.settings import TICK_SECONDS, ExchangeSettings
from proxy.net import upstream as module
from proxy.net.idle import IDLE_TICKS
from proxy.net.pools import MAX_POOLS, Pools
from proxy.net.resolve import UnresolvedError
from proxy.net.tuning import HIGH_WATER
from proxy.net.upstream import RESTING_TICKS, ConnectionPool, UpstreamConnection
from tests.proxy.net.rig import Borrower, Line, Net, eventually, net, on_uvloop, origin


def figures(parts: Net) -> tuple[int, int, int]:
    counters = parts.counters.inbound
    return counters.upstream_dials, counters.upstream_dial_failures, counters.upstream_discarded


async def drops_all(pool: ConnectionPool) -> None:
    await eventually(lambda: pool.unused)


def silent_port() -> socket.socket:
    """An address where nobody listens, kept for as long as the socket is."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken


# -- dialling -----------------------------------------------------------------------------------------------------


@on_uvloop
async def test_a_dial_makes_a_connection() -> None:
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        borrower = Borrower()
        pool.dial(borrower)
        assert borrower.events == [], "never from within the call"
        assert repr(pool) == f"<ConnectionPool {app.endpoint} open=0 idle=0 dialling=1>"
        assert not pool.unused
        await borrower.happens("connected")
        assert repr(pool) == f"<ConnectionPool {app.endpoint} open=1 idle=0 dialling=0>"
        assert borrower.upstream is not None
        assert repr(borrower.upstream) == f"<UpstreamConnection {app.endpoint} lent>"
        assert not borrower.upstream.reused
        borrower.upstream.stream.write(b"hello")
        line = await app.line()
        await line.receives(b"hello")
        line.send(b"you")
        await borrower.hears(b"you")
        assert figures(parts) == (1, 0, 0)


@on_uvloop
async def test_a_dial_that_nobody_answers() -> None:
    async with net() as parts:
        with silent_port() as taken:
            pool = parts.pools(Endpoint(*taken.getsockname()))
            borrower = Borrower()
            pool.dial(borrower)
            await eventually(lambda: borrower.events)
            assert borrower.events == ["failed: connection refused"]
            assert pool.unused


@on_uvloop
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_application_on_localhost_may_be_on_either_loopback(host: str) -> None:
    async with net() as parts, origin(host=host) as app:
        borrower = Borrower()
        parts.pools(Endpoint("localhost", app.endpoint.port)).dial(borrower)
        await borrower.happens("connected")
        line = await app.line()
        assert borrower.upstream is not None
        borrower.upstream.stream.write(b"hello")
        await line.receives(b"hello")


@on_uvloop
async def test_where_nobody_listens_on_localhost_that_is_what_is_said() -> None:
    async with net() as parts:
        with silent_port() as taken:
            borrower = Borrower()
            parts.pools(Endpoint("localhost", taken.getsockname()[1])).dial(borrower)
            await eventually(lambda: borrower.events)
            assert borrower.events == ["failed: connection refused"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            UnresolvedError("the name cannot be resolved: no name server answers"),
            "the name cannot be resolved: no name server answers",
        ),
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "connection refused"),
        (OSError(113, "No route to host"), "no route to host"),
        (OSError("Multiple exceptions: ..."), "multiple exceptions: ..."),
        (OSError(), "oserror"),
    ],
)
def test_reasons_are_phrases(error: OSError, reason: str) -> None:
    assert module._reason(error) == reason


@on_uvloop
async def test_a_dial_of_ourselves_is_refused_before_it_is_made() -> None:
    async with net() as parts, origin() as app:
        with socket.create_server((app.endpoint.host, 0)) as listening:
            parts.own.add([listening])
            borrower = Borrower()
            pool = parts.pools(Endpoint(*listening.getsockname()[:2]))
            pool.dial(borrower)
            await eventually(lambda: borrower.events)
            assert borrower.events == ["refused"]
            assert pool.unused
            listening.setblocking(False)
            with pytest.raises(BlockingIOError):
                listening.accept()


@on_uvloop
async def test_names_are_looked_up() -> None:
    async with net() as parts, origin(host="localhost") as app:
        borrower = await parts.borrow(parts.pools(app.endpoint))
        assert borrower.upstream is not None
        parts.own.add([])
        with socket.create_server(("127.0.0.1", 0)) as listening:
            parts.own.add([listening])
            other = Borrower()
            parts.pools(Endpoint("localhost", listening.getsockname()[1])).dial(other)
            await eventually(lambda: other.events)
            assert other.events == ["refused"], "a name may hide that it is ourselves"


@on_uvloop
async def test_what_was_checked_is_what_is_dialled() -> None:
    """A name is asked for once per dial: a second answer could be another one."""
    async with net() as parts, origin() as app:
        parts.names["users.test"] = ("127.0.0.1",)
        await parts.borrow(parts.pools(Endpoint("users.test", app.endpoint.port)))
        assert parts.asked == ["users.test"]


@on_uvloop
@pytest.mark.parametrize(
    "addresses",
    [
        ("169.254.169.254",),
        ("127.0.0.1", "169.254.169.254"),
        ("fe80::1",),
        ("::ffff:169.254.169.254",),
        ("64:ff9b::a9fe:a9fe",),
        ("2002:a9fe:a9fe::1",),
        ("::a9fe:a9fe",),
        ("0.0.0.0",),
        ("::",),
        ("224.0.0.1",),
    ],
)
async def test_a_name_that_leads_where_no_shadow_may_be(addresses: tuple[str, ...]) -> None:
    async with net() as parts, origin() as app:
        parts.names["users.test"] = addresses
        borrower = Borrower()
        pool = parts.pools(Endpoint("users.test", app.endpoint.port))
        pool.dial(borrower)
        await eventually(lambda: borrower.events)
        (event,) = borrower.events
        assert event == f"failed: {addresses[-1]} {why_no_shadow(ip_address(addresses[-1]))}"
        assert pool.unused
        assert not app.lines


@on_uvloop
async def test_the_installation_may_name_what_routes_may_not() -> None:
    """Whoever starts the sidecar says where the application is."""
    async with net() as parts, origin() as app:
        endpoint = Endpoint("0.0.0.0", app.endpoint.port)
        parts.pools.trust(endpoint)
        await parts.borrow(parts.pools(endpoint))


@on_uvloop
@pytest.mark.parametrize("registry", ["127.0.0.1", "registry.test"])
@pytest.mark.parametrize("shadow", ["127.0.0.1", "127.0.0.2", "users.test", "::ffff:127.0.0.1"])
async def test_the_registry_is_no_shadow(registry: str, shadow: str) -> None:
    """Through it a request could start processes; it may listen on all addresses of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        async with net(registry=Endpoint(registry, port)) as parts:
            parts.names |= {"registry.test": ("127.0.0.1",), "users.test": ("127.0.0.1",)}
            borrower = Borrower()
            parts.pools(Endpoint(shadow, port)).dial(borrower)
            await eventually(lambda: borrower.events)
            (event,) = borrower.events
            assert event.endswith("is the registry's address, where no shadow may be")
            listening.setblocking(False)
            with pytest.raises(BlockingIOError):
                listening.accept()


@on_uvloop
async def test_another_port_or_machine_is_not_the_registry() -> None:
    async with origin() as app:
        for registry in (Endpoint("127.0.0.1", 1), Endpoint("192.0.2.1", app.endpoint.port)):
            async with net(registry=registry) as parts:
                await parts.borrow(parts.pools(app.endpoint))


@on_uvloop
async def test_a_dead_first_address_is_overtaken() -> None:
    """RFC 8305: a listener whose queue is full swallows packets."""
    patient = ExchangeSettings(connect_ticks=10_000)  # the whole time of a dial is more than a test may take
    async with net(settings=patient) as parts, origin(host="127.0.0.1") as app:
        with socket.socket(socket.AF_INET6) as deaf, contextlib.ExitStack() as stack:
            deaf.bind(("::1", app.endpoint.port))
            deaf.listen(0)
            for _ in range(4):  # the queue holds one or two more than it says
                filler = stack.enter_context(socket.socket(socket.AF_INET6))
                filler.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    filler.connect(deaf.getsockname())
            parts.names["users.test"] = ("::1", "127.0.0.1")
            borrower = await parts.borrow(parts.pools(Endpoint("users.test", app.endpoint.port)))
            assert borrower.upstream is not None
            borrower.give_back(parts.pools(Endpoint("users.test", app.endpoint.port)), 0)


@on_uvloop
async def test_connections_to_a_name_that_moved_are_drained() -> None:
    async with net() as parts, origin(host="127.0.0.1") as before:
        with socket.create_server(("127.0.0.2", before.endpoint.port)):
            endpoint = Endpoint("users.test", before.endpoint.port)
            parts.names["users.test"] = ("127.0.0.1",)
            pool = parts.pools(endpoint)
            idle, used = await parts.borrow(pool), await parts.borrow(pool)
            idle.give_back(pool)
            await parts.pools.refresh()
            assert len(pool.idle) == 1, "it is where it was"
            parts.names["users.test"] = ("127.0.0.2",)
            await parts.pools.refresh()
            assert len(pool.idle) == 1, "its TTL is not over"
            parts.pass_ticks(int(61 / TICK_SECONDS))
            await parts.pools.refresh()
            assert (len(pool.idle), used.events) == (0, ["connected"]), "what is in use goes on"
            kept = used.give_back(pool)
            assert kept not in pool.idle
            await eventually(lambda: pool.unused)
            again = await parts.borrow(pool)
            assert again.upstream is not None
            assert cast(UpstreamConnection, again.upstream).to == "127.0.0.2"
            del parts.names["users.test"]
            parts.pass_ticks(int(61 / TICK_SECONDS))
            again.give_back(pool)
            await parts.pools.refresh()
            assert len(pool.idle) == 1, "who cannot be resolved has not moved"


@on_uvloop
async def test_a_dial_that_nobody_waits_for_any_more() -> None:
    """At whichever moment it is forgotten: no connection is left, and nobody is called."""
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        for turns in range(12):
            borrower = Borrower()
            pool.dial(borrower)
            for _ in range(turns):
                await asyncio.sleep(0)
            connected = bool(borrower.events)
            pool.forget(borrower)
            if connected:
                borrower.give_back(pool, 0)
            await eventually(lambda: pool.unused)
            assert borrower.events == (["connected"] if connected else [])
        pool.forget(Borrower())
        for line in app.lines:
            await line.is_told()


@on_uvloop
async def test_who_speaks_first_is_heard() -> None:
    """SMTP, SSH: the greeting comes before the task that dialled runs again."""
    async with net() as parts, origin(b"220 hello\r\n") as mail:
        for _ in range(20):
            borrower = await parts.borrow(parts.pools(mail.endpoint))
            await borrower.hears(b"220 hello\r\n")
            assert borrower.upstream is not None
            borrower.upstream.stream.write(b"EHLO me\r\n")
            line = await mail.line()
            await line.receives(b"EHLO me\r\n")
            line.send(b"250 ok\r\n")
            await borrower.hears(b"250 ok\r\n")


@on_uvloop
async def test_who_says_one_word_and_goes_is_heard() -> None:
    async with net() as parts, origin(b"busy") as app:
        borrower = Borrower()
        borrower.keep_open = True
        pool = parts.pools(app.endpoint)
        pool.dial(borrower)
        line = await app.line()
        line.wire.write_eof()
        await borrower.happens("eof")
        assert borrower.events == ["connected", "eof"]
        assert borrower.got == b"busy"


# -- lent ---------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_how_a_lent_connection_ends() -> None:
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        for ending, events in [
            (Line.reset, ["connected", "reset"]),
            (lambda line: line.wire.close(), ["connected", "eof", "lost"]),
        ]:
            borrower = await parts.borrow(pool)
            ending(await app.line())
            await borrower.happens(events[-1])
            assert borrower.events == events
            assert pool.unused
        borrower = await parts.borrow(pool)
        borrower.keep_open = True
        line = await app.line()
        line.wire.write_eof()
        await borrower.happens("eof")
        assert borrower.upstream is not None
        borrower.upstream.stream.write(b"still open")
        await line.receives(b"still open")
        assert figures(parts)[2] == 0


@on_uvloop
async def test_who_takes_no_more_says_so_and_says_when_he_does() -> None:
    async with net() as parts, origin() as app:
        borrower = await parts.borrow(parts.pools(app.endpoint))
        line = await app.line()
        line.wire.pause_reading()
        assert borrower.upstream is not None
        sent = 0
        while "full" not in borrower.events:
            borrower.upstream.stream.write(b"x" * HIGH_WATER)
            sent += HIGH_WATER
            await asyncio.sleep(0)
            assert sent < 1 << 28
        line.wire.resume_reading()
        await borrower.happens("drained")
        await line.until(lambda: len(line.got) == sent)
        assert borrower.events == ["connected", "full", "drained"]


# -- idle ---------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_the_one_used_last_is_lent_first() -> None:
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        borrowers = [await parts.borrow(pool) for _ in range(3)]
        given = [borrower.give_back(pool) for borrower in borrowers]
        assert [pool.idle.pop() for _ in given] == given[::-1]
        assert all(upstream.reused for upstream in given)


@on_uvloop
async def test_an_idle_connection_that_ends_is_dropped() -> None:
    async with net() as parts, origin() as app:
        for ending in (Line.reset, lambda line: line.wire.close(), lambda line: line.wire.write_eof()):
            parts.pools.sweep(set())  # what the last one taught
            pool = parts.pools(app.endpoint)
            borrower = await parts.borrow(pool)
            upstream = borrower.give_back(pool)
            assert repr(upstream) == f"<UpstreamConnection {app.endpoint} idle>"
            ending(await app.line())
            await drops_all(pool)
            assert pool.idle == []
            assert borrower.events == ["connected"]
        assert figures(parts)[2] == 3
        assert repr(parts.wheel) == "<TimerWheel now=0 items=0>"


# -- what was said before a reset ---------------------------------------------------------------------------------


@on_uvloop
@pytest.mark.parametrize("size", [100, 60_000])
async def test_an_answer_with_a_reset_behind_it_is_read(size: int) -> None:
    """An application that answers an upload early and closes makes its kernel reset the connection. The write that
    fails must not be what the borrower hears first."""
    async with net() as parts:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            borrower = await parts.borrow(parts.pools(Endpoint(*listening.getsockname())))
            app, _ = listening.accept()
            assert borrower.upstream is not None
            app.sendall(b"x" * size)
            app.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            app.close()
            borrower.upstream.stream.write(b"y" * 1_000_000)
            await borrower.happens("reset")
            assert borrower.got == b"x" * size


# -- resting ------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_a_connection_behind_an_answer_without_a_body_rests_before_it_is_lent() -> None:
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        upstream = (await parts.borrow(pool)).give_back(pool, rests=True)
        parts.pass_ticks(RESTING_TICKS - 1)
        assert (pool.idle, list(pool.resting)) == ([], [upstream])
        parts.pass_ticks(1)
        assert (pool.idle, list(pool.resting)) == ([upstream], [])
        parts.pass_ticks(IDLE_TICKS - RESTING_TICKS - 1)
        assert pool.idle == [upstream]
        parts.pass_ticks(1)
        assert pool.idle == [], "its age counts from when it was given back"
        await eventually(lambda: pool.unused)


@on_uvloop
async def test_an_application_that_sends_bodies_where_none_may_be_is_not_trusted_again() -> None:
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        (await parts.borrow(pool)).give_back(pool, rests=True)
        (await app.line()).send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nWRONG")
        await eventually(lambda: pool.unused)
        assert not pool.resting
        borrower = await parts.borrow(pool)
        borrower.give_back(pool, rests=True)
        assert not pool.resting
        await eventually(lambda: pool.unused)
        upstream = (await parts.borrow(pool)).give_back(pool)
        assert pool.idle == [upstream], "behind other answers it is as good as ever"


@on_uvloop
async def test_a_resting_connection_that_ends_is_dropped() -> None:
    async with net() as parts, origin() as app:
        for ending in (Line.reset, lambda line: line.wire.close(), lambda line: line.wire.write_eof()):
            parts.pools.sweep(set())
            pool = parts.pools(app.endpoint)
            (await parts.borrow(pool)).give_back(pool, rests=True)
            assert pool.resting
            ending(await app.line())
            await drops_all(pool)
            assert not pool.resting
        assert figures(parts)[2] == 3


@on_uvloop
async def test_what_rests_is_bounded_and_closed_with_the_idle() -> None:
    most = module.MAX_IDLE
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        borrowers = [await parts.borrow(pool) for _ in range(most + 3)]
        for borrower in borrowers[: most + 1]:
            borrower.give_back(pool, rests=True)
        assert len(pool.resting) == most
        for borrower in borrowers[most + 1 :]:
            borrower.give_back(pool)
        parts.pass_ticks(RESTING_TICKS)
        assert (len(pool.idle), len(pool.resting)) == (most, 0), "there was no room among the idle"
        (await parts.borrow(pool)).give_back(pool, rests=True)
        (await parts.borrow(pool)).give_back(pool, 1, rests=True)
        pool.close_idle()
        await eventually(lambda: pool.unused)
        assert (pool.idle, pool.resting) == ([], {})


# -- the age of idle connections ----------------------------------------------------------------------------------


@on_uvloop
async def test_an_age_at_which_a_connection_died_is_not_reached_again() -> None:
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        (await parts.borrow(pool)).give_back(pool)
        parts.pass_ticks(50)
        (await app.line()).wire.close()
        await eventually(lambda: pool.unused)
        upstream = (await parts.borrow(pool)).give_back(pool)
        parts.pass_ticks(44)
        assert pool.idle == [upstream]
        parts.pass_ticks(1)
        assert pool.idle == []


@on_uvloop
async def test_so_is_the_age_of_one_that_proved_dead_when_it_was_lent() -> None:
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        upstream = (await parts.borrow(pool)).give_back(pool)
        parts.pass_ticks(20)
        assert pool.idle.pop() is upstream
        pool.dead(upstream)
        (await parts.borrow(pool)).give_back(pool)
        parts.pass_ticks(18)
        assert pool.idle == []


@on_uvloop
async def test_an_application_that_does_not_accept_is_another_one_afterwards() -> None:
    async with net() as parts:
        with silent_port() as taken:
            endpoint = Endpoint(*taken.getsockname())
            pool = parts.pools(endpoint)
            upstream = UpstreamConnection(pool)
            pool.dead(upstream)
            assert repr(pool.limit) == "<IdleLimit -2>"
            borrower = Borrower()
            pool.dial(borrower)
            await eventually(lambda: borrower.events)
            assert repr(pool.limit) == f"<IdleLimit {IDLE_TICKS}>"


# -- further ends -------------------------------------------------------------------------------------------------


@on_uvloop
async def test_an_idle_connection_is_not_lent_between_its_end_and_its_loss() -> None:
    """The loop tells both, one after the other; a request may come in between."""
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        upstream = (await parts.borrow(pool)).give_back(pool)
        assert isinstance(upstream, UpstreamConnection)
        assert not upstream.eof_received()
        assert pool.idle == []
        await eventually(lambda: pool.unused)
        assert figures(parts)[2] == 1


@on_uvloop
async def test_bytes_that_nobody_asked_for_end_an_idle_connection() -> None:
    """RFC 9112 section 9.2: the next request would take them for its answer."""
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        borrower = await parts.borrow(pool)
        borrower.give_back(pool)
        line = await app.line()
        line.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await eventually(lambda: pool.unused)
        assert (pool.idle, borrower.got) == ([], b"")
        await line.is_told()
        assert figures(parts)[2] == 1


@pytest.mark.parametrize(("announced", "ticks"), [(-1, IDLE_TICKS), (5, 40), (2, 10), (1000, IDLE_TICKS)])
def test_idle_connections_age(announced: int, ticks: int) -> None:
    """Out before the application closes them by its own announcement, at the latest after a minute."""

    @on_uvloop
    async def run() -> None:
        async with net() as parts, origin() as app:
            pool = parts.pools(app.endpoint)
            (await parts.borrow(pool)).give_back(pool, announced)
            parts.pass_ticks(ticks - 1)
            assert len(pool.idle) == 1
            parts.pass_ticks(1)
            assert len(pool.idle) == 0
            line = await app.line()
            await line.is_told()
            await eventually(lambda: pool.unused)
            assert figures(parts)[2] == 1

    run()


@pytest.mark.parametrize("announced", [0, 1])
def test_a_connection_that_will_be_closed_at_once_is_not_kept(announced: int) -> None:
    @on_uvloop
    async def run() -> None:
        async with net() as parts, origin() as app:
            pool = parts.pools(app.endpoint)
            (await parts.borrow(pool)).give_back(pool, announced)
            assert pool.idle == []
            await eventually(lambda: pool.unused)

    run()


@on_uvloop
async def test_a_connection_does_not_age_while_it_is_lent() -> None:
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        borrower = await parts.borrow(pool)
        upstream = borrower.give_back(pool)
        parts.pass_ticks(IDLE_TICKS - 1)
        upstream = pool.idle.pop()
        borrower.connected(upstream)
        parts.pass_ticks(IDLE_TICKS)
        upstream.stream.write(b"alive")
        line = await app.line()
        await line.receives(b"alive")
        borrower.give_back(pool)
        parts.pass_ticks(IDLE_TICKS - 1)
        assert pool.idle == [upstream], "its age counts from now"
        parts.pass_ticks(1)
        assert pool.idle == []


@on_uvloop
async def test_what_is_kept_after_a_burst_is_bounded() -> None:
    most = module.MAX_IDLE
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        borrowers = [await parts.borrow(pool) for _ in range(most + 2)]
        for borrower in borrowers:
            borrower.give_back(pool)
        assert len(pool.idle) == most
        await eventually(lambda: len(pool.open) == most)


# -- pools --------------------------------------------------------------------------------------------------------


@on_uvloop
async def test_one_endpoint_has_one_pool() -> None:
    async with net() as parts:
        one = parts.pools(Endpoint("127.0.0.1", 9))
        assert parts.pools(Endpoint("127.0.0.1", 9)) is one
        other = parts.pools(Endpoint("127.0.0.2", 9))
        assert other is not one
        assert list(parts.pools) == [one, other]
        assert isinstance(parts.pools, Pools)
        assert isinstance(one, ConnectionPool)


@on_uvloop
async def test_a_crowd_of_endpoints_is_swept_before_its_time() -> None:
    """A client of a forward proxy names another one with every request. What is in use stays."""
    async with net() as parts, origin() as app:
        pool = parts.pools(app.endpoint)
        lent = await parts.borrow(pool)
        sweeps: list[int] = []

        def crowded() -> None:
            sweeps.append(len(list(parts.pools)))
            parts.pools.sweep(set())

        parts.pools.crowded = crowded
        for number in range(10 * MAX_POOLS):
            parts.pools(Endpoint(f"host-{number}.example", 80))
            if number % 50 == 0:
                parts.wheel.turn()
        assert max(sweeps) <= MAX_POOLS + 50
        assert len(list(parts.pools)) <= MAX_POOLS + 50
        assert parts.pools(app.endpoint) is pool
        lent.give_back(pool)


@on_uvloop
async def test_a_sweep_lets_go_of_what_no_route_names() -> None:
    """What is in flight finishes."""
    async with net() as parts, origin() as app, origin() as shadow, origin() as busy:
        pools = [parts.pools(each.endpoint) for each in (app, shadow, busy)]
        kept, idle, lent = [await parts.borrow(pool) for pool in pools]
        kept.give_back(pools[0])
        idle.give_back(pools[1])
        parts.pools.sweep({app.endpoint})
        assert [len(pool.idle) for pool in pools] == [1, 0, 0]
        line = await shadow.line()
        await line.is_told()
        await eventually(lambda: pools[1].unused)
        assert lent.upstream is not None
        lent.upstream.stream.write(b"goes on")
        await (await busy.line()).receives(b"goes on")
        parts.pools.sweep({app.endpoint})
        assert list(parts.pools) == [pools[0], pools[2]]
        lent.give_back(pools[2])
        parts.pools.sweep({app.endpoint})
        await eventually(lambda: pools[2].unused)
        parts.pools.sweep({app.endpoint})
        assert list(parts.pools) == [pools[0]]
        assert len(pools[0].idle) == 1

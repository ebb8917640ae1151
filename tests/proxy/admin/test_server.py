"""The admin listener over a real socket."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from proxy.admin.port import Shown
from proxy.admin.server import MOST, AdminServer
from proxy.base import log
from proxy.base.problems import ConfigurationError
from proxy.base.tasks import Tasks
from proxy.contract.routes import Endpoint, Route, decode_route, encode_route
from proxy.feed.holder import FeedState
from proxy.routing.table import RouteTable
from proxy.telemetry.counters import Counters
from proxy.telemetry.exposition import Exposition

ROOT = Path(__file__).parents[3]


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, "skycap", "controlplane", "aiohttp.server")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    raising = logging.raiseExceptions
    yield
    logging.raiseExceptions = raising
    for logger, handlers, level in before:
        logger.handlers[:], logger.level = handlers, level


class Subject:
    """A sidecar whose admin listener is tested."""

    def __init__(self) -> None:
        self.table = RouteTable("shop/users")
        self.feed = FeedState("file routes.yaml", self.table, lambda: 7.0)
        self.open: list[Mapping[str, object]] = []
        self.asked = 0
        self.drains = 0
        self.trouble = ""
        exposition = Exposition(Counters(), self.table, self.feed, list, workload="shop/users", version="1")
        self.shown = Shown(
            table=self.table,
            feed=self.feed,
            metrics=exposition.text,
            connections=self.connections,
            drain=self.drain,
            draining=lambda: self.drains > 0,
            trouble=lambda: self.trouble,
        )
        self.server = AdminServer(Endpoint("127.0.0.1", 0), self.shown)

    def connections(self) -> Iterator[Mapping[str, object]]:
        for item in self.open:
            self.asked += 1
            yield item

    def drain(self) -> None:
        self.drains += 1

    def fill(self, count: int) -> None:
        routes = (Route("shop/users", f"k{n}", (Endpoint("127.0.0.1", n + 1),)) for n in range(count))
        self.table.replace({route.key: route for route in routes})


class Client:
    """Asks one server, and looks at every answer for what all of them must have."""

    def __init__(self, session: ClientSession, server: AdminServer) -> None:
        self.session = session
        self.url = f"http://{server.address}"

    async def ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[ClientResponse, bytes]:
        async with self.session.request(method, self.url + path, headers=headers) as answer:
            body = await answer.read()
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["server"] == "skycap"
            return answer, body

    async def document(self, path: str, method: str = "GET", status: int = 200, **headers: str) -> dict[str, Any]:
        answer, body = await self.ask(method, path, {name.replace("_", "-"): value for name, value in headers.items()})
        assert answer.status == status, body
        document: dict[str, Any] = json.loads(body)
        if status < 400:
            assert answer.content_type == "application/json"
        else:
            assert answer.content_type == "application/problem+json"
            assert document["status"] == status
            assert document["type"] == f"urn:skycap:error:{document['code']}"
            assert document.keys() >= {"title", "detail"}
        return document


@pytest.fixture
async def subject() -> AsyncIterator[Subject]:
    subject = Subject()
    await subject.server.start()
    yield subject
    await subject.server.stop()


@pytest.fixture
async def client(subject: Subject) -> AsyncIterator[Client]:
    async with ClientSession() as session:
        yield Client(session, subject.server)


async def test_live(client: Client) -> None:
    assert await client.document("/live") == {"live": True}


class TestReady:
    async def test_not_before_a_table(self, subject: Subject, client: Client) -> None:
        subject.feed.problem = "registry cannot be reached"
        problem = await client.document("/ready", status=503)
        assert (problem["code"], problem["hint"]) == ("not-ready", "registry cannot be reached")
        subject.table.replace({})
        assert await client.document("/ready") == {"ready": True}

    async def test_when_nobody_waits_any_more(self, subject: Subject, client: Client) -> None:
        subject.feed.give_up()
        assert await client.document("/ready") == {"ready": True}

    async def test_not_while_a_task_of_our_own_fails(self, subject: Subject, client: Client) -> None:
        subject.table.replace({})
        subject.trouble = "route feed: LookupError: nothing there"
        problem = await client.document("/ready", status=503)
        assert (problem["code"], problem["hint"]) == ("not-ready", "route feed: LookupError: nothing there")
        subject.trouble = ""
        assert await client.document("/ready") == {"ready": True}

    async def test_not_while_draining(self, subject: Subject, client: Client) -> None:
        subject.table.replace({})
        subject.drain()
        assert (await client.document("/ready", status=503))["code"] == "draining"
        assert await client.document("/live") == {"live": True}


async def test_metrics_in_the_format_that_is_asked_for(client: Client) -> None:
    answer, body = await client.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"skycap_requests_total" in body
    answer, body = await client.ask("GET", "/metrics", {"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")


class TestRoutes:
    async def test_none_yet(self, client: Client) -> None:
        assert await client.document("/routes") == {
            "workload": "shop/users",
            "synced": False,
            "feed": {
                "source": "file routes.yaml", "connected": False, "ready": False, "givenUp": False, "applied": 0,
                "ageSeconds": None, "refused": 0, "ignored": 0, "failures": 0, "problem": "",
            },
            "total": 0,
            "offset": 0,
            "routes": [],
        }  # fmt: skip

    async def test_page_by_page(self, subject: Subject, client: Client) -> None:
        subject.fill(250)
        subject.feed.confirm()
        found: list[Route] = []
        path = "/routes"
        sizes = []
        while path:
            page = await client.document(path)
            assert (page["total"], page["synced"], page["feed"]["ageSeconds"]) == (250, True, 0.0)
            sizes.append(len(page["routes"]))
            found += map(decode_route, page["routes"])
            path = page.get("next", "")
        assert sizes == [100, 100, 50]
        assert found == subject.table.routes()

    async def test_a_page_of_a_large_table_is_small(self, subject: Subject, client: Client) -> None:
        subject.fill(20_000)
        page = await client.document("/routes?limit=500&offset=19900")
        assert (len(page["routes"]), page["total"], "next" in page) == (100, 20_000, False)
        page = await client.document("/routes?limit=500")
        assert (len(page["routes"]), page["next"]) == (500, "/routes?offset=500&limit=500")
        assert (await client.document("/routes?offset=30000"))["routes"] == []

    async def test_one_key(self, subject: Subject, client: Client) -> None:
        subject.fill(3)
        route = subject.table.lookup("k1")
        assert route is not None
        assert (await client.document("/routes?key=k1"))["routes"] == [encode_route(route)]
        assert (await client.document("/routes?key=unknown"))["routes"] == []

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=", "offset=1000000", "offset=1_0", "offset=٣"]
    )
    async def test_a_bad_query(self, client: Client, query: str) -> None:
        problem = await client.document(f"/routes?{query}", status=400)
        assert (problem["code"], problem["detail"].split()[0]) == ("bad-query", query.partition("=")[0])


class TestConnections:
    async def test_all_of_few(self, subject: Subject, client: Client) -> None:
        subject.open = [{"direction": "inbound", "requests": 7}]
        assert await client.document("/connections") == {"connections": subject.open, "truncated": False}

    async def test_no_more_is_asked_for_than_shown(self, subject: Subject, client: Client) -> None:
        subject.open = [{"id": number} for number in range(10_000)]
        page = await client.document("/connections?limit=20")
        assert (len(page["connections"]), page["truncated"]) == (20, True)
        assert subject.asked == 21


class TestDrain:
    async def test_from_this_machine_with_the_header(self, subject: Subject, client: Client) -> None:
        assert await client.document("/drain", "POST", 202, skycap_drain="yes") == {"draining": True}
        assert subject.drains == 1

    @pytest.mark.parametrize(
        "headers",
        [{}, {"skycap_drain": "yes", "origin": "http://evil.example"}, {"skycap_drain": "1", "host": "e.vil"}],
    )
    async def test_not_from_a_page(self, subject: Subject, client: Client, headers: dict[str, str]) -> None:
        problem = await client.document("/drain", "POST", 421 if "host" in headers else 403, **headers)
        assert problem["hint"]
        assert subject.drains == 0

    async def test_no_preflight_is_answered(self, client: Client) -> None:
        answer, _ = await client.ask("OPTIONS", "/drain", {"origin": "http://evil.example"})
        assert answer.status == 405
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]

    async def test_get_is_not_enough(self, subject: Subject, client: Client) -> None:
        assert (await client.document("/drain", status=405))["detail"] == "this page answers POST"
        assert subject.drains == 0


class TestErrors:
    async def test_an_unknown_page_names_the_known_ones(self, client: Client) -> None:
        problem = await client.document("/metric", status=404)
        assert problem["hint"] == "there are /connections, /drain, /live, /metrics, /ready, /routes"

    async def test_a_name_that_is_not_of_this_machine(self, client: Client) -> None:
        assert (await client.document("/routes", status=421, host="rebound.example"))["code"] == "misdirected"

    async def test_a_bug_is_logged_and_not_shown(
        self, subject: Subject, client: Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        subject.open = [{"unprintable": object()}]
        problem = await client.document("/connections", status=500)
        assert problem["code"] == "internal-error"
        assert "TypeError" not in json.dumps(problem)
        assert "TypeError" in caplog.text

    async def test_bytes_that_are_not_http_do_no_harm(self, subject: Subject, client: Client) -> None:
        with socket.create_connection(("127.0.0.1", subject.server.address.port)) as raw:
            raw.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert await client.document("/live") == {"live": True}


class TestLife:
    async def test_a_busy_port_is_one_line(self, subject: Subject) -> None:
        second = AdminServer(subject.server.address, subject.shown)
        with pytest.raises(ConfigurationError) as caught:
            await second.start()
        assert caught.value.problems == [
            f"admin listener {subject.server.address}: port {subject.server.address.port} is in use by another process"
        ]
        assert repr(second) == f"<AdminServer {subject.server.address} stopped>"

    async def test_an_address_of_another_machine(self, subject: Subject) -> None:
        with pytest.raises(ConfigurationError, match=r"admin listener 192\.0\.2\.1:1: Cannot assign requested address"):
            await AdminServer(Endpoint("192.0.2.1", 1), subject.shown).start()

    async def test_stops_twice_and_starts_again(self) -> None:
        server = Subject().server
        await server.stop()
        await server.start()
        address = server.address
        assert repr(server) == f"<AdminServer {address}>"
        await server.stop()
        await server.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address.host, address.port)).close()
        await server.start()
        await server.stop()

    async def test_ipv6(self, subject: Subject) -> None:
        server = AdminServer(Endpoint("::1", 0), subject.shown)
        await server.start()
        async with ClientSession() as session:
            assert await Client(session, server).document("/live") == {"live": True}
        await server.stop()

    @pytest.mark.usefixtures("logging_as_before")
    async def test_malformed_requests_are_answered_and_not_logged(
        self, subject: Subject, capsys: pytest.CaptureFixture[str]
    ) -> None:
        log.configure("debug")
        await subject.server.start()
        address = subject.server.address
        for request in (
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\0\0",
            b"GET\r\n\r\n",
            b"GET / HTTP/1.1\r\na b: c\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(request)
            assert (await reader.read()).startswith(b"HTTP/1.")
            writer.close()
        await subject.server.stop()
        assert capsys.readouterr().err == ""

    async def test_requests_that_come_at_once_and_content_that_nobody_reads(self, subject: Subject) -> None:
        address = subject.server.address
        reader, writer = await asyncio.open_connection(address.host, address.port)
        ask = b"GET /live HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"
        for byte in ask + ask:
            writer.write(bytes([byte]))
            await writer.drain()
        writer.write(b"HEAD /live HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET /live HTTP/1.0\r\n\r\n")
        answers = (await reader.read()).split(b"HTTP/1.1 200 OK\r\n")[1:]
        live = b'{"live":true}\n'
        assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [live, live, b"", live]
        assert b"connection: keep-alive\r\n" in answers[2]
        assert b"connection: close\r\n" in answers[3]
        writer.close()

    @pytest.mark.parametrize("framing", [b"content-length: 1025", b"transfer-encoding: chunked"])
    async def test_content_is_not_taken(self, subject: Subject, framing: bytes) -> None:
        address = subject.server.address
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"POST /drain HTTP/1.1\r\nhost: a\r\n" + framing + b"\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
        writer.close()
        assert subject.drains == 0

    async def test_a_query_without_end(self, client: Client) -> None:
        assert (await client.document("/routes?" + "a=1&" * 30, status=400))["code"] == "bad-query"

    async def test_a_client_that_says_nothing_is_not_waited_for(self, subject: Subject) -> None:
        """A probe is answered however many keep their places."""
        await subject.server.start()
        address = subject.server.address
        kept = [await asyncio.open_connection(address.host, address.port) for _ in range(MOST + 20)]
        async with ClientSession() as session:
            assert await Client(session, subject.server).document("/live") == {"live": True}
        gone = [reader for reader, _ in kept if reader.at_eof()]
        assert len(gone) >= 20
        for _, writer in kept:
            writer.close()
        await subject.server.stop()

    def test_nothing_heavy_is_imported_before_it_is_needed(self) -> None:
        modules = ("proxy.admin.server", "proxy.feed.registry", "proxy.feed.file", "proxy.telemetry.exposition",
                   "proxy.telemetry.tracing", "proxy.base.log", "proxy.telemetry.notices")  # fmt: skip
        heavy = ("aiohttp", "prometheus_client", "opentelemetry", "requests", "yaml")
        program = f"import sys, {', '.join(modules)}; print([name for name in {heavy} if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


async def raw(address: Endpoint, asked: bytes, answers: int) -> bytes:
    """What comes back, up to so many answers."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(asked)
    came = b""
    async with asyncio.timeout(10):
        while came.count(b"HTTP/1.1 ") < answers:
            came += await reader.read(65536)
    writer.close()
    return came


@pytest.mark.parametrize("target", ["//[", "/live[", "/connections?limit=[", "http://127.0.0.1//["])
async def test_a_target_that_is_no_url(subject: Subject, target: str) -> None:
    asked = f"GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
    assert (await raw(subject.server.address, asked, 1))[9:12] in (b"404", b"400")


async def test_an_absolute_target(subject: Subject) -> None:
    asked = b"GET http://127.0.0.1/live?x=1 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    assert (await raw(subject.server.address, asked, 1))[9:12] == b"200"


async def test_one_request_in_a_turn_of_the_loop(subject: Subject) -> None:
    """However many are sent at once: what the sidecar is for goes on between them."""
    turns = 0
    seen: list[int] = []

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def connections() -> Iterator[Mapping[str, object]]:
        seen.append(turns)
        yield from ()

    server = AdminServer(Endpoint("127.0.0.1", 0), replace(subject.shown, connections=connections))
    await server.start()
    tasks = Tasks("turns")
    tasks.spawn(count(), "count")
    try:
        await raw(server.address, b"HEAD /connections HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 50, 50)
    finally:
        await tasks.close()
        await server.stop()
    assert len(seen) == len(set(seen)) == 50

"""Whether an environment is whole: asked of real listeners, one for each way in which an application may not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.asking import doctor
from controlplane.asking.doctor import START_IT, Check, examine
from controlplane.model.sandbox import Sandbox
from controlplane.model.sidecar import Sidecar
from controlplane.model.workload import Readiness, Workload
from tests.acceptance.running import free_port
from tests.controlplane.sandboxes import document

NAME = "shop/users"
TIME = "2030-01-01T00:00:00Z"

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def listener(talk: Talk) -> AsyncIterator[str]:
    """HOST:PORT of somebody who does `talk` with everybody."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


def says(answer: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return talk


async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """At once, as a sidecar does whose application is gone."""


async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 ready\r\n")
    await reader.read()


def workload(address: str, path: str | None = "/health") -> Workload:
    return Workload(workload=NAME, address=address, readiness=Readiness(path=path))


def sidecar(ident: str = "a", *, connected: bool = True, applied: int = 7, name: str = NAME) -> Sidecar:
    return Sidecar.model_validate({
        "id": ident, "workload": name, "connected": connected, "inSync": connected and applied == 7,
        "sentRevision": 7, "appliedRevision": applied, "lastSeen": TIME,
    })  # fmt: skip


async def reached(address: str, path: str | None = "/health") -> Check:
    check, _ = await examine([workload(address, path)], [sidecar()], [])
    return check


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
BROKEN = b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n"
GONE = b"HTTP/1.1 502 Bad Gateway\r\nskycap-error: app-unreachable\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize(("talk", "path", "ok", "found"), [
    (says(OK), "/health", True, "the application behind {} answers"),
    (says(BROKEN), "/health", False, "the application behind {} answers GET /health with 503"),
    (says(GONE), "/", False, "the sidecar at {} answers, and the application behind it does not: app-unreachable"),
    (closes, "/health", False, "{} accepts connections, but GET /health gets no answer"),
    (closes, None, False, "{} accepts connections and closes them: the application behind it does not answer"),
    (greets, None, True, "the application behind {} speaks first"),
])  # fmt: skip
async def test_an_application_that_answers_or_not(talk: Talk, path: str | None, ok: bool, found: str) -> None:
    async with listener(talk) as address:
        check = await reached(address, path)
    assert (check.ok, check.subject, check.found) == (ok, NAME, found.format(address))
    assert bool(check.advice) is not ok


async def test_one_that_waits_for_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SILENT_SECONDS", 0.05)
    async with listener(waits) as address:
        check = await reached(address, None)
    assert check.ok
    assert "without a readiness path nobody can tell whether the application answers" in check.found


@pytest.mark.parametrize("path", ["/health", None])
async def test_an_address_where_nobody_listens(path: str | None) -> None:
    address = f"127.0.0.1:{free_port()}"
    check = await reached(address, path)
    assert (check.ok, check.found) == (False, f"{address} cannot be reached: Connection refused")
    assert "correct the address" in check.advice


async def test_sidecars_that_are_missing_behind_or_in_sync() -> None:
    async with listener(says(OK)) as address:
        known = [workload(address)]
        assert (await examine(known, [], []))[1] == Check(
            False, NAME, "no sidecar is connected, so its routes are in force nowhere", START_IT
        )
        _, behind = await examine(known, [sidecar(), sidecar("b", applied=5)], [])
        assert (behind.ok, behind.found) == (False, "behind the registry: b (5 of 7)")
        _, both = await examine(known, [sidecar(), sidecar("b"), sidecar("c", connected=False)], [])
        assert (both.ok, both.found) == (True, "2 sidecars are in sync")
        *_, stranger = await examine(known, [sidecar(), sidecar("d", name="shop/other")], [])
        assert (stranger.ok, stranger.subject, stranger.found) == (True, "shop/other", "its sidecar is in sync")


async def test_nothing_at_all() -> None:
    (check,) = await examine([], [], [])
    assert (check.ok, check.found, check.advice) == (
        True, "none is registered", "start an environment with `skycap up FILE`",
    )  # fmt: skip
    assert await examine([], [], [], cluster=True) == []


def sandbox(phase: str, message: str = "", **conditions: tuple[str, str]) -> Sandbox:
    whole = document("agent-42")
    told = [
        {"type": kind, "status": status, "reason": "X", "message": said, "lastTransitionTime": TIME}
        for kind, (status, said) in conditions.items()
    ]
    fork = {"workload": NAME, "state": "failed" if message else "ready", "revision": 1, "message": message}
    whole["status"] = {
        "phase": phase, "revision": 1, "created": TIME, "updated": TIME, "expires": TIME, "forks": [fork],
        "conditions": told,
    }  # fmt: skip
    return Sandbox.model_validate(whole)


@pytest.mark.parametrize(("found", "ok", "said"), [
    (sandbox("Ready"), True, "Ready"),
    (sandbox("Sleeping"), True, "Sleeping"),
    (sandbox("Failed", "it ended with exit code 1\nTraceback"), False, f"Failed: {NAME}: it ended with exit code 1"),
    (sandbox("Degraded"), False, "Degraded: an earlier revision goes on serving"),
    (sandbox("Failed"), False, "Failed: its requests are not served"),
    (sandbox("Ready", WorkloadsKnown=("False", "nobody knows it")), False, "Ready, and nobody knows it"),
    (sandbox("Ready", EndpointsReachable=("Unknown", "nobody looks")), True, "Ready; nobody looks"),
])  # fmt: skip
async def test_a_sandbox_that_serves_or_not(found: Sandbox, ok: bool, said: str) -> None:
    check = (await examine([], [], [found], cluster=True))[0]
    assert (check.ok, check.subject, check.found) == (ok, "sandbox agent-42", said)
    assert bool(check.advice) is not ok

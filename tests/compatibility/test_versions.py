"""An old sidecar works with the new registry, and the reverse.

`before.tar.xz` holds both packages as they were before contracts could grow (version 0.1.0; it reads strictly where
today's reads leniently, and knows neither tombstones nor keys). They run here as processes, beside those of today.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.client import Client
from controlplane.model.sandbox import Phase
from proxy.base.access import SIDECAR, USER, local_token, token_folder
from proxy.contract.watch import Event
from tests.acceptance.running import ROOT, naming, serving
from tests.controlplane.running import SAID, environment
from tests.controlplane.sandboxes import fork, sandbox
from tests.faults.subject import WORKLOAD, Subject, running, until
from tests.proxy.feed.documents import delete, ended, keys, put, route, snapshot, synced
from tests.proxy.feed.registry_server import Registry

TODAY = str(ROOT)


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(Path(__file__).with_name("before.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return str(folder)


def program(version: str, module: str) -> tuple[str, ...]:
    return ("env", f"PYTHONPATH={version}", sys.executable, "-P", "-m", module)


@contextlib.asynccontextmanager
async def registry(version: str, home: Path) -> AsyncIterator[Client]:
    """`python -m controlplane` of a version."""
    process = await asyncio.create_subprocess_exec(
        *program(version, "controlplane"), "--listen", "127.0.0.1:0", "--memory", "--state-dir", str(home / "shadows"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=environment(home),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        assert line.startswith(SAID), line
        async with Client(line.removeprefix(SAID).decode().strip(), environ=environment(home)) as client:
            yield client
    finally:
        process.terminate()
        await process.wait()


@contextlib.contextmanager
def sidecar(version: str, app: int, home: Path, url: str) -> Iterator[Subject]:
    token = token_folder("127.0.0.1", int(url.rpartition(":")[2]), environment(home)) / SIDECAR
    named = ("--token-file", str(token)) if token.exists() else ()  # no registry of before has one on loopback
    with running(app, home, "--registry", url, *named, launcher=program(version, "proxy")) as subject:
        yield subject


async def ask(subject: Subject, key: str) -> tuple[int, str, str]:
    """(status, who answered, `skycap-served-by`)."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(subject.url, headers={"baggage": f"routing-key={key}"}) as answer,
    ):
        document: dict[str, Any] = await answer.json(content_type=None)
        who = document["name"] if answer.ok else document["code"]
        return answer.status, who, answer.headers.get("skycap-served-by", "")


async def sidecars_of(url: str, home: Path) -> list[dict[str, Any]]:
    """What the registry knows of its sidecars, asked as before: there were no pages, which our client asks for."""
    token = local_token(url, USER, environment(home))
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/sidecars", headers=headers) as answer:
        assert answer.status == 200
        items: list[dict[str, Any]] = (await answer.json())["items"]
        return items


@pytest.mark.parametrize(("sidecars", "registrys"), [("before", "today"), ("today", "before"), ("today", "today")])
async def test_the_life_of_a_sandbox(before: str, tmp_path: Path, sidecars: str, registrys: str) -> None:
    versions = {"before": before, "today": TODAY}
    async with (
        serving(naming("baseline")) as app,
        serving(naming("first")) as first,
        serving(naming("second")) as second,
        registry(versions[registrys], tmp_path) as client,
    ):
        with sidecar(versions[sidecars], app, tmp_path, client.url) as subject:
            await subject.reaches(1, "skycap_feed_connected")
            for revision, port, name in ((1, first, "first"), (2, second, "second")):
                await client.apply(sandbox("a", fork(WORKLOAD, endpoints=[f"127.0.0.1:{port}"])))
                found = await client.wait("a", 20)
                assert found.status is not None
                assert found.status.phase is Phase.READY, "and so the sidecar has acknowledged it"
                assert await ask(subject, "a") == (200, name, f"{WORKLOAD};sandbox=a;rev={revision}")
            (known,) = await sidecars_of(client.url, tmp_path)
            assert (known["connected"], known["inSync"], known["workload"]) == (True, True, WORKLOAD)
            assert await client.delete("a", 20) is None
            _, _, served = await ask(subject, "a")
            assert "sandbox=" not in served
            assert "Traceback" not in subject.log
            feed = (await subject.page("/routes"))["feed"]
            assert (feed["connected"], feed["refused"], feed["problem"]) == (True, 0, "")


@pytest.fixture
async def played() -> AsyncIterator[Registry]:
    registry = Registry()
    await registry.start()
    yield registry
    await registry.stop()


NEWEST = {"routes": [route("a")], "ended": [{"workload": WORKLOAD, "key": "gone", "why": "it was deleted"}], "later": 1}


@pytest.mark.parametrize("version", ["before", "today"])
async def test_a_reader_of_today_and_of_before_with_a_writer_of_tomorrow(
    before: str, tmp_path: Path, played: Registry, version: str
) -> None:
    """All that is added to the contract today, and what may be added later, as a stream."""
    async with serving(naming("baseline")) as app, serving(naming("shadow")) as shadow:
        with sidecar(before if version == "before" else TODAY, app, tmp_path, played.url) as subject:
            watch = await played.watch()
            await watch.send(
                keys(add=["a", "elsewhere"]), Event("snapshot", json.dumps(NEWEST), "10"),
                Event("rules", '{"later":[]}', "10"), Event("synced", '{"keys":true,"later":1}', "10"),
                put(11, "b", shadow), keys(add=["c"], later=1), ended(12, "a", why="it was deleted", later=1),
            )  # fmt: skip
            await until(lambda: played.reports and played.reports[-1]["appliedRevision"] == 12, "12 is acknowledged")
            assert await ask(subject, "b") == (200, "shadow", f"{WORKLOAD};sandbox=b;rev=1")
            asked = {key: await ask(subject, key) for key in ("a", "gone", "elsewhere", "nobody")}
            baseline = (200, "baseline", f"{WORKLOAD};baseline")
            if version == "before":
                assert asked == dict.fromkeys(asked, baseline)
            else:
                over = (503, "sandbox-ended", f"{WORKLOAD};error=sandbox-ended")
                unknown = (200, "baseline", f"{WORKLOAD};baseline;key=unknown")
                assert asked == {"a": over, "gone": over, "elsewhere": baseline, "nobody": unknown}
            assert (await subject.page("/routes"))["feed"]["refused"] == 0


async def test_a_reader_of_today_with_a_writer_of_before(tmp_path: Path, played: Registry) -> None:
    """A registry that tells neither tombstones nor keys: nothing is made up."""
    async with serving(naming("baseline")) as app:
        with sidecar(TODAY, app, tmp_path, played.url) as subject:
            watch = await played.watch()
            await watch.send(snapshot(10, route("a")), synced(10), delete(11, "a"))
            await until(lambda: played.reports and played.reports[-1]["appliedRevision"] == 11, "11 is acknowledged")
            for key in ("a", "nobody"):
                assert await ask(subject, key) == (200, "baseline", f"{WORKLOAD};baseline")


async def test_the_registry_of_today_takes_what_a_sidecar_of_tomorrow_says(tmp_path: Path) -> None:
    """Unknown parameters of the watch and of a report, unknown fields of a report; not those that people send."""
    async with registry(TODAY, tmp_path) as client:
        signed = {"authorization": f"Bearer {local_token(client.url, USER, environment(tmp_path))}"}
        await _later(client.url, signed)


async def _later(url: str, signed: dict[str, str]) -> None:
    async with aiohttp.ClientSession(url, headers=signed) as session:
        watched = {"workload": WORKLOAD, "sidecar": "one", "capture": "1"}
        async with session.get("/v1/watch/routes", params=watched) as answer:
            assert answer.status == 200
            report = {"workload": WORKLOAD, "appliedRevision": 0, "later": [1]}
            async with session.put("/v1/sidecars/one", params={"later": "1"}, json=report) as said:
                assert said.status == 204
        async with session.get("/v1/sandboxes", params={"later": "1"}) as answer:
            assert answer.status == 400

"""Twelve ways to break the demo's shop, each with real services, sidecars and registry, and what feedback says of it.

One environment serves them all, as one serves a team: each breakage is a sandbox with a key of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from controlplane.client import Client
from controlplane.demo.stage import FILE
from controlplane.model.feedback import Failure, Feedback, Kind, Verdict
from controlplane.model.sandbox import Phase, Sandbox
from proxy.base.programs import program
from tests.acceptance.running import free_port
from tests.controlplane.demo.conftest import await_health

COPY = str(Path(__file__).with_name("broken") / "broken_copy.py")
CHECKOUT = "/checkout?user=ada&item=tea"

CALL_SECONDS = 10.0
"""That the shop's services wait for each other here; a slow shadow never answers."""


TOLD_SECONDS = 30.0
LOOK_SECONDS = 0.25
"""For all sidecars to tell of a request, and for the comparison of a suspect to be made in time, on a busy machine; and
between two looks: sidecars tell twice in that time."""


@dataclass
class Shop:
    """addresses: service -> HOST:PORT of its sidecar."""

    registry: str
    addresses: dict[str, str]
    environ: dict[str, str]


def _file(folder: Path, ledger: int, legacy: int) -> Path:
    """The demo's shop with a further service that forwards nothing, and two addresses that no sidecar guards."""
    document = yaml.safe_load(FILE.read_text())
    document["spec"]["registry"] = {"listen": "127.0.0.1:0"}
    for service in document["spec"]["services"]:
        service["command"][0] = sys.executable
        service["cwd"] = str(FILE.parent / service["cwd"])
        service["env"] = {"CALL_SECONDS": str(CALL_SECONDS)}
        service.pop("port", None)
        if service["name"] == "orders":
            for name, port in (("ledger", ledger), ("legacy", legacy)):
                beside = {"name": name, "workload": f"shop/{name}", "address": f"127.0.0.1:{port}"}
                service["upstreams"].append(beside)
    document["spec"]["services"].append({
        "name": "reports", "command": [sys.executable, COPY, "loses_keys"], "upstreams": [{"name": "users"}],
        "readiness": {"path": "/health"},
    })  # fmt: skip
    path = folder / "shop.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def _skycap(folder: Path, environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*program("controlplane/cli"), *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop as `skycap up` starts it, and `legacy` beside it, which has no sidecar."""
    folder = tmp_path_factory.mktemp("shop")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SKYCAP_")}
    environ |= {"HOME": str(folder), "XDG_STATE_HOME": ""}
    legacy = free_port()
    up = _skycap(folder, environ, "up", str(_file(folder, free_port(), legacy)), "--detach", "-o", "json")
    try:
        assert (up.returncode, up.stderr) == (0, ""), up.stdout
        ports = json.loads((folder / ".skycap" / "shop" / "ports.json").read_text())
        addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items() if " " not in name}
        told = {"PORT": str(legacy), "PAYMENTS_URL": f"http://{addresses['payments']}"}
        process = subprocess.Popen([sys.executable, COPY, "legacy"], env={**environ, **told})
        try:
            await_health(f"http://127.0.0.1:{legacy}", process)
            yield Shop(f"http://{addresses['registry']}", addresses, environ)
        finally:
            process.terminate()
            process.wait(10)
    finally:
        down = _skycap(folder, environ, "down")
    assert down.returncode == 0, down.stderr


@pytest.fixture
async def registry(shop: Shop) -> AsyncIterator[Client]:
    async with Client(shop.registry, environ=shop.environ) as client:
        yield client


class Broken:
    """A sandbox whose fork is broken in one way, and the requests that are sent to it."""

    def __init__(self, shop: Shop, registry: Client, name: str) -> None:
        self.name = name
        self._shop = shop
        self._registry = registry

    async def fork(self, workload: str, breakage: str, **spec: Any) -> Sandbox:
        return await self.apply({"workload": workload, "command": [sys.executable, COPY, breakage]}, **spec)

    async def apply(self, fork: dict[str, Any], **spec: Any) -> Sandbox:
        await self._registry.apply(
            {
                "apiVersion": "skycap.dev/v1alpha1",
                "kind": "Sandbox",
                "metadata": {"name": self.name},
                "spec": {"forks": [fork], **spec},
            }
        )
        return await self._registry.wait(self.name, 30)

    async def send(self, service: str = "frontend", path: str = CHECKOUT, key: str = "") -> int:
        method = "POST" if path == CHECKOUT else "GET"
        headers = {"baggage": f"routing-key={key or self.name}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, f"http://{self._shop.addresses[service]}{path}") as answer,
        ):
            await answer.read()
            return answer.status

    async def feedback(
        self, verdict: Verdict, kind: Kind | None = None, workload: str = "", said: str = ""
    ) -> Feedback:
        """As soon as it says so, for sidecars tell one after the other.

        kind, workload: of the first failure. said: what stands in its summary, once all that was looked up is known.
        """
        found: Feedback | None = None
        try:
            async with asyncio.timeout(TOLD_SECONDS):
                while True:
                    found = await self._registry.feedback(self.name)
                    first = found.failures[0] if found.failures else None
                    if (
                        found.verdict is verdict
                        and said in found.summary
                        and (kind is None or (first is not None and (first.kind, first.workload) == (kind, workload)))
                    ):
                        return found
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise AssertionError(f"not within {TOLD_SECONDS:g} s; it says {found}") from None


@pytest.fixture
async def broken(shop: Shop, registry: Client, request: pytest.FixtureRequest) -> AsyncIterator[Broken]:
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].rstrip("-")
    broken = Broken(shop, registry, name)
    yield broken
    await registry.delete(name)


def printed(failure: Failure, workload: str) -> str:
    """What the copy of a workload is quoted with."""
    return "\n".join(line for each in failure.output if each.workload == workload for line in each.lines)


async def test_refusal_that_the_shadow_hides(broken: Broken) -> None:
    await broken.fork("shop/orders", "hides_a_refusal")
    assert await broken.send() == 500
    found = await broken.feedback(Verdict.FAILING, Kind.ANSWERED, "shop/payments")
    assert found.failures[0].status == 400
    assert "amount must be a number such as 12.00, not 'much'" in found.summary
    assert "shop/orders (revision 1) made 500 of it" in found.summary
    assert [(step.workload, step.copy_, step.status) for step in found.failures[0].chain] == [
        ("shop/frontend", "baseline", 500), ("shop/orders", "revision 1", 500), ("shop/payments", "baseline", 400),
    ]  # fmt: skip
    assert found.next_actions[0].arguments == {"name": broken.name, "workload": "shop/orders"}
    assert "your shop/orders made the call that shop/payments refused" in found.next_actions[0].why


async def test_field_that_is_renamed(broken: Broken) -> None:
    await broken.fork("shop/users", "renames_a_field")
    assert await broken.send() == 500
    found = await broken.feedback(
        Verdict.FAILING, Kind.CONTRACT_BREAK, "shop/catalog", "without `tier`, which the baseline sends"
    )
    assert found.failures[0].status == 500
    assert (
        "shop/catalog failed (500) right after your shop/users revision 1 answered GET /users/ada with 200"
        in found.summary
    )
    assert "shop/catalog printed: KeyError: 'tier' (catalog.py:" in found.summary
    suspect = found.failures[0].suspect
    assert suspect is not None
    assert (suspect.workload, suspect.revision, suspect.request) == ("shop/users", 1, "GET /users/ada")
    assert [(each.path, each.change.value) for each in suspect.differs] == [
        ("body.tier", "removed"),
        ("body.level", "added"),
    ]
    assert suspect.shadow_answer is not None
    assert suspect.baseline_answer is not None
    assert (suspect.shadow_answer.body, suspect.baseline_answer.body) == (
        '{"name": "Ada Lovelace", "level": "standard"}', '{"name": "Ada Lovelace", "tier": "standard"}',
    )  # fmt: skip
    assert found.next_actions[0].tool == "push_files"
    assert found.next_actions[0].arguments["workload"] == "shop/users"
    assert found.routing.requests == 1  # what was sent again to compare is nobody's request


async def test_crash_with_a_traceback(broken: Broken) -> None:
    await broken.fork("shop/users", "crashes")
    assert await broken.send() >= 500
    found = await broken.feedback(Verdict.FAILING, Kind.CRASHED, "shop/users", "printed: MemoryError")
    assert "shop/users (revision 1) ended its connection in the middle of GET /users/ada" in found.summary
    assert "printed: MemoryError: the cache of users is full (broken_copy.py:" in found.summary
    assert "Traceback (most recent call last):" in printed(found.failures[0], "shop/users")
    assert found.next_actions[0].arguments == {"name": broken.name, "workload": "shop/users"}


async def test_shadow_that_never_gets_ready(broken: Broken) -> None:
    sandbox = await broken.fork("shop/users", "never_starts")
    assert sandbox.status is not None
    assert sandbox.status.phase is Phase.FAILED
    found = await broken.feedback(Verdict.NOT_READY)
    assert "shop/users is failed" in found.summary
    assert (
        "it printed: ModuleNotFoundError: No module named 'currencies_of_the_world' (broken_copy.py:" in found.summary
    )
    assert [action.tool for action in found.next_actions] == ["get_logs", "push_files"]


async def test_shadow_that_is_too_slow(broken: Broken) -> None:
    await broken.fork("shop/users", "is_slow")
    assert await broken.send() == 504
    found = await broken.feedback(Verdict.FAILING, Kind.TIMED_OUT, "shop/users")
    assert "shop/users (revision 1) had not answered GET /users/ada after " in found.summary
    assert "shop/frontend did not wait longer; shop/frontend (baseline) made 504 of it" in found.summary
    assert "your shop/users is too slow for who calls it" in found.next_actions[0].why


async def test_connection_that_is_refused(broken: Broken, shop: Shop) -> None:
    await broken.fork("shop/orders", "calls_nobody")
    assert await broken.send() == 502
    found = await broken.feedback(Verdict.FAILING, Kind.UNREACHABLE, "shop/orders")
    assert found.failures[0].status == 502
    assert "shop/orders called POST /entries at 127.0.0.1:" in found.summary
    assert "onnection refused" in found.summary
    assert found.next_actions[0].arguments == {"name": broken.name, "workload": "shop/orders"}
    assert "correct the address, or start what should answer there" in found.next_actions[0].why


async def test_service_that_does_not_exist(broken: Broken) -> None:
    await broken.fork("shop/orders", "calls_what_does_not_exist")
    assert await broken.send() == 500
    found = await broken.feedback(Verdict.FAILING, Kind.ANSWERED, "shop/orders", "shop/orders printed: ")
    assert found.failures[0].status == 500
    assert "shop/orders printed: KeyError: 'INVOICES_URL' (service.py:" in found.summary
    assert found.next_actions[0].arguments == {"name": broken.name, "workload": "shop/orders"}
    assert (
        "nobody tells it INVOICES_URL: it is told of each upstream that its environment declares"
        in found.next_actions[0].why
    )


async def test_key_that_is_lost(broken: Broken) -> None:
    await broken.fork("shop/users", "renames_a_field")
    assert await broken.send("reports", "/report") == 200
    found = await broken.feedback(Verdict.LOST_KEY)
    (lost,) = found.lost_keys
    assert (lost.workload, lost.example) == ("shop/reports", "GET /users/ada")
    assert "opentelemetry-instrument" in lost.todo
    assert "shop/reports may lose the key when it calls" in found.summary
    assert "shop/reports does not forward what carries the key" in found.next_actions[0].why


async def test_fallback_by_policy(broken: Broken) -> None:
    nobody = {"workload": "shop/users", "endpoints": [f"127.0.0.1:{free_port()}"], "reachable": False}
    await broken.apply(nobody, onUnavailable="baseline")
    assert await broken.send() == 200
    found = await broken.feedback(Verdict.MISROUTED, said="3 shadow-unreachable")
    assert "no request to shop/users reached the shadow" in found.summary
    assert "leave `onUnavailable` at `error`" in found.next_actions[0].why


async def test_misspelt_key(broken: Broken) -> None:
    await broken.fork("shop/users", "renames_a_field")
    assert await broken.send(key="mispselt-key") == 200
    found = await broken.feedback(Verdict.MISROUTED, said="1 with 'mispselt-key'")
    assert "1 with 'mispselt-key', which nobody has: they got the baseline" in found.summary
    assert found.next_actions[0].command == "skycap request misspelt-key http://..."


async def test_endless_redirect(broken: Broken) -> None:
    await broken.fork("shop/users", "redirects")
    assert await broken.send() == 502
    found = await broken.feedback(Verdict.FAILING, Kind.REDIRECTS, "shop/users")
    assert found.failures[0].status == 302
    assert (
        "shop/users (revision 1) answered GET /users/ada 10 times with 302: it redirects in a circle" in found.summary
    )
    assert "sends its client round in a circle" in found.next_actions[0].why


async def test_failure_behind_a_service_without_a_sidecar(broken: Broken) -> None:
    await broken.fork("shop/orders", "goes_by_legacy")
    assert await broken.send() == 502
    found = await broken.feedback(Verdict.FAILING, Kind.ANSWERED, "shop/payments")
    assert found.failures[0].status == 400
    assert "amount must be a number such as 12.00, not 'much'" in found.summary
    copies = [(step.workload.partition(":")[0], step.copy_) for step in found.failures[0].chain]
    assert copies == [
        ("shop/frontend", "baseline"), ("shop/orders", "revision 1"), ("127.0.0.1", "no sidecar"),
        ("shop/payments", "baseline"),
    ]  # fmt: skip
    assert any(
        "has no sidecar: that it made the next call is told by the trace and the time" in said for said in found.unknown
    )
    assert found.next_actions[0].arguments == {"name": broken.name, "workload": "shop/orders"}

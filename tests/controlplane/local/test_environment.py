"""A whole environment of real processes, started and stopped inside the test."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.client import Client
from controlplane.local.environment import Environment, NotReadyError
from controlplane.local.events import Ended, Event, NotReady, Output, Ready, Started, Stopped, Stopping, Warned
from controlplane.model.sandbox import Phase
from proxy.base.problems import ConfigurationError
from tests.controlplane.demo.conftest import free_ports
from tests.controlplane.local.files import APP, environment, service
from tests.controlplane.process.marked import Marked, eventually

KEY = {"baggage": "routing-key=agent-42"}

Make = Callable[..., Environment]


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def make(tmp_path: Path, marked: Marked, events: list[Event]) -> Make:
    def make(*services: dict[str, Any]) -> Environment:
        return Environment(environment(*services), tmp_path, observe=events.append, environ=marked.environ)

    return make


def shop(**users: Any) -> tuple[dict[str, Any], ...]:
    return service("frontend", "users", env={"MARK": "baseline"}), service("users", env={"MARK": "baseline"}, **users)


async def get(running: Environment, path: str, **headers: str) -> tuple[aiohttp.ClientResponse, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{running.address('frontend')}{path}", headers=headers) as answer,
    ):
        return answer, await answer.json(content_type=None)


async def fork_users(registry: Client) -> str:
    """A sandbox that replaces `users` by a process. Returns the endpoint of its shadow."""
    fork = {"workload": "shop/users", "command": ["python3", APP, "v2"], "env": {"MARK": "agent-42"}}
    await registry.apply(
        {
            "apiVersion": "skycap.dev/v1alpha1",
            "kind": "Sandbox",
            "metadata": {"name": "agent-42"},
            "spec": {"forks": [fork]},
        }
    )
    sandbox = await registry.wait("agent-42")
    assert sandbox.status is not None
    assert sandbox.status.phase is Phase.READY
    return sandbox.status.forks[0].endpoints[0]


def of(events: list[Event], kind: type[Event], process: str) -> list[Event]:
    return [event for event in events if isinstance(event, kind) and getattr(event, "process", "") == process]


async def test_a_key_leads_to_the_shadow_even_while_the_registry_is_killed(
    make: Make, events: list[Event], marked: Marked, tmp_path: Path
) -> None:
    async with make(*shop()) as running, Client(running.registry_url) as registry:
        await running.ready()
        assert running.is_ready("frontend")
        assert running.is_ready("users")
        answer, who = await get(running, "/call/users/who")
        assert (who["mark"], "skycap-served-by" in answer.headers) == ("baseline", False)

        await fork_users(registry)
        answer, who = await get(running, "/call/users/who", **KEY)
        shadow = who["pid"]
        assert (who["mark"], who["arguments"]) == ("agent-42", ["v2"])
        assert answer.headers["skycap-served-by"] == "shop/frontend;baseline, shop/users;sandbox=agent-42;rev=1"

        before = running.pid("registry")
        assert before is not None
        os.kill(before, signal.SIGKILL)
        while len(of(events, Ready, "registry")) < 2:
            _, who = await get(running, "/call/users/who", **KEY)
            assert who["pid"] == shadow
            _, who = await get(running, "/call/users/who")
            assert who["mark"] == "baseline"
        assert running.pid("registry") != before
        assert [each.workload for each in await registry.workloads()] == ["shop/frontend", "shop/users"]
        await registry.wait("agent-42")
        _, who = await get(running, "/call/users/who", **KEY)
        assert who["pid"] == shadow
        assert shadow in marked.alive()
    assert marked.alive() == {}
    assert list((tmp_path / ".skycap" / "shop" / "shadows").iterdir()) == []
    assert events[-1] == Stopped()


async def test_a_server_on_the_other_loopback_is_reached_and_so_is_its_shadow(make: Make) -> None:
    """`localhost` is ::1 to Node.js 17 and later."""
    frontend = service("frontend", env={"LISTEN": "::1"})
    async with make(frontend) as running, Client(running.registry_url) as registry:
        await running.ready()
        _, found = await get(running, "/who")
        assert (found["sandbox"], found["key"]) == ("", "")
        fork = {"workload": "shop/frontend", "command": ["python3", APP, "v2"]}
        document = {"apiVersion": "skycap.dev/v1alpha1", "kind": "Sandbox", "metadata": {"name": "agent-42"}}
        await registry.apply({**document, "spec": {"forks": [fork]}})
        await registry.wait("agent-42")
        answer, found = await get(running, "/who", **KEY)
        assert answer.headers["skycap-served-by"] == "shop/frontend;sandbox=agent-42;rev=1"
        assert (found["arguments"], found["sandbox"], found["key"]) == (["v2"], "agent-42", "agent-42")


async def test_an_address_that_leads_past_the_sidecar_is_said(make: Make, events: list[Event]) -> None:
    frontend = service("frontend", "users", env={"USERS_URL": "http://127.0.0.1:1"})
    fine = service("users", "frontend", env={"FRONTEND_URL": "${FRONTEND_URL}/x"})
    async with make(frontend, fine):
        pass
    assert [event for event in events if isinstance(event, Warned)] == [
        Warned(
            "frontend",
            "env.USERS_URL leads past its sidecar, so calls to users lose their routing key: "
            "name ${USERS_HOST} and ${USERS_PORT} in it",
        )
    ]


async def test_a_shadow_that_calls_where_its_baseline_does_is_known_by_its_process(make: Make) -> None:
    (port,) = free_ports(1)
    fixed = service("frontend", upstreams=[{"name": "users", "port": port}])
    literal = {"USERS_URL": f"http://127.0.0.1:{port}"}
    async with make(fixed, service("users")) as running, Client(running.registry_url) as registry:
        await running.ready()
        users = {"workload": "shop/users", "command": ["python3", APP, "v2"]}
        frontend = {"workload": "shop/frontend", "command": ["python3", APP, "v2"], "env": literal}
        await registry.apply(
            {
                "apiVersion": "skycap.dev/v1alpha1",
                "kind": "Sandbox",
                "metadata": {"name": "agent-42"},
                "spec": {"forks": [users, frontend]},
            }
        )
        await registry.wait("agent-42")
        _, who = await get(running, "/call/users/who", **KEY)
        assert (who["arguments"], who["key"]) == (["v2"], "agent-42")
        _, who = await get(running, "/call/users/who")
        assert who["arguments"] == ["users"]


async def test_a_fixed_port_of_an_upstream_is_said_where_no_process_is_known(
    make: Make, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.local.environment.PEERS_ARE_KNOWN", False)
    (port,) = free_ports(1)
    calls = [{"name": "users", "port": port}, {"name": "mail-relay", "workload": "a/b", "address": "127.0.0.1:9"}]
    async with make(service("frontend", upstreams=calls), service("users")):
        pass
    assert [event for event in events if isinstance(event, Warned)] == [
        Warned(
            "frontend",
            "calls users at a fixed port, which is the baseline's sidecar: "
            "a shadow that does not heed USERS_URL calls it as the baseline",
        )
    ]


async def test_a_service_that_is_killed_comes_back(make: Make, events: list[Event]) -> None:
    async with make(*shop()) as running:
        await running.ready()
        for process in ("users", "users/sidecar"):
            before = running.pid(process)
            assert before is not None
            os.kill(before, signal.SIGKILL)
            await eventually(lambda process=process: len(of(events, Ready, process)) == 2)  # type: ignore[misc]
            (ended,) = of(events, Ended, process)
            assert isinstance(ended, Ended)
            assert ended.how == "was ended by SIGKILL"
            assert ended.last_lines
            assert running.pid(process) not in (None, before)
            answer, who = await get(running, "/call/users/who")
            assert (answer.status, who["pid"]) == (200, running.pid("users"))


async def test_what_is_in_flight_is_finished_along_the_whole_chain(make: Make, events: list[Event]) -> None:
    async with make(*shop()) as running:
        await running.ready()
        asking = asyncio.gather(get(running, "/call/users/slow/0.5"))
        await eventually(lambda: any("GET /slow/0.5" in getattr(event, "line", "") for event in events))
        await running.stop()
        ((answer, who),) = await asking
        assert (answer.status, who["mark"]) == (200, "baseline")
    stopping = events.index(Stopping())
    assert [event for event in events[stopping:] if isinstance(event, Ended | Started)] == []
    assert events.count(Stopped()) == 1


async def test_what_is_not_ready_is_named_and_the_rest_works(make: Make, events: list[Event]) -> None:
    broken = {"readiness": {"path": "/exit/3", "timeout": 5.0}}
    absent = service("orders", command=["sleep", "60"], readiness={"timeout": 1.0})
    async with make(*shop(**broken), absent) as running:
        with pytest.raises(NotReadyError) as caught:
            await running.ready()
        users, orders = caught.value.problems
        assert users == "users: ended with exit code 3"
        assert orders.startswith("orders: is not ready: nothing listens on port ")
        assert running.is_ready("frontend")
        assert not running.is_ready("orders")
        assert (await get(running, "/who"))[0].status == 200
        assert len(of(events, NotReady, "orders")) == 1


async def test_insisting_leaves_nothing_either(make: Make, marked: Marked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.local.environment.GRACE_SECONDS", 600.0)
    deaf = f"import signal, runpy; signal.signal(15, signal.SIG_IGN); runpy.run_path({APP!r}, run_name='__main__')"
    async with make(*shop(command=["python3", "-c", deaf])) as running:
        await running.ready()
        async with Client(running.registry_url) as registry:
            await fork_users(registry)
        stopping = asyncio.gather(running.stop())
        await eventually(lambda: running.pid("users/sidecar") is None)
        running.kill()
        async with asyncio.timeout(30):  # less than the grace that a deaf application is given
            await stopping
        assert marked.alive() == {}


async def test_it_can_be_stopped_before_it_has_begun(make: Make, marked: Marked, events: list[Event]) -> None:
    async with make(*shop()) as running:
        assert len(repr(running)) > 20
    assert marked.alive() == {}
    assert Stopping() in events
    assert events[-1] == Stopped()
    await running.stop()
    assert events.count(Stopped()) == 1


async def test_a_cancelled_owner_leaves_nothing(make: Make, marked: Marked) -> None:
    async def own() -> None:
        async with make(*shop()) as running:
            await running.ready()

    async with asyncio.TaskGroup() as group:
        owner = group.create_task(own())
        await eventually(lambda: len(marked.alive()) == 3)
        owner.cancel()
    assert owner.cancelled()
    assert marked.alive() == {}


async def test_an_owner_that_is_cancelled_again_waits_no_longer(
    make: Make, marked: Marked, events: list[Event]
) -> None:
    async def own() -> None:
        async with make(service("users", command=["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"])):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        owner = group.create_task(own())
        await eventually(lambda: Output("users", "deaf") in events)
        owner.cancel()
        await eventually(lambda: Stopping() in events)
        owner.cancel()
    assert Stopped() not in events
    async with asyncio.timeout(4):  # less than the grace that a deaf application is given
        await eventually(lambda: not marked.alive())
    async with make(service("users")):  # the lock is free again
        pass


async def test_what_would_go_wrong_is_said_before_anything_is_started(make: Make, marked: Marked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        broken = make(*shop(port=port, cwd="nowhere"))
        with pytest.raises(ConfigurationError) as caught:
            await broken.__aenter__()
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "spec.services[1].port",
        "spec.services[1].cwd",
    ]
    assert marked.alive() == {}
    async with make(service("users")) as second:  # the lock is free again
        with pytest.raises(ConfigurationError, match=r"the environment shop is up already, process [0-9]+"):
            await make(service("users")).__aenter__()
        assert second.layout.name == "shop"


async def test_addresses_stay_the_same(make: Make) -> None:
    found = []
    for _ in range(2):
        async with make(*shop()) as running:
            found.append((running.registry_url, running.address("frontend"), running.address("users")))
    assert found[0] == found[1]
    with pytest.raises(KeyError):
        running.address("nobody")

"""A ticket, the tools, and three bugs of different kinds: over both transports, and two agents beside each other."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import yaml

from controlplane.client import Client
from proxy.base.programs import program
from tests.controlplane.mcp.scripted import Done, ScriptedAgent, Ticket
from tests.controlplane.mcp.test_transports import over
from tests.controlplane.process.marked import Marked, marked  # noqa: F401 (a fixture)
from tests.controlplane.running import RegistryProcess

TRIPS = Path(__file__).parent / "trips"
SKYCAP = program("controlplane/cli")

STAYS_DOWN = Ticket(
    title="A night in Oslo",
    service="rates",
    change=(('"rome": 9500}', '"rome": 9500, "oslo": 15000}'), ("if city not in CENTS:", "if city not in CENTS")),
    request="/trip/oslo/2",
    wanted="300.00 EUR",
)
"""The copy does not start: a syntax error."""

CRASHES = Ticket(
    title="A tax of 10 %",
    service="pricing",
    change=(('cents = found["cents"] * int(nights)', 'cents = found["cents"] * int(night) * 110 // 100'),),
    request="/trip/rome/2",
    wanted="209.00 EUR",
)
"""The copy starts, and fails at each request: a misspelt name."""

BREAKS_ITS_CALLER = Ticket(
    title="Rates speak of amounts",
    service="rates",
    change=(('"cents": CENTS[city]', '"amount": CENTS[city]'),),
    request="/trip/bern/1",
    wanted="120.00 EUR",
)
"""The copy answers well, and the baseline of its caller fails: a field that it still needs."""

IS_REFUSED = Ticket(
    title="Ten per cent off",
    service="rates",
    change=(('"cents": CENTS[city]', '"cents": CENTS[city] * 0.9'),),
    request="/trip/rome/1",
    wanted="85.50 EUR",
)
"""The copy answers well, and its caller refuses what it says, in words."""


@pytest.fixture
async def trips(tmp_path: Path, marked: Marked) -> AsyncIterator[RegistryProcess]:  # noqa: F811
    """The environment, up."""

    def service(name: str, *calls: str) -> dict[str, object]:
        upstreams = [{"name": called} for called in calls]
        command = [sys.executable, f"{name}.py"]
        told = {"name": name, "command": command, "cwd": str(TRIPS), "upstreams": upstreams}
        return told | {"readiness": {"path": "/health"}}

    file = tmp_path / "trips.yaml"
    services = [service("site", "pricing"), service("pricing", "rates"), service("rates")]
    document = {
        "apiVersion": "skycap.dev/v1alpha1",
        "kind": "Environment",
        "metadata": {"name": "trips"},
        "spec": {"registry": {"listen": "127.0.0.1:0"}, "services": services},
    }
    file.write_text(yaml.safe_dump(document))
    environ = {name: value for name, value in marked.environ.items() if not name.startswith("SKYCAP_")}
    environ |= {"HOME": str(tmp_path), "XDG_STATE_HOME": ""}
    process = await asyncio.create_subprocess_exec(
        *SKYCAP, "up", str(file), "--output", "json", stdout=PIPE, stderr=sys.stderr, env=environ
    )
    assert process.stdout is not None
    said = []
    async for line in process.stdout:
        said.append(json.loads(line))
        if said[-1]["event"] == "up":
            break
    assert said[-1]["event"] == "up", said
    reading = asyncio.ensure_future(process.stdout.read())  # noqa: TID251 (nobody may fill the pipe)
    yield RegistryProcess(process, said[-1]["registry"], environ)
    process.terminate()
    await process.wait()
    await reading


def sources() -> dict[str, str]:
    return {path.name: path.read_text() for path in TRIPS.glob("*.py")}


@pytest.mark.timeout(180)  # a dozen processes start
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_three_tickets_are_solved_by_what_the_tools_say(trips: RegistryProcess, transport: str) -> None:
    before = sources()
    done: dict[str, Done] = {}
    async with over(transport, trips) as agent:
        for number, ticket in enumerate((STAYS_DOWN, CRASHES, BREAKS_ITS_CALLER, IS_REFUSED)):
            worker = ScriptedAgent(f"agent-{number}", agent)
            done[ticket.title] = await worker.solve(ticket)
            assert (await agent.call("delete_sandbox", name=worker.name))["gone"] is True
    assert done[STAYS_DOWN.title].told == ["sandbox-failed", "passing"]
    for ticket in (CRASHES, BREAKS_ITS_CALLER, IS_REFUSED):
        assert done[ticket.title].told == ["failing", "passing"]
    assert '"cents": CENTS[city], "amount": CENTS[city]' in done[BREAKS_ITS_CALLER.title].source
    assert sources() == before  # nobody has written into the baseline's folder


@pytest.mark.timeout(180)
async def test_two_agents_on_one_service_do_not_see_each_other(trips: RegistryProcess) -> None:
    async with AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(over("stdio", trips)) for _ in range(2)]
        first, second = ScriptedAgent("first", agents[0]), ScriptedAgent("second", agents[1])
        one, other = await asyncio.gather(first.solve(STAYS_DOWN), second.solve(IS_REFUSED))
        assert one.told[-1] == other.told[-1] == "passing"
        assert "oslo" in one.source
        assert "oslo" not in other.source
        listed = await agents[0].call("list_sandboxes")
        assert {(item["name"], item["owner"]) for item in listed["sandboxes"]} == {
            ("first", "first"),
            ("second", "second"),
        }
        workloads = await agents[1].call("list_workloads", workload="rates")
        assert [fork["sandbox"] for fork in workloads["services"][0]["forked_by"]] == ["first", "second"]
    async with Client(trips.url, environ=trips.environ) as client:
        for name in ("first", "second"):
            await client.delete(name, 30)

"""Stubs over REST, and as whoever watches is told of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from controlplane.client import RegistryError
from controlplane.life.key_rules import KeyRules
from controlplane.model.stub import Stub
from controlplane.model.workload import Workload
from proxy.base.tasks import Tasks
from tests.controlplane.api.served import Served
from tests.controlplane.eventually import eventually
from tests.controlplane.sandboxes import USERS, document

RESET = Stub(name="resets", workload=USERS, fault="reset")
HOST = Stub(name="bank", host="api.bank.example", fault="timeout")


class Rules:
    """The rules that a sidecar is told, by key."""

    def __init__(self, api: Served) -> None:
        self.told: dict[str, list[str]] = {}
        self.synced = False
        self._api = api

    async def run(self) -> None:
        async for event in self._api.client.watch("shop/other"):
            self.synced = self.synced or event.name == "synced"
            if event.name == "rules":
                data = json.loads(event.data)
                self.told[data["key"]] = [rule["name"] for rule in data["rules"]]


@pytest.fixture
async def rules(api: Served) -> AsyncIterator[Rules]:
    tasks = Tasks("rules")
    found = Rules(api)
    tasks.spawn(found.run(), "watch")
    await eventually(lambda: found.synced)
    yield found
    await tasks.close()
    await eventually(lambda: len(api.registry.watchers) == 0)


async def test_stubs_are_set_told_and_ended(api: Served, rules: Rules) -> None:
    await api.client.apply(document("agent-42", routingKey="key"))
    assert await api.client.stubs("agent-42") == []
    assert await api.client.set_stubs("agent-42", [RESET, HOST]) == [RESET, HOST]
    await eventually(lambda: rules.told == {"key": ["resets", "bank"]})
    late = Rules(api)
    tasks = Tasks("late")
    tasks.spawn(late.run(), "watch")
    await eventually(lambda: late.synced and late.told == {"key": ["resets", "bank"]})
    sandbox = await api.client.wait("agent-42", 20)
    assert sandbox.status is not None
    assert [fork.revision for fork in sandbox.status.forks] == [1], "a fork that somebody else runs is not touched"
    explained = await api.client.explain("key", USERS)
    assert explained.stubs == ("resets: any method any path: resets the connection",)
    assert await api.client.set_stubs("agent-42", [HOST]) == [HOST]
    await eventually(lambda: rules.told == {"key": ["bank"]})
    await api.client.delete("agent-42", 20)
    await eventually(lambda: rules.told == {"key": []} == late.told)
    await tasks.close()


async def test_a_shadow_that_we_start_is_started_with_what_its_calls_get(api: Served) -> None:
    await api.client.put_workload(Workload(workload=USERS, address="127.0.0.1:18080", command=("a",), cwd="/"))
    fork = {"workload": USERS, "command": ["b"]}
    await api.client.apply(document("agent-42", fork))
    await api.client.wait("agent-42", 20)
    await api.client.set_stubs("agent-42", [RESET, HOST])
    assert (await api.client.wait("agent-42", 20)).spec.stubs == (RESET, HOST)
    assert api.launcher.machine.running() == [f"agent-42 {USERS} r1"], "its sidecar is told; it is not started anew"
    await api.client.apply(document("agent-42", fork | {"command": ["c"]}, stubs=[
        stub.model_dump(mode="json", exclude_none=True) for stub in (RESET, HOST)
    ]))  # fmt: skip
    await api.client.wait("agent-42", 20)
    await eventually(lambda: api.launcher.machine.running() == [f"agent-42 {USERS} r3"])
    (request,) = api.launcher.machine.live.values()
    assert [rule.name for rule in request.rules] == ["bank"]


async def test_what_no_request_can_match_is_refused_by_name(api: Served) -> None:
    await api.client.put_workload(Workload(workload="shop/pay", address="127.0.0.1:18081"))
    await api.client.apply(document("agent-42"))
    for stub, path, said in (
        (RESET.model_copy(update={"workload": "shop/payy"}), "spec.stubs[0].workload",
         "no request can match stub resets: nobody knows a workload shop/payy (did you mean shop/pay?)"),
        (HOST.model_copy(update={"host": "127.0.0.1:18081"}), "spec.stubs[0].host",
         "stub bank: there listens the sidecar of shop/pay: say workload instead"),
    ):  # fmt: skip
        with pytest.raises(RegistryError) as caught:
            await api.client.set_stubs("agent-42", [stub])
        assert [(problem.path, problem.message) for problem in caught.value.problems] == [(path, said)]
    assert await api.client.stubs("agent-42") == []


async def test_bad_ones_and_those_of_nobody(api: Served) -> None:
    status, body, _ = await api.ask("PUT", "/v1/sandboxes/nobody/stubs", json={"items": []})
    assert (status, body["code"]) == (404, "not-found")
    status, body, _ = await api.ask("PUT", "/v1/sandboxes/nobody/stubs", json={"items": [{"name": "A"}], "x": 1})
    assert status == 422
    assert {problem["path"] for problem in body["problems"]} == {"items[0].name", "x"}
    assert (await api.ask("GET", "/v1/sandboxes/nobody/stubs"))[0] == 404


async def test_rules_are_there_again_after_a_restart(api: Served) -> None:
    await api.client.apply(document("agent-42", stubs=[RESET.model_dump(exclude_none=True)]))
    record = api.registry.sandboxes.record("agent-42")
    fresh = KeyRules(api.registry.watchers)
    fresh.observe(record)
    assert len(fresh.told()) == 1
    assert b'"resets"' in fresh.told()[0]
    assert fresh.since(0) == fresh.told()
    assert fresh.since(1) == []
    assert repr(fresh) == "<KeyRules of 1 keys, version 1>"

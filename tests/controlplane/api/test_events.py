"""Every change as it happens."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from controlplane.api.access import Role
from controlplane.model.workload import Workload
from proxy.contract.watch import EventParser
from tests.controlplane.api.served import TOKENS, Served
from tests.controlplane.eventually import eventually
from tests.controlplane.sandboxes import fork, sandbox


class Page:
    """What a page has been told: sandboxes by name, and the other events in their order."""

    def __init__(self) -> None:
        self.sandboxes: dict[str, Any] = {}
        self.told: list[str] = []

    async def follow(self, api: Served, role: Role = Role.USER) -> None:
        headers = {"authorization": f"Bearer {TOKENS[role]}"}
        async with aiohttp.ClientSession() as http, http.get(f"{api.url}/v1/events", headers=headers) as answer:
            parser = EventParser()
            async for data in answer.content.iter_any():
                for event in parser.feed(data):
                    document = json.loads(event.data)
                    if event.name == "sandbox":
                        self.sandboxes[document["metadata"]["name"]] = document
                    elif event.name == "gone":
                        self.sandboxes.pop(document["name"])
                    else:
                        self.told.append(event.name)


async def test_sandboxes_come_change_and_go(api: Served) -> None:
    await api.client.apply(sandbox("a"))
    page = Page()
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(page.follow(api))
        await eventually(lambda: page.told == ["ready"])
        assert set(page.sandboxes) == {"a"}
        await api.client.apply(sandbox("b"))
        await eventually(lambda: page.sandboxes.get("b", {}).get("status", {}).get("phase") == "Ready")
        await api.client.apply(sandbox("b", fork(port=1)))
        await eventually(lambda: page.sandboxes["b"]["status"]["revision"] == 2)
        await api.client.delete("a", 10)
        await eventually(lambda: set(page.sandboxes) == {"b"})
        await api.client.put_workload(Workload(workload="shop/cart", address="127.0.0.1:1"))
        await eventually(lambda: "map" in page.told)
        following.cancel()
    await eventually(lambda: repr(api.registry.changes) == "<Changes with 0 followers>")


@pytest.mark.parametrize(("role", "shown"), [(Role.USER, "secret"), (Role.VIEWER, "(hidden)")])
async def test_a_viewer_sees_no_secrets(api: Served, role: Role, shown: str) -> None:
    await api.client.put_workload(Workload(workload="shop/users", address="127.0.0.1:1", command=("run",)))
    await api.client.apply(sandbox("a", {"workload": "shop/users", "command": ["x"], "env": {"KEY": "secret"}}))
    page = Page()
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(page.follow(api, role))
        await eventually(lambda: "ready" in page.told)
        following.cancel()
    assert page.sandboxes["a"]["spec"]["forks"][0]["env"] == {"KEY": shown}

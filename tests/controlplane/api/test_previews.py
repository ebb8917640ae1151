"""Links into sandboxes over HTTP: made, told to gateways, revoked, gone with their sandbox; and what comes back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controlplane.api.access import Role
from controlplane.client import Client, RegistryError
from controlplane.model.handoff import MAX_EVIDENCE, MAX_LINKS_OF_ONE, MAX_REVIEWS, PreviewRequest
from controlplane.model.workload import Upstream, Workload
from proxy.contract.previews import decode_link, token_hash
from proxy.contract.watch import EventParser
from tests.controlplane.api.served import TOKENS, Served, served
from tests.controlplane.eventually import eventually
from tests.controlplane.life.store import TroubledStore
from tests.controlplane.sandboxes import fork, sandbox

NAME = "agent-42"
FRONTEND, USERS = "shop/frontend", "shop/users"
URL = re.compile(r"http://([a-z2-7]{26})--frontend\.localhost:7080/")


async def environment(api: Served) -> None:
    """Two baselines, of which one calls the other, and a sandbox."""
    users = Upstream(name="users", workload=USERS, address="127.0.0.1:2")
    await api.client.put_workload(Workload(workload=FRONTEND, address="127.0.0.1:1", upstreams=(users,)))
    await api.client.put_workload(Workload(workload=USERS, address="127.0.0.1:2"))
    await api.client.apply(sandbox(NAME))
    await api.client.wait(NAME, 10)


class Gateway:
    """Follows the watch as a gateway does. links: by hash, once `synced` says that all were told."""

    def __init__(self) -> None:
        self.links: dict[str, Any] = {}
        self.whole = False

    async def follow(self, api: Served) -> None:
        query = {"workload": "skycap/gateway", "previews": "true"}
        async with api.http.get(f"{api.url}/v1/watch/routes", params=query) as answer:
            parser = EventParser()
            async for data in answer.content.iter_any():
                for event in parser.feed(data):
                    told = json.loads(event.data)
                    if event.name == "previews":
                        self.links |= {link["hash"]: link for link in told.get("put", ())}
                        for hashed in told.get("remove", ()):
                            self.links.pop(hashed, None)
                    elif event.name == "synced":
                        self.whole = told["previews"]


@asynccontextmanager
async def gateway(api: Served) -> AsyncIterator[Gateway]:
    one = Gateway()
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(one.follow(api))
        await eventually(lambda: one.whole)
        yield one
        following.cancel()


async def test_a_link_is_told_once_and_its_hash_to_gateways(api: Served) -> None:
    await environment(api)
    async with gateway(api) as told:
        made = await api.client.create_preview(NAME, PreviewRequest(note="the price"))
        found = URL.fullmatch(made.url or "")
        assert found is not None
        assert made.handoff == f"{made.url}~skycap/"
        assert (made.name, made.workload, made.note, made.login) == ("frontend", FRONTEND, "the price", False)
        await eventually(lambda: bool(told.links))
        (link,) = told.links.values()
        assert found[1] not in json.dumps(link)
        read = decode_link(link)
        assert (read.hash, str(read.target), read.key, read.revision) == (token_hash(found[1]), "127.0.0.1:1", NAME, 1)

        await api.client.apply(sandbox(NAME, fork(port=9)))
        await eventually(lambda: told.links[read.hash]["revision"] == 2)
        await api.client.put_workload(Workload(workload=FRONTEND, address="127.0.0.1:3"))
        await eventually(lambda: told.links[read.hash]["target"] == "127.0.0.1:3")
        await api.client.delete_workload(FRONTEND)
        await eventually(lambda: not told.links)


async def test_who_connects_later_is_told_all(api: Served) -> None:
    await environment(api)
    made = await api.client.create_preview(NAME, PreviewRequest(workload=USERS, name="web"))
    async with gateway(api) as told:
        assert [link["preview"] for link in told.links.values()] == ["web"]
        await api.client.revoke_preview(NAME, made.id)
        await eventually(lambda: not told.links)
    assert await api.client.previews(NAME) == []


async def test_a_link_ends_with_its_sandbox(api: Served) -> None:
    await environment(api)
    await api.client.create_preview(NAME, PreviewRequest())
    async with gateway(api) as told:
        await api.client.delete(NAME, 10)
        assert not told.links
        await api.client.apply(sandbox(NAME))
        assert await api.client.previews(NAME) == []


async def test_links_survive_a_restart_and_only_their_hashes_do() -> None:
    store = TroubledStore()
    async with served(store=store) as api:
        await environment(api)
        made = await api.client.create_preview(NAME, PreviewRequest(login="token"))
        assert made.password is not None
        assert (await api.client.previews(NAME))[0].password is None
        assert (await api.client.previews(NAME))[0].url == made.url
    async with served(store=store) as api:
        (link,) = await api.client.previews(NAME)
        assert (link.id, link.url, link.login) == (made.id, None, True)
        async with gateway(api) as told:
            (known,) = told.links.values()
            assert known["login"] == token_hash(made.password)


async def test_a_second_secret_is_asked_for_by_the_gateway(api: Served) -> None:
    await environment(api)
    made = await api.client.create_preview(NAME, PreviewRequest(login="token"))
    assert re.fullmatch(r"[a-z2-7]{26}", made.password or "")


async def test_links_that_the_spec_names(api: Served) -> None:
    await environment(api)
    declared = [{"name": "web", "workload": FRONTEND}]
    applied = await api.client.apply(sandbox(NAME, previews=declared))
    assert applied.status is not None
    (shown,) = applied.status.previews
    assert (shown["name"], shown["workload"]) == ("web", FRONTEND)
    again = await api.client.apply(sandbox(NAME, previews=declared))
    assert again.status is not None
    assert [link["id"] for link in again.status.previews] == [shown["id"]]
    by_hand = await api.client.create_preview(NAME, PreviewRequest(name="mine"))
    await api.client.apply(sandbox(NAME))
    assert [link.id for link in await api.client.previews(NAME)] == [by_hand.id]


async def test_an_installation_without_a_gateway_refuses_links() -> None:
    async with served(gateway="") as api:
        await environment(api)
        with pytest.raises(RegistryError, match="previews need a gateway"):
            await api.client.create_preview(NAME, PreviewRequest())


async def test_where_there_are_no_such_hosts_a_path_is_given() -> None:
    async with served(gateway="http://10.0.0.7:7080") as api:
        await environment(api)
        made = await api.client.create_preview(NAME, PreviewRequest())
        found = re.fullmatch(r"http://10\.0\.0\.7:7080/~skycap/([a-z2-7]{26})/", made.url or "")
        assert found is not None
        assert made.handoff == f"http://10.0.0.7:7080/~skycap/{found[1]}/~skycap/"


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"name": "a" * 36}, "name"),
        ({"workload": "shop/none"}, "workload"),
        ({"ttl": "8d"}, "ttl"),
        ({"login": "password"}, "login"),
        ({"unknown": 1}, "unknown"),
        ({"note": ""}, "note"),
    ],
)
async def test_a_link_that_cannot_be_is_refused_by_its_field(api: Served, document: object, path: str) -> None:
    await environment(api)
    status, body, _ = await api.ask("POST", f"/v1/sandboxes/{NAME}/previews", json=document)
    assert (status, [problem["path"] for problem in body["problems"]]) == (422, [path])


async def test_links_have_a_bound(api: Served) -> None:
    await environment(api)
    await asyncio.gather(*(api.client.create_preview(NAME, PreviewRequest()) for _ in range(3)))
    handoffs = api.registry.handoffs
    handoff = handoffs.get(NAME)
    assert len(handoff.links) == 3, "none was lost to another"
    handoffs._handoffs[NAME] = handoff.model_copy(update={"links": handoff.links[:1] * MAX_LINKS_OF_ONE})
    with pytest.raises(RegistryError, match="revoke some"):
        await api.client.create_preview(NAME, PreviewRequest())


async def test_what_is_not_there(api: Served) -> None:
    await environment(api)
    for ask in (api.client.previews("other"), api.client.revoke_preview(NAME, "web")):
        with pytest.raises(RegistryError) as raised:
            await ask
        assert raised.value.status == 404
    status, _, _ = await api.ask("POST", "/v1/sandboxes/other/reviews", json={"text": "hm"})
    assert status == 404


async def test_a_viewer_sees_links_and_not_where_they_lead(api: Served) -> None:
    await environment(api)
    await api.client.create_preview(NAME, PreviewRequest())
    async with Client(api.url, TOKENS[Role.VIEWER]) as viewer:
        assert [link.url for link in await viewer.previews(NAME)] == [None]
        seen = (await viewer.sandbox(NAME)).status
        assert seen is not None
        assert "url" not in seen.previews[0]
        with pytest.raises(RegistryError, match="only read"):
            await viewer.create_preview(NAME, PreviewRequest())


async def test_words_about_the_change(api: Served) -> None:
    await environment(api)
    path = f"/v1/sandboxes/{NAME}/reviews"
    status, said, _ = await api.ask("POST", path, json={"text": " nice \n", "author": "Ada", "verdict": "approved"})
    assert (status, said["text"], said["revision"], said["id"]) == (201, "nice", 1, 1)
    await api.ask("POST", path, json={"text": "but slow"})
    _, listed, _ = await api.ask("GET", path)
    assert [(one["id"], one["verdict"]) for one in listed["items"]] == [(1, "approved"), (2, "comment")]
    handoffs = api.registry.handoffs
    handoff = handoffs.get(NAME)
    handoffs._handoffs[NAME] = handoff.model_copy(update={"reviews": handoff.reviews[:1] * MAX_REVIEWS})
    status, _, _ = await api.ask("POST", path, json={"text": "more"})
    assert status == 507


async def test_what_was_run(api: Served) -> None:
    await environment(api)
    path = f"/v1/sandboxes/{NAME}/evidence"
    for number in range(MAX_EVIDENCE + 1):
        status, _, _ = await api.ask("POST", path, json={"title": f"pytest {number}", "passed": True})
        assert status == 201
    await api.ask("POST", path, json={"title": "pytest 7", "passed": False})
    kept = api.registry.handoffs.get(NAME).evidence
    assert len(kept) == MAX_EVIDENCE
    assert (kept[-1].title, kept[-1].passed) == ("pytest 7", False)
    assert [one.title for one in kept].count("pytest 7") == 1

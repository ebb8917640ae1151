from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from io import BytesIO
from ipaddress import ip_network
from typing import Any

import pytest

from controlplane.api import body
from controlplane.client import RegistryError
from controlplane.launch.port import LaunchError
from controlplane.model.problem import MAX_PROBLEMS
from controlplane.model.sandbox import Phase
from controlplane.model.workload import Workload
from controlplane.store.port import StoreError
from proxy.base.tasks import Tasks
from tests.controlplane.api.served import Served, served
from tests.controlplane.eventually import eventually
from tests.controlplane.sandboxes import USERS, document, fork, sandbox

JSON = {"content-type": "application/json"}


async def test_create_update_and_the_same_again(api: Served) -> None:
    status, body, _ = await api.ask("PUT", "/v1/sandboxes/agent-42", json=document())
    assert (status, body["status"]["phase"], body["status"]["revision"]) == (201, "Pending", 1)
    assert body["spec"]["routingKey"] == "agent-42"
    status, body, _ = await api.ask("GET", "/v1/sandboxes/agent-42?wait=10s")
    assert (status, body["status"]["phase"]) == (200, "Ready")
    assert body["status"]["forks"] == [
        {"workload": USERS, "state": "ready", "revision": 1, "endpoints": ["127.0.0.1:9102"], "message": ""}
    ]
    status, again, _ = await api.ask("PUT", "/v1/sandboxes/agent-42", json=body)
    assert (status, again["status"]["revision"], again["status"]["phase"]) == (200, 1, "Ready")
    status, body, _ = await api.ask("PUT", "/v1/sandboxes/agent-42", json=document("agent-42", fork(port=2)))
    assert (status, body["status"]["revision"]) == (200, 2)


async def test_the_same_again_can_be_started_anew(api: Served) -> None:
    both = document("agent-42", fork(), fork("shop/cart", port=2))
    await api.ask("PUT", "/v1/sandboxes/agent-42", json=both)
    _, body, _ = await api.ask("PUT", "/v1/sandboxes/agent-42?restart=shop/cart", json=both)
    assert body["status"]["revision"] == 2
    _, body, _ = await api.ask("GET", "/v1/sandboxes/agent-42?wait=10s")
    assert [item["revision"] for item in body["status"]["forks"]] == [1, 2]
    _, body, _ = await api.ask("PUT", "/v1/sandboxes/agent-42?restart=true", json=both)
    assert body["status"]["revision"] == 3
    status, body, _ = await api.ask("PUT", "/v1/sandboxes/agent-42?restart=shop/typo", json=both)
    assert (status, body["problems"]) == (
        422,
        [{"path": "?restart", "message": "'shop/typo' is no fork of this sandbox"}],
    )
    status, body, _ = await api.ask("PUT", "/v1/sandboxes/agent-42?restart=yes", json=both)
    assert (status, body["code"]) == (400, "bad-query")


async def test_labels_owner_and_description_come_back(api: Served) -> None:
    said = document()
    said["metadata"] |= {"labels": {"team": "payments"}, "owner": "ada", "description": "a loyalty tier"}
    _, body, _ = await api.ask("PUT", "/v1/sandboxes/agent-42", json=said)
    assert body["metadata"] == said["metadata"]
    said["metadata"]["labels"] = {"not a name": "x"}
    status, body, _ = await api.ask("PUT", "/v1/sandboxes/agent-42", json=said)
    assert (status, body["problems"][0]["path"]) == (422, "metadata.labels['not a name']")


async def test_a_list_is_narrowed_by_all_that_is_asked_for(api: Served) -> None:
    for name, owner, team, told in (("a", "ada", "x", "Ünits"), ("b", "ada", "y", ""), ("c", "bob", "x", "units")):
        said = document(name, fork(f"shop/{owner}"))
        said["metadata"] |= {"owner": owner, "labels": {"team": team}} | ({"description": told} if told else {})
        await api.client.apply(said)
    await api.client.apply(document("d"))

    async def found(**asked: Any) -> list[str]:
        return [one.name for one in await api.client.sandboxes(**asked)]

    assert await found() == ["a", "b", "c", "d"]
    assert await found(owner="ada") == ["a", "b"]
    assert await found(labels={"team": "x"}) == ["a", "c"]
    assert await found(labels={"team": "x"}, owner="bob") == ["c"]
    assert await found(labels={"team": "x", "more": ""}) == []
    assert await found(description="ÜNITS") == ["a"]
    assert await found(workload="shop/bob") == ["c"]
    assert await found(workload=USERS) == ["d"]
    _, page, _ = await api.ask("GET", "/v1/sandboxes?owner=ada&limit=1")
    assert (page["items"][0]["metadata"]["name"], "continue" in page) == ("a", True)
    for query in ("label=team", "label=team=x&label=!=x", "owner=", "owner=a&owner=b", "workload=users"):
        status, body, _ = await api.ask("GET", f"/v1/sandboxes?{query}")
        assert (status, body["code"]) == (400, "bad-query"), query


async def test_who_forks_the_same_workload_is_told_of_the_other(api: Served) -> None:
    async def told(name: str) -> list[Any]:
        _, body, _ = await api.ask("GET", f"/v1/sandboxes/{name}")
        return [fork.get("alsoForkedBy") for fork in body["status"]["forks"]]

    first = document("a", fork(), fork("shop/cart"))
    first["metadata"]["owner"] = "ada"
    await api.client.apply(first)
    assert await told("a") == [None, None]
    status, body, _ = await api.ask("PUT", "/v1/sandboxes/b", json=document("b"))
    assert (status, body["status"]["forks"][0]["alsoForkedBy"]) == (201, [{"sandbox": "a", "owner": "ada"}])
    assert await told("a") == [[{"sandbox": "b"}], None]
    await api.client.apply(document("b", fork("shop/cart")))
    assert await told("a") == [None, [{"sandbox": "b"}]]
    await api.client.delete("b", 10)
    assert await told("a") == [None, None]


async def test_a_bad_sandbox_is_refused_with_every_path_and_nothing_is_stored(api: Served) -> None:
    bad = document("agent-42", {"workload": "users", "endpoint": ["127.0.0.1:80"]}, ttl="soon")
    writes = api.store.writes
    status, body, headers = await api.ask("PUT", "/v1/sandboxes/agent-42", json=bad)
    assert status == 422
    assert headers["content-type"] == "application/problem+json; charset=utf-8"
    assert body == {
        "type": "urn:skycap:problem:invalid",
        "title": "The document does not fit",
        "status": 422,
        "detail": "4 problems; nothing was stored",
        "code": "invalid",
        "problems": [
            {"path": "spec.ttl", "message": "'soon' is not a number with a unit: 90s, 30m, 4h or 7d"},
            {"path": "spec.forks[0].workload", "message": "'users' is not NAMESPACE/NAME, each a DNS label"},
            {"path": "spec.forks[0].endpoint", "message": "unknown field (did you mean 'endpoints'?)"},
            {
                "path": "spec.forks[0]",
                "message": "says nothing that could start a shadow: give command, env, image or endpoints",
            },
        ],
    }
    assert api.store.writes == writes
    assert (await api.ask("GET", "/v1/sandboxes/agent-42"))[0] == 404


async def test_of_many_problems_the_first_are_told_and_all_are_counted(api: Served) -> None:
    bad = document("agent-42", fork(USERS)) | {f"field{number}": 1 for number in range(MAX_PROBLEMS + 50)}
    status, body, _ = await api.ask("PUT", "/v1/sandboxes/agent-42", json=bad)
    assert (status, body["detail"]) == (422, f"{MAX_PROBLEMS + 50} problems; nothing was stored")
    assert len(body["problems"]) == MAX_PROBLEMS + 1
    assert body["problems"][-1] == {"path": "", "message": "and 50 more problems"}


async def test_a_problem_that_only_the_registry_can_see_has_a_path_too(api: Served) -> None:
    with pytest.raises(RegistryError) as raised:
        await api.client.apply(document("a", {"workload": USERS, "command": ["x"]}))
    assert (raised.value.status, raised.value.code) == (422, "invalid")
    assert raised.value.problems[0].path == "spec.forks[0].workload"


async def test_a_key_that_is_taken_is_a_conflict(api: Served) -> None:
    await api.client.apply(sandbox("a", routingKey="k"))
    with pytest.raises(RegistryError) as raised:
        await api.client.apply(sandbox("b", routingKey="k"))
    assert (raised.value.status, raised.value.code) == (409, "conflict")
    assert [(item.path, item.message) for item in raised.value.problems] == [
        ("spec.routingKey", "'k' is the routing key of sandbox 'a'")
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "line 1, column 1: Expecting value"),
        (b"{", "line 1, column 2"),
        (b'{"a": 1 "b"}', "line 1, column 9"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1, "a": 2}', "'a' stands twice in one object"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
        (b"\xef\xbb\xbf{}", "BOM"),
    ],
)
async def test_what_is_no_json(api: Served, body: bytes, said: str) -> None:
    status, problem, _ = await api.ask("PUT", "/v1/sandboxes/a", data=body, headers=JSON)
    assert (status, problem["code"]) == (400, "bad-json")
    assert said in problem["detail"]


@pytest.mark.parametrize("body", [b"null", b"1", b'"x"', b"[]", b"true"])
async def test_json_that_is_no_object(api: Served, body: bytes) -> None:
    status, problem, _ = await api.ask("PUT", "/v1/sandboxes/a", data=body, headers=JSON)
    assert (status, problem["code"]) == (422, "invalid")
    assert problem["problems"][0]["message"].startswith("must be an object")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "application/yaml"]
)
async def test_another_media_type(api: Served, kind: str) -> None:
    status, problem, _ = await api.ask("PUT", "/v1/sandboxes/a", data=b"{}", headers={"content-type": kind})
    assert (status, problem["status"]) == (415, 415)


async def test_a_body_that_is_too_large_is_not_read(api: Served) -> None:
    status, problem, _ = await api.ask("PUT", "/v1/sandboxes/a", data=BytesIO(b" " * ((1 << 20) + 1)), headers=JSON)
    assert (status, problem["code"]) == (413, "body-too-large")

    async def endless() -> Any:
        for _ in range(64):
            yield b" " * 65536

    status, problem, _ = await api.ask("PUT", "/v1/sandboxes/a", data=endless(), headers=JSON)
    assert (status, problem["code"]) == (413, "body-too-large")


async def test_a_body_of_exactly_the_limit_is_read(api: Served) -> None:
    status, problem, _ = await api.ask("PUT", "/v1/sandboxes/a", data=BytesIO(b"1".rjust(1 << 20)), headers=JSON)
    assert (status, problem["code"]) == (422, "invalid")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "no-such-path"),
        ("GET", "/v1/sandboxes/none", 404, "not-found"),
        ("GET", "/v1/sandboxes/none/logs", 404, "not-found"),
        ("DELETE", "/v1/sandboxes/none", 404, "not-found"),
        ("GET", "/v1/workloads/shop/none", 404, "not-found"),
        ("DELETE", "/v1/workloads/shop/none", 404, "not-found"),
        ("POST", "/v1/sandboxes", 405, "no-such-method"),
        ("PATCH", "/v1/sandboxes/a", 405, "no-such-method"),
        ("OPTIONS", "/v1/sandboxes/a", 405, "no-such-method"),
        ("GET", "/v1/sandboxes?many=3", 400, "bad-query"),
        ("GET", "/v1/sandboxes/a?wait=forever", 400, "bad-query"),
        ("GET", "/v1/sandboxes/a?wait=100s", 400, "bad-query"),
        ("GET", "/v1/sandboxes/a?wait=1s&wait=2s", 400, "bad-query"),
        ("GET", "/v1/sandboxes/a/logs?lines=0", 400, "bad-query"),
        ("GET", "/v1/explain", 400, "bad-query"),
        ("GET", "/v1/watch/routes?workload=users", 400, "bad-query"),
    ],
)
async def test_every_refusal_is_a_problem_document(api: Served, method: str, path: str, status: int, code: str) -> None:
    answered, problem, headers = await api.ask(method, path)
    assert (answered, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:skycap:problem:{code}"
    assert headers["content-type"].startswith("application/problem+json")
    assert ("allow" in headers) == (status == 405)


async def test_a_query_is_refused_with_all_that_is_wrong(api: Served) -> None:
    _, problem, _ = await api.ask("GET", "/v1/explain?workload=x&kex=a")
    assert problem["problems"] == [
        {"path": "?kex", "message": "unknown parameter"},
        {"path": "?key", "message": "is required"},
        {"path": "?workload", "message": "'x' is not NAMESPACE/NAME, each a DNS label"},
    ]


async def test_head_is_get_without_the_body(api: Served) -> None:
    async with api.http.head(f"{api.url}/v1/sandboxes") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("application/json")
        assert await answer.read() == b""


async def test_the_list_is_by_name(api: Served) -> None:
    for name in ("c", "a", "b"):
        await api.client.apply(sandbox(name))
    assert [one.name for one in await api.client.sandboxes()] == ["a", "b", "c"]


async def test_delete_and_wait_for_the_end(api: Served) -> None:
    await api.client.apply(sandbox("a"))
    await api.client.wait("a")
    api.launcher.stop_gate = asyncio.Event()
    left = await api.client.delete("a")
    assert left is not None
    assert left.status is not None
    assert left.status.phase is Phase.DELETING
    assert await api.client.delete("a", seconds=0.05) is not None
    deleting = Tasks("test").begin(api.client.delete("a", seconds=10), "delete")
    await eventually(api.waited_for)
    api.launcher.stop_gate.set()
    assert await deleting is None
    with pytest.raises(RegistryError, match="there is no sandbox 'a'"):
        await api.client.delete("a")


async def test_waiting_returns_with_the_last_fork(api: Served) -> None:
    api.launcher.hold = {1}
    await api.client.apply(sandbox("a"))
    early = await api.client.wait("a", seconds=0.05)
    assert early.status is not None
    assert early.status.phase is Phase.PENDING
    tasks = Tasks("test")
    waiting = tasks.begin(api.client.wait("a", seconds=30), "wait")
    api.launcher.let()
    ready = (await waiting).status
    assert ready is not None
    assert ready.phase is Phase.READY


async def test_logs(api: Served) -> None:
    await api.client.apply(sandbox("a", fork(), fork("shop/cart", port=2)))
    await api.client.wait("a")
    api.launcher.failing[2] = LaunchError("broken", "one\ntwo")
    await api.client.apply(sandbox("a", fork(port=3), fork("shop/cart", port=2)))
    await api.client.wait("a")
    outputs = await api.client.logs("a", USERS, lines=1)
    assert [(one.revision, one.state, one.log) for one in outputs] == [
        (1, "running", f"line 200 of {outputs[0].log.split()[-1]}"),
        (2, "ended", "two"),
    ]
    assert len(await api.client.logs("a")) == 3
    with pytest.raises(RegistryError, match="does not fork shop/none"):
        await api.client.logs("a", "shop/none")


async def test_a_full_store_is_507_and_one_that_cannot_be_written_503(api: Served) -> None:
    api.store.problem = StoreError("the registry's store is full: nothing was changed", full=True)
    status, problem, _ = await api.ask("PUT", "/v1/sandboxes/a", json=document("a"))
    assert (status, problem["code"]) == (507, "store-full")
    api.store.problem = StoreError("the registry's store cannot be written: locked: nothing was changed")
    status, problem, headers = await api.ask("PUT", "/v1/sandboxes/a", json=document("a"))
    assert (status, problem["code"]) == (503, "store-unavailable")
    assert "retry-after" in headers
    api.store.problem = None
    assert await api.client.sandboxes() == []
    assert (await api.ask("GET", "/ready"))[0] == 200


async def test_a_fault_of_ours_is_a_500_without_a_traceback(
    api: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("controlplane.life.sandboxes.Sandboxes.names", lambda *_: 1 / 0)
    status, problem, _ = await api.ask("GET", "/v1/sandboxes")
    assert (status, problem["code"]) == (500, "internal-error")
    assert "ZeroDivisionError" not in str(problem)
    assert "ZeroDivisionError" in caplog.text


async def test_static_endpoints_can_be_limited() -> None:
    async with served(networks=(ip_network("10.0.0.0/8"),)) as api:
        status, problem, _ = await api.ask("PUT", "/v1/sandboxes/a", json=document("a"))
        assert (status, problem["problems"][0]["path"]) == (422, "spec.forks[0].endpoints[0]")


@pytest.mark.parametrize("forks", ["{}", '{"x":1}', '{"workload":"a/b","endpoints":["x"]}'])
async def test_a_document_of_many_wrong_values_is_refused_before_they_are_judged(
    api: Served, monkeypatch: pytest.MonkeyPatch, forks: str
) -> None:
    """A megabyte of them was seven seconds, in which nobody else was answered."""
    judged: list[object] = []
    monkeypatch.setattr("controlplane.api.sandboxes.parse_sandbox", lambda given, _: judged.append(given))
    count = 1_000_000 // (len(forks) + 1)
    text = f'{{"apiVersion":"x","kind":"x","metadata":{{}},"spec":{{"forks":[{",".join([forks] * count)}]}}}}'
    status, problem, _ = await api.ask(
        "PUT", "/v1/sandboxes/m", data=text, headers={"content-type": "application/json"}
    )
    assert (status, problem["problems"]) == (422, [{"path": "spec.forks", "message": "has more than 512 entries"}])
    assert judged == []


async def test_what_is_large_is_read_beside_the_loop(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[bool] = []
    real = body.parse_body

    def parse(data: bytes, entries: int) -> object:
        where.append(threading.current_thread() is threading.main_thread())
        return real(data, entries)

    monkeypatch.setattr(body, "parse_body", parse)
    small, large = document("a"), document("a", labels={"x": "y" * 20_000})
    for given in (small, large):
        await api.ask("PUT", "/v1/sandboxes/a", json=given)
    assert where == [True, False]


async def test_limits_that_the_machine_does_not_allow_are_told(api: Served) -> None:
    around = api.registry.sandboxes._around
    around.installation = replace(around.installation, limits="512m of memory", unlimited="read-only file system")
    await api.client.put_workload(Workload(workload=USERS, address="127.0.0.1:1", command=("true",)))
    await api.client.apply(document("a", {"workload": USERS, "command": ["true"]}))
    await api.client.apply(document("b"))

    async def told(name: str) -> list[tuple[str, str]]:
        status = (await api.client.sandbox(name)).status
        assert status is not None
        return [(one.status, one.message) for one in status.conditions if one.type == "LimitsInForce"]

    message = "512m of memory of each shadow are not limited, for this machine allows no control groups"
    assert await told("a") == [("False", f"{message}: read-only file system")]
    assert await told("b") == [], "who runs it, limits it"
    around.installation = replace(around.installation, unlimited="")
    assert await told("a") == [("True", "")]

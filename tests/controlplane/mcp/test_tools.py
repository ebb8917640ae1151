"""Each tool against a real registry, and what all of them have in common."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from mcp.client.extension import advertise
from mcp.types import TextResourceContents

from controlplane.asking.feedback import Evidence, judge
from controlplane.client import Client
from controlplane.launch.port import LaunchError
from controlplane.mcp.app import TRACE_URI
from controlplane.mcp.server import tools
from controlplane.model.workload import Readiness, Upstream, Workload
from proxy.contract.hops import HOPS_TYPE, INBOUND, OUTBOUND, Captured, Hop, encode_hop
from tests.controlplane.api.served import Served
from tests.controlplane.mcp.conftest import Agent
from tests.controlplane.sandboxes import sandbox as document

KEY = "agent-42"
FORK = {"workload": "shop/users", "command": "python users.py --port ${PORT}"}


def hop(number: int, **fields: Any) -> Hop:
    known = {"key": KEY, "workload": "shop/users", "side": INBOUND, "status": 200, "time": time.time(), **fields}
    return Hop(id=f"{number:016x}", **known)


async def tell(api: Served, *hops: Hop) -> None:
    batch = b"".join(map(encode_hop, hops))
    status, _, _ = await api.ask("POST", "/v1/hops", data=batch, headers={"content-type": HOPS_TYPE})
    assert status == 204


@pytest.fixture
async def users(api: Served, tmp_path: Path) -> None:
    """A baseline of shop/users, which runs in the folder `users`."""
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "users.py").write_text("print('the baseline')\n")
    await api.client.put_workload(
        Workload(
            workload="shop/users",
            address="127.0.0.1:9",
            command=("python", "users.py"),
            cwd=str(tmp_path / "users"),
            readiness=Readiness(path="/health"),
        )
    )


async def test_every_tool_is_described_typed_and_annotated(agent: Agent) -> None:
    listed = (await agent.client.list_tools()).tools
    assert len(listed) == len({tool.name for tool in listed})
    for tool in listed:
        assert tool.description is not None
        assert len(tool.description) > 80, tool.name
        assert tool.input_schema["additionalProperties"] is False
        assert tool.output_schema is not None
        assert "next_actions" in tool.output_schema["properties"]
        assert tool.annotations is not None
        assert None not in (
            tool.annotations.read_only_hint,
            tool.annotations.destructive_hint,
            tool.annotations.idempotent_hint,
        )
        for name, schema in tool.input_schema.get("properties", {}).items():
            words = schema.get("description") or any("description" in one for one in schema.get("anyOf", ()))
            plain = name in ("method", "limit", "timeout_seconds")
            assert words or plain, f"{tool.name}: {name} is not described"


async def test_what_ends_something_says_so(agent: Agent) -> None:
    listed = {tool.name: tool.annotations for tool in (await agent.client.list_tools()).tools}
    destructive = {name for name, annotations in listed.items() if annotations and annotations.destructive_hint}
    assert "delete_sandbox" in destructive
    assert not {name for name in destructive if name.startswith(("get_", "list_", "explain_", "assert_"))}


@pytest.mark.parametrize(
    ("tool", "arguments", "path", "message"),
    [
        ("get_sandbox", {}, "name", "is required"),
        ("get_sandbox", {"nam": "a"}, "nam", "unknown argument, did you mean name?"),
        ("get_sandbox", {"name": "No Label"}, "name", "is not a DNS label"),
        ("list_traffic", {"name": "a", "limit": 0}, "limit", "greater than or equal to 1"),
        ("list_traffic", {"name": "a", "since": "now"}, "since", "is not how long ago"),
        ("apply_sandbox", {"name": "a", "forks": [{"workload": "users"}]}, "forks[0].workload", "NAMESPACE/NAME"),
        ("apply_sandbox", {"name": "a", "forks": [{"workload": "a/b", "comand": "x"}]}, "forks[0].comand", "unknown"),
        ("apply_sandbox", {"name": "a", "forks": [{"workload": "a/b", "command": "x '"}]}, "forks[0].command", "quot"),
        ("apply_sandbox", {"name": "a"}, "forks", "is required"),
        ("apply_sandbox", {"name": "a", "forks": [{"workload": "a/b"}]}, "forks[0]", "says nothing"),
        ("apply_sandbox", {"name": "a", "forks": [{**FORK, "workload": "a/b"}], "ttl": "ever"}, "ttl", "a number with"),
        ("send_request", {"key": "a"}, "url", "either url, or workload"),
        ("send_request", {"key": "a", "url": "ftp://x/"}, "url", "is not a URL"),
        ("send_request", {"key": "a", "workload": "a/b", "path": "x"}, "path", "does not begin with /"),
        ("send_request", {"key": "a", "url": "http://x/", "method": "A B"}, "method", "is not a method"),
        ("send_request", {"key": "a", "url": "http://x/", "headers": {"a b": "c"}}, "headers.a b", "no header field"),
        ("send_request", {"key": "a", "url": "http://x/", "expect": ["users"]}, "expect", "NAMESPACE/NAME"),
    ],
)
async def test_a_wrong_argument_is_named_and_nothing_is_done(
    agent: Agent, api: Served, tool: str, arguments: dict[str, Any], path: str, message: str
) -> None:
    told = await agent.refused(tool, **arguments)
    assert [problem["path"] for problem in told["problems"]][:1] == [path]
    assert message in told["problems"][0]["message"]
    assert await api.client.sandboxes() == []


async def test_all_wrong_arguments_are_named_at_once(agent: Agent) -> None:
    told = await agent.refused("list_traffic", name="A", limit="many", colour="red")
    assert {problem["path"] for problem in told["problems"]} == {"name", "limit", "colour"}


async def test_a_list_that_comes_as_its_text_is_taken(agent: Agent, users: None) -> None:
    made = await agent.call("apply_sandbox", name=KEY, forks='[{"workload": "shop/users", "command": "python a.py"}]')
    assert made["sandbox"]["phase"] == "Ready"


@pytest.mark.parametrize("tool", ["get_sandbox", "get_feedback", "get_logs", "list_traffic", "delete_sandbox"])
async def test_a_sandbox_that_does_not_exist(agent: Agent, tool: str) -> None:
    told = await agent.refused(tool, name="nobody")
    assert told["code"] == "not-found"
    assert "nobody" in told["detail"]
    assert told["next_actions"][0]["tool"] == "list_sandboxes"


async def test_a_registry_that_is_down(agent: Agent, api: Served) -> None:
    await api.client.close()
    client = Client("http://127.0.0.1:9")
    try:
        (tool,) = [one for one in tools(client) if one.name == "list_workloads"]
        result = await tool.run({}, None)  # type: ignore[arg-type]
    finally:
        await client.close()
    assert result.structured_content["code"] == "registry-unreachable"
    assert "skycap up" in result.structured_content["detail"]


async def test_the_services_and_who_calls_whom(agent: Agent, api: Served, users: None) -> None:
    calls = Upstream(name="users", workload="shop/users", address="127.0.0.1:9")
    await api.client.put_workload(Workload(workload="shop/orders", address="127.0.0.1:8", upstreams=(calls,)))
    await agent.call("apply_sandbox", name=KEY, forks=[FORK], owner="ada", description="a new tier")
    await tell(
        api,
        hop(1, side=OUTBOUND, workload="shop/orders", peer="127.0.0.1:9", method="GET", path="/users/ada"),
        hop(2, parent=f"{1:016x}", method="GET", path="/users/ada"),
    )
    found = {one["workload"]: one for one in (await agent.call("list_workloads"))["services"]}
    assert found["shop/orders"]["calls"] == ["shop/users"]
    assert found["shop/users"]["called_by"] == ["shop/orders"]
    assert found["shop/users"]["example"]["url"] == "http://127.0.0.1:9/users/ada"
    assert found["shop/users"]["cwd"].endswith("/users")
    (fork,) = found["shop/users"]["forked_by"]
    assert (fork["sandbox"], fork["owner"], fork["description"]) == (KEY, "ada", "a new tier")
    (only,) = (await agent.call("list_workloads", workload="orders"))["services"]
    assert only["workload"] == "shop/orders"


async def test_many_services_still_fit(agent: Agent, api: Served) -> None:
    for number in range(80):
        name = f"shop/service-with-a-long-name-{number}"
        await api.client.put_workload(
            Workload(workload=name, address=f"127.0.0.1:{number + 1}", command=("python", "x"))
        )
    found = await agent.call("list_workloads")
    assert found["total"] == 80
    assert "full=true" in found["omitted"]
    assert len((await agent.call("list_workloads", full=True))["services"]) == 80


async def test_apply_ends_in_ready_and_says_what_is_next(agent: Agent, api: Served, users: None) -> None:
    made = await agent.call("apply_sandbox", name=KEY, forks=[FORK], ttl="1h", labels={"team": "a"})
    assert (made["sandbox"]["phase"], made["sandbox"]["revision"]) == ("Ready", 1)
    assert made["sandbox"]["forks"][0]["command"] == ["python", "users.py", "--port", "${PORT}"]
    assert made["next_actions"][0]["tool"] == "send_request"
    again = await agent.call("apply_sandbox", name=KEY, description="better said")
    assert again["sandbox"]["revision"] == 1
    kept = await api.client.sandbox(KEY)
    assert (kept.spec.ttl, kept.metadata.labels, kept.metadata.description) == ("1h", {"team": "a"}, "better said")


async def test_apply_ends_in_the_sentence_that_failed(agent: Agent, api: Served, users: None) -> None:
    api.launcher.failing[1] = LaunchError("`python users.py` ended with exit code 1", "Traceback\nKeyError: 'cents'")
    told = await agent.refused("apply_sandbox", name=KEY, forks=[FORK])
    assert told["code"] == "sandbox-failed"
    assert "ended with exit code 1" in told["detail"]
    assert "KeyError: 'cents'" in told["detail"]
    assert [action["tool"] for action in told["next_actions"]] == ["apply_sandbox", "get_logs"]


async def test_an_update_that_fails_leaves_the_one_before(agent: Agent, api: Served, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK])
    api.launcher.failing[2] = LaunchError("it died")
    told = await agent.refused("apply_sandbox", name=KEY, forks=[{**FORK, "env": {"A": "1"}}])
    assert told["code"] == "update-failed"
    assert (await agent.call("get_sandbox", name=KEY))["sandbox"]["forks"][0]["revision"] == 1


async def test_apply_tells_meanwhile_what_it_waits_for(agent: Agent, api: Served, users: None) -> None:
    api.launcher.hold.add(1)
    told = await agent.refused("apply_sandbox", name=KEY, forks=[FORK], wait_seconds=1.5)
    assert told["code"] == "not-ready"
    assert told["next_actions"][0] == {
        "tool": "get_sandbox", "arguments": {"name": KEY}, "command": "",
        "why": "it tells when it is ready, or why it is not",
    }  # fmt: skip
    assert any("shop/users is pending" in message for message in agent.progress)


async def test_a_workload_that_nobody_knows(agent: Agent, users: None) -> None:
    told = await agent.refused(
        "apply_sandbox", name=KEY, forks=[{"workload": "shop/user", "endpoints": ["127.0.0.1:1"]}]
    )
    assert told["code"] == "unknown-workload"
    assert "shop/users" in told["detail"]


async def test_a_key_that_belongs_to_somebody_else(agent: Agent, users: None) -> None:
    await agent.call("apply_sandbox", name="first", forks=[FORK], routing_key="shared")
    told = await agent.refused("apply_sandbox", name="second", forks=[FORK], routing_key="shared")
    assert told["problems"][0]["path"] == "routing_key"
    assert told["next_actions"][0]["tool"] == "list_sandboxes"


async def test_sandboxes_are_found_by_owner_label_and_words(agent: Agent, api: Served) -> None:
    for number in range(25):
        made = document(f"agent-{number}").document()
        made["metadata"] |= {
            "owner": f"owner-{number % 2}",
            "labels": {"n": str(number)},
            "description": f"try {number}",
        }
        await api.client.apply(made)
    found = await agent.call("list_sandboxes")
    assert (found["total"], len(found["sandboxes"])) == (25, 20)
    assert "offset=20" in found["omitted"]
    assert len((await agent.call("list_sandboxes", offset=20))["sandboxes"]) == 5
    assert (await agent.call("list_sandboxes", owner="owner-1"))["total"] == 12
    (one,) = (await agent.call("list_sandboxes", labels={"n": "7"}))["sandboxes"]
    assert one["description"] == "try 7"
    assert (await agent.call("list_sandboxes", text="try 24"))["total"] == 1
    assert await agent.text("list_sandboxes", text="nothing like it") == "there is no such sandbox"


async def test_files_are_pushed_and_the_sandbox_made(agent: Agent, api: Served, users: None) -> None:
    files = [{"path": "users.py", "text": "print('mine')\n"}, {"path": "more/new.py", "text": ""}]
    made = await agent.call("push_files", name=KEY, workload="shop/users", files=files, owner="ada", description="try")
    assert made["pushed"]["phase"] == "Ready"
    assert [file["path"] for file in made["pushed"]["filesChanged"]] == ["more/new.py", "users.py"]
    assert made["next_actions"][0]["arguments"] == {"key": KEY, "workload": "shop/users"}
    found = await api.client.sandbox(KEY)
    assert (found.metadata.owner, found.metadata.description) == ("ada", "try")
    diff = "--- a/users.py\n+++ b/users.py\n@@ -1 +1 @@\n-print('mine')\n+print('better')\n"
    again = await agent.call("push_files", name=KEY, workload="shop/users", diff=diff, removed=["more/new.py"])
    assert again["pushed"]["revision"] == 2
    kept = await agent.call("apply_sandbox", name=KEY, forks=[{"workload": "shop/users", "env": {"A": "1"}}])
    assert kept["sandbox"]["revision"] == 3
    (file,) = await api.client.files(KEY)
    assert "+print('better')" in (file.diff or "")


async def test_a_push_that_does_not_start_answers_with_the_traceback(agent: Agent, api: Served, users: None) -> None:
    api.launcher.failing[2] = LaunchError("`python users.py` ended with exit code 1", "NameError: name 'pirce'")
    files = [{"path": "users.py", "text": "a"}]
    await agent.call("push_files", name=KEY, workload="shop/users", files=files)
    told = await agent.refused("push_files", name=KEY, workload="shop/users", files=[{"path": "users.py", "text": "b"}])
    assert told["code"] == "update-failed"
    assert "NameError: name 'pirce'" in told["detail"]
    assert told["next_actions"][0]["tool"] == "push_files"


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ({}, "files"),
        ({"files": [{"path": "../x", "text": ""}]}, "files[0].path"),
        ({"files": [{"path": "x", "text": "", "base64": ""}]}, "files[0]"),
        ({"files": [{"path": "x", "base64": "?"}]}, "files[0].base64"),
        ({"diff": "--- a/users.py\n+++ b/users.py\n@@ -1 +1 @@\n-nothing like it\n+x\n"}, "diff[users.py]"),
        ({"removed": ["none.py"]}, "removed[0]"),
        ({"build": "make '"}, "build"),
    ],
)
async def test_a_push_that_cannot_be_changes_nothing(
    agent: Agent, api: Served, users: None, arguments: dict[str, Any], path: str
) -> None:
    told = await agent.refused("push_files", name=KEY, workload="shop/users", **arguments)
    assert told["problems"][0]["path"] == path
    assert await api.client.sandboxes() == []


async def test_back_to_an_earlier_revision(agent: Agent, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK])
    await agent.call("apply_sandbox", name=KEY, forks=[{**FORK, "command": "python worse.py"}])
    found = (await agent.call("rollback_sandbox", name=KEY))["sandbox"]
    assert (found["revision"], found["forks"][0]["command"][1]) == (3, "users.py")
    told = await agent.refused("rollback_sandbox", name=KEY, revision=9)
    assert "9" in told["detail"] + str(told["problems"])


async def test_a_longer_life(agent: Agent, api: Served, users: None) -> None:
    before = (await agent.call("apply_sandbox", name=KEY, forks=[FORK], ttl="1h"))["sandbox"]["expires"]
    assert (await agent.call("extend_sandbox", name=KEY, ttl="2h"))["sandbox"]["expires"] > before
    assert (await agent.refused("extend_sandbox", name=KEY, ttl="ever"))["problems"][0]["path"] == "ttl"


async def test_delete(agent: Agent, api: Served, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK])
    assert (await agent.call("delete_sandbox", name=KEY))["gone"] is True
    assert await api.client.sandboxes() == []


async def test_feedback_with_what_to_do_now(agent: Agent, api: Served, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK])
    said = Captured(body='{"detail": "no such table: users"}' + " " * 9_000, length=9_034)
    await tell(api, hop(1, status=500, sandbox=KEY, revision=1, path="/users", method="GET", response=said, trace="t"))
    found = await agent.call("get_feedback", name=KEY)
    assert found["feedback"]["verdict"] == "failing"
    assert "nextActions" not in found["feedback"]
    assert found["next_actions"][-1] == {
        "tool": "get_trace", "arguments": {"id": "t"}, "command": "skycap trace t",
        "why": "the whole way of one such request, with times and who served it",
    }  # fmt: skip
    assert "no such table" in await agent.text("get_feedback", name=KEY)
    assert "full=true" in found["omitted"]
    full = await agent.call("get_feedback", name=KEY, full=True)
    assert len(full["feedback"]["failures"][0]["response"]["body"]) > 9_000


async def test_traffic_in_pages_and_a_trace_as_a_tree(agent: Agent, api: Served, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK])
    await tell(
        api,
        hop(1, workload="shop/front", method="GET", path="/", trace="t", status=500),
        hop(
            2, workload="shop/front", side=OUTBOUND, parent=f"{1:016x}", peer="u:1", method="GET", path="/u", trace="t"
        ),
        hop(3, parent=f"{2:016x}", sandbox=KEY, revision=1, method="GET", path="/u", trace="t"),
    )
    page = await agent.call("list_traffic", name=KEY, limit=2)
    assert [line["position"] for line in page["requests"]] == [3, 2]
    assert [line["position"] for line in (await agent.call("list_traffic", name=KEY, before=2))["requests"]] == [1]
    (failed,) = (await agent.call("list_traffic", name=KEY, failed=True))["requests"]
    assert failed["workload"] == "shop/front"
    trace = await agent.call("get_trace", id="t")
    assert [(call.get("depth", 0), call["request"]) for call in trace["calls"]] == [
        (0, "GET /"),
        (1, "GET /u"),
    ]
    assert "└─ GET /u  200" in trace["tree"]
    assert "shop/users;sandbox=agent-42;rev=1" in trace["tree"]
    assert (await agent.refused("get_trace", id="nothing"))["code"] == "not-found"


async def test_logs_end_with_the_newest_line(agent: Agent, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK])
    (copy,) = (await agent.call("get_logs", name=KEY))["copies"]
    assert copy["log"].splitlines()[-1] == "line 200 of 1"
    assert (await agent.text("get_logs", name=KEY)).endswith("line 200 of 1")
    (copy,) = (await agent.call("get_logs", name=KEY, lines=2, workload="shop/users"))["copies"]
    assert copy["log"] == "line 199 of 1\nline 200 of 1"


async def test_a_claim_that_does_not_hold_says_why(agent: Agent, api: Served, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK])
    found = await agent.call("assert_routed", name=KEY, workload="shop/users")
    assert found["judged"]["holds"] is False
    assert found["next_actions"][0]["tool"] == "get_feedback"
    await tell(api, hop(1, sandbox=KEY, revision=1, trace="t"))
    assert (await agent.call("assert_routed", name=KEY, workload="shop/users"))["judged"]["holds"] is True
    told = await agent.refused("assert_routed", name=KEY, workload="shop/typo")
    assert told["problems"][0]["path"] == "workload"


async def test_where_a_request_goes(agent: Agent, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK])
    found = await agent.call("explain_route", key=KEY, workload="shop/users")
    assert (found["explanation"]["decision"], found["explanation"]["sandbox"]) == ("shadow", KEY)
    unknown = await agent.call("explain_route", key=KEY, workload="shop/uers")
    assert unknown["next_actions"][0]["tool"] == "list_workloads"


async def test_how_a_copy_answers_otherwise(agent: Agent, api: Served, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK])
    nothing = await agent.call("diff_sandbox", name=KEY)
    assert nothing["diff"]["sandbox"] == KEY
    assert nothing["diff"].get("compared", []) == []
    told = await agent.refused("diff_sandbox", name=KEY, workload="shop/typo")
    assert told["problems"][0]["path"] == "workload"


async def test_a_link_for_a_reviewer(agent: Agent, api: Served, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK])
    made = (await agent.call("create_preview", name=KEY, workload="shop/users", note="the tier", login="token"))[
        "preview"
    ]
    assert made["url"].startswith("http://")
    assert made["password"]
    assert made["url"] in await agent.text("create_preview", name=KEY, workload="shop/users") or made["handoff"]
    assert (await agent.call("revoke_preview", name=KEY, preview=made["id"]))["preview"] == made["id"]
    assert made["id"] not in {link.id for link in await api.client.previews(KEY)}
    assert (await agent.refused("revoke_preview", name=KEY, preview=made["id"]))["code"] == "not-found"
    assert (await agent.refused("create_preview", name=KEY, ttl="ever"))["problems"][0]["path"] == "ttl"


async def test_words_of_a_reviewer_reach_the_agent(agent: Agent, api: Served, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK], description="a new tier")
    words = {"text": "gold is not spelt so", "author": "ada", "verdict": "changes"}
    status, _, _ = await api.ask("POST", f"/v1/sandboxes/{KEY}/reviews", json=words)
    assert status == 201
    (said,) = (await agent.call("get_feedback", name=KEY))["reviews"]
    assert (said["text"], said["verdict"]) == ("gold is not spelt so", "changes")
    assert "ada (changes): gold is not spelt so" in await agent.text("get_feedback", name=KEY)
    (content,) = (await agent.client.read_resource(f"skycap://sandboxes/{KEY}/reviews")).contents
    assert isinstance(content, TextResourceContents)
    assert "gold is not spelt so" in content.text
    report = await agent.call("get_report", name=KEY)
    assert report["report"]["description"] == "a new tier"
    assert "gold is not spelt so" in await agent.text("get_report", name=KEY)


async def test_stubs_are_set_and_ended(agent: Agent, api: Served, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK])
    stub = {"name": "no-stock", "workload": "shop/users", "respond": {"status": 404, "body": "{}"}}
    (told,) = (await agent.call("set_stubs", name=KEY, stubs=[stub]))["stubs"]
    assert (told["name"], told["respond"]["status"]) == ("no-stock", 404)
    assert [one.name for one in await api.client.stubs(KEY)] == ["no-stock"]
    wrong = await agent.refused("set_stubs", name=KEY, stubs=[{**stub, "match": {"path": "items"}}])
    assert wrong["problems"][0]["path"] == "stubs[0].match.path"
    assert (await agent.call("set_stubs", name=KEY, stubs=[])).get("stubs", []) == []
    assert await api.client.stubs(KEY) == []


async def test_a_request_to_nobody(agent: Agent, users: None) -> None:
    told = await agent.refused("send_request", key=KEY, workload="shop/users")
    assert told["code"] == "no-answer"
    assert "refused" in told["detail"]
    assert (await agent.refused("send_request", key=KEY, workload="shop/none"))["code"] == "unknown-workload"


async def test_every_next_action_of_feedback_can_be_called(api: Served) -> None:
    """Feedback names tools and their arguments: whoever follows it must get through."""
    known = {tool.name: set(tool.parameters.get("properties", {})) for tool in tools(api.client)}
    lost = hop(1, workload="shop/front", side=OUTBOUND, peer="u:1", lost=True, method="GET", path="/u")
    failing = hop(2, status=500, sandbox=KEY, revision=1, method="GET", path="/u", trace="t")
    for hops in ([], [lost], [failing], [hop(3)]):
        for action in judge(Evidence(document(KEY), hops)).next_actions:
            if action.tool == "push_files" and action.tool not in known:
                continue  # this environment takes no files
            assert set(action.arguments) <= known[action.tool], action
            assert all(action.arguments.values()), action


async def test_resources(agent: Agent, api: Served, users: None) -> None:
    await agent.call("apply_sandbox", name=KEY, forks=[FORK])
    await tell(api, hop(1, trace="t", method="GET", path="/u"))
    for uri, said in (
        ("skycap://environment", "shop/users"),
        (f"skycap://sandboxes/{KEY}", '"phase":"Ready"'),
        ("skycap://traces/t", '"path":"/u"'),
    ):
        (content,) = (await agent.client.read_resource(uri)).contents
        assert isinstance(content, TextResourceContents)
        assert said in content.text
    with pytest.raises(Exception, match="not-found"):
        await agent.client.read_resource("skycap://sandboxes/nobody")


async def test_prompts(agent: Agent) -> None:
    assert {prompt.name for prompt in (await agent.client.list_prompts()).prompts} == {"loop", "diagnose"}
    told = await agent.client.get_prompt("loop", {"change": "prices in cents"})
    assert "prices in cents" in str(told.messages[0].content)
    told = await agent.client.get_prompt("diagnose", {"name": KEY})
    assert KEY in str(told.messages[0].content)


async def test_every_tool_that_a_prompt_or_the_instructions_name_exists(agent: Agent, api: Served) -> None:
    known = {tool.name for tool in tools(api.client)}
    texts = [agent.client.instructions or ""]
    for prompt, arguments in (("loop", {"change": "x"}), ("diagnose", {"name": "x"})):
        texts.append(str((await agent.client.get_prompt(prompt, arguments)).messages[0].content))
    verbs = ("list_", "get_", "apply_", "send_", "assert_", "explain_", "delete_", "push_", "rollback_", "set_")
    words = {word.strip(".,:;()`'\"") for text in texts for word in text.replace("\\n", " ").split()}
    assert {word for word in words if word.startswith(verbs)} <= known


async def test_the_tree_is_offered_as_an_app(agent: Agent) -> None:
    listed = {tool.name: tool.meta for tool in (await agent.client.list_tools()).tools}
    for name in ("get_trace", "send_request"):
        meta = listed[name]
        assert meta is not None
        assert meta["ui"]["resourceUri"] == TRACE_URI
    (page,) = (await agent.client.read_resource(TRACE_URI)).contents
    assert isinstance(page, TextResourceContents)
    assert page.mime_type == "text/html;profile=mcp-app"
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert advertise("io.modelcontextprotocol/ui").identifier in str(agent.client.server_capabilities)

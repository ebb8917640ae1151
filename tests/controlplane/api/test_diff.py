"""Recorded requests once more, to a baseline and a shadow that are real servers behind one address."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controlplane.api.access import Role
from controlplane.asking.replay import REPLAY
from controlplane.client import RegistryError
from controlplane.model.copy_log import CopyLog
from controlplane.model.diff import DiffQuery
from controlplane.model.feedback import Kind, Verdict
from controlplane.model.workload import Workload
from controlplane.process.stamped import stamp
from proxy.contract.hops import INBOUND, OUTBOUND, Captured, Hop
from tests.controlplane.api.served import TOKENS, Served
from tests.controlplane.api.test_feedback import tell
from tests.controlplane.sandboxes import sandbox as document

KEY = "agent-42"
SHADOW = {"sandbox": KEY, "revision": 1, "decision": "shadow"}


class Copies:
    """What the sidecar of shop/users does: the baseline answers, or, for the key, the shadow."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.address = ""
        self.served = f"shop/users;sandbox={KEY};rev=1"
        self._count = itertools.count()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        shadow = KEY in request.headers.get("baggage", "")
        if request.path == "/closed" and "authorization" not in request.headers:
            return web.json_response({}, status=401, headers={"skycap-served-by": self.served} if shadow else {})
        body: dict[str, Any] = {"name": "Ada", "at": next(self._count), "language": request.headers.get("x-language")}
        body |= {} if shadow else {"cents": 100}
        return web.json_response(body, headers={"skycap-served-by": self.served} if shadow else {})


@pytest.fixture
async def copies() -> AsyncIterator[Copies]:
    copies = Copies()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", copies.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    copies.address = f"127.0.0.1:{runner.addresses[0][1]}"
    yield copies
    await runner.cleanup()


@pytest.fixture
async def sandbox(api: Served, copies: Copies) -> None:
    await api.client.put_workload(Workload(workload="shop/users", address=copies.address))
    await api.client.apply(document(KEY))
    await api.client.wait(KEY, 10)


def hop(number: int, **fields: Any) -> Hop:
    known: dict[str, Any] = {
        "workload": "shop/users",
        "side": INBOUND,
        "status": 200,
        "time": time.time(),
        "method": "GET",
    } | fields
    return Hop(id=f"{number:016x}", key=KEY, **known)


async def test_what_the_shadow_answers_otherwise_and_what_is_noise(api: Served, copies: Copies, sandbox: None) -> None:
    captured = Captured(headers=(("x-language", "fr"), ("cookie", "(redacted)"), ("host", "users"), ("baggage", "a=b")))
    await tell(
        api,
        hop(1, path="/users/ada", request=captured, **SHADOW),
        hop(2, path="/users/ada", **SHADOW),
        hop(3, path="/users", method="POST", **SHADOW),
        hop(4, path="/users/bob", workload="shop/front"),
        hop(5, path="/users/ada", side=OUTBOUND),
    )
    found = await api.client.diff(KEY, DiffQuery())
    (one,) = found.compared
    assert (one.request, one.headers, one.baseline_status, one.shadow_status) == ("GET /users/ada", True, 200, 200)
    assert [(each.path, each.change.value, each.baseline) for each in one.differs] == [("body.cents", "removed", 100)]
    assert one.noise == ("body.at",)
    assert found.skipped == {"POST may change something": 1}
    assert found.sentence == (
        "1 of 1 requests are answered differently: GET /users/ada without `cents`, which the baseline sends"
    )
    assert not found.same
    assert len(copies.asked) == 3
    for request in copies.asked:
        assert (request.headers["x-language"], "cookie" in request.headers) == ("fr", False)
        assert request.headers["traceparent"].startswith(f"00-{REPLAY}")
        assert request.headers.get("baggage", "") in ("", f"routing-key={KEY}")


async def test_what_was_sent_again_counts_nowhere(api: Served, sandbox: None) -> None:
    """Nor does what it led to, which may have a trace of its own."""
    mine = hop(1, trace=f"{REPLAY}0123456789abcdef", status=500, **SHADOW)
    await tell(api, mine, hop(2, workload="shop/pay", parent=mine.id, status=500, trace="other"))
    found = await api.client.feedback(KEY)
    assert (found.verdict, found.routing.requests) == (Verdict.NO_TRAFFIC, 0)


async def test_the_suspect_of_a_failure_is_compared_once(api: Served, copies: Copies, sandbox: None) -> None:
    """The sentence names the field that is missing, and a viewer who asks again asks nobody else."""
    entry = hop(1, workload="shop/front", status=500, path="/checkout")
    call = hop(2, workload="shop/front", side=OUTBOUND, parent=entry.id, path="/users/ada")
    await tell(api, entry, call, hop(3, parent=call.id, path="/users/ada", **SHADOW))
    for _ in range(2):
        found = await api.client.feedback(KEY)
        assert found.failures[0].kind is Kind.CONTRACT_BREAK
        assert found.summary == (
            "shop/front failed (500) right after your shop/users revision 1 answered GET /users/ada with 200 without "
            "`cents`, which the baseline sends"
        )
    suspect = found.failures[0].suspect
    assert suspect is not None
    assert suspect.baseline_answer is not None
    assert '"cents": 100' in str(suspect.baseline_answer.body)
    assert len(copies.asked) == 3


@pytest.mark.parametrize(
    ("recorded", "served", "problem"),
    [
        ("/closed", "", "without its header fields the baseline answers 401; `capture: all` keeps them"),
        ("/users/ada", "shop/users;baseline", "the shadow did not answer it"),
    ],
)
async def test_why_it_could_not_be_compared(
    api: Served, copies: Copies, sandbox: None, recorded: str, served: str, problem: str
) -> None:
    copies.served = served or copies.served
    await tell(api, hop(1, path=recorded, **SHADOW))
    found = await api.client.diff(KEY, DiffQuery())
    assert found.compared[0].problem.startswith(problem)
    assert not found.same


async def test_without_a_baseline_or_without_a_request(api: Served, copies: Copies) -> None:
    await api.client.apply(document(KEY))
    await api.client.wait(KEY, 10)
    found = await api.client.diff(KEY, DiffQuery())
    assert (found.same, "no request was recorded that could be sent again" in found.sentence) == (False, True)
    await tell(api, hop(1, path="/x", **SHADOW))
    found = await api.client.diff(KEY, DiffQuery())
    assert found.compared[0].problem == "no baseline of shop/users is registered"


async def test_a_question_that_does_not_fit(api: Served, sandbox: None) -> None:
    with pytest.raises(RegistryError, match="it forks shop/users"):
        await api.client.diff(KEY, DiffQuery(workload="shop/typo"))
    status, problem, _ = await api.ask("POST", f"/v1/sandboxes/{KEY}/diff", json={"requests": 0, "colour": 1})
    assert (status, {one["path"] for one in problem["problems"]}) == (422, {"requests", "colour"})


# What copies wrote.


@pytest.fixture
async def logged(api: Served, tmp_path: Path) -> float:
    """A baseline of shop/front that writes; the time of its second line."""
    log = tmp_path / "front.log"
    await api.client.put_workload(
        Workload(workload="shop/front", address="127.0.0.1:1", log=str(log), env={"PASSWORD": "hunter-2-secret"})
    )
    await api.client.apply(document(KEY))
    await api.client.wait(KEY, 10)
    now = time.time()
    log.write_text(f"{stamp(now - 60)} long ago\n{stamp(now)} KeyError: 'cents' hunter-2-secret\n")
    return now


async def test_logs_of_a_baseline_of_a_trace_and_of_a_window(api: Served, logged: float) -> None:
    whole = await api.client.workload_logs("shop/front")
    assert whole.log.splitlines() == ["long ago", "KeyError: 'cents' hunter-2-secret"]
    assert (await api.client.logs(KEY, "shop/front", since="30s")) == [
        CopyLog(workload="shop/front", revision=0, state="running", log="KeyError: 'cents' hunter-2-secret")
    ]
    await tell(api, hop(1, workload="shop/front", status=500, trace="t", time=logged))
    (copy,) = await api.client.logs(KEY, trace="t")
    assert (copy.workload, copy.revision, copy.log) == ("shop/front", 0, "KeyError: 'cents' hunter-2-secret")
    failure = (await api.client.feedback(KEY)).failures[0]
    assert failure.output[0].lines == ("KeyError: 'cents' hunter-2-secret",)
    assert failure.output[0].window is not None
    assert failure.output[0].window.since < logged < failure.output[0].window.until


async def test_a_viewer_sees_no_value_of_a_variable_in_a_log(api: Served, logged: float) -> None:
    await tell(api, hop(1, workload="shop/front", status=500, trace="t", time=logged))
    viewer = {"authorization": f"Bearer {TOKENS[Role.VIEWER]}"}
    for path in ("workloads/shop/front/logs", f"sandboxes/{KEY}/logs?trace=t", f"sandboxes/{KEY}/feedback"):
        async with api.http.get(f"{api.url}/v1/{path}", headers=viewer) as answer:
            text = await answer.text()
        assert ("KeyError" in text, "hunter" in text, "(hidden)" in text) == (True, False, True), path


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("workloads/shop/none/logs", "no baseline of shop/none is registered"),
        (f"sandboxes/{KEY}/logs?workload=shop/none", "does not fork shop/none, and nobody here keeps its baseline"),
        (f"sandboxes/{KEY}/logs?trace=none", "no hop of trace 'none' is kept"),
        ("sandboxes/nobody/logs?trace=t", "there is no sandbox 'nobody'"),
    ],
)
async def test_logs_that_are_not_there(api: Served, logged: float, path: str, said: str) -> None:
    status, problem, _ = await api.ask("GET", f"/v1/{path}")
    assert (status, said in problem["detail"]) == (404, True), problem


async def test_a_baseline_whose_output_nobody_keeps(api: Served) -> None:
    await api.client.put_workload(Workload(workload="shop/users", address="127.0.0.1:1"))
    with pytest.raises(RegistryError, match="nobody here keeps the output of shop/users"):
        await api.client.workload_logs("shop/users")

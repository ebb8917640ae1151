"""Judgements from evidence: which failure, whose, in which words, and what to do."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from controlplane.asking.advice import FALLBACK, forwarding
from controlplane.asking.failures import failures
from controlplane.asking.feedback import Evidence, judge
from controlplane.asking.quoted import Comparison, Lines, wanted, with_comparison, with_output
from controlplane.model.diff import Change, Difference
from controlplane.model.feedback import Feedback, Kind, Verdict
from controlplane.model.sandbox import Sandbox
from proxy.contract.hops import INBOUND, OUTBOUND, Captured, Hop
from tests.controlplane.sandboxes import document

NAME = "agent-42"
TIME = "2030-01-01T00:00:00Z"


def sandbox(workload: str = "shop/users", state: str = "ready", message: str = "") -> Sandbox:
    whole = document(NAME, {"workload": workload, "endpoints": ["127.0.0.1:9"]})
    whole["status"] = {
        "phase": "Ready" if state == "ready" else "Failed", "revision": 3, "created": TIME, "updated": TIME,
        "expires": TIME, "forks": [{"workload": workload, "state": state, "revision": 3, "message": message}],
    }  # fmt: skip
    return Sandbox.model_validate(whole)


def answer(document: object, **fields: Any) -> Captured:
    text = document if isinstance(document, str) else json.dumps(document)
    return Captured(body=text, length=len(text), **fields)


class Chain:
    """The hops of one request, put down in the order of the calls: `call` goes one service further in, `back` out."""

    def __init__(self, trace: str = "t") -> None:
        self.hops: list[Hop] = []
        self._trace = trace
        self._way: list[int] = []

    def _add(self, workload: str, side: str, status: int, **fields: Any) -> None:
        number = len(self.hops)
        parent = self.hops[self._way[-1]].id if self._way else ""
        known = {"method": "GET", "path": "/", "time": float(number), "duration_ms": 10.0, **fields}
        ident = f"{self._trace.encode().hex():0>8.8}{number:08x}"
        self.hops.append(
            Hop(ident, NAME, workload, side, parent=parent, trace=self._trace, status=status, **known)
        )  # fmt: skip
        self._way.append(number)

    def entry(self, workload: str, status: int, **fields: Any) -> Chain:
        self._add(workload, INBOUND, status, **fields)
        return self

    def call(self, caller: str, workload: str, status: int, **fields: Any) -> Chain:
        """A call that reached a service with a sidecar."""
        peer = f"{workload.partition('/')[2]}:80"
        self._add(caller, OUTBOUND, status, peer=peer, method=fields.get("method", "GET"), path=fields.get("path", "/"))
        self._add(workload, INBOUND, status, **fields)
        return self

    def out(self, caller: str, peer: str, status: int, **fields: Any) -> Chain:
        """A call that no sidecar told of at its other end."""
        self._add(caller, OUTBOUND, status, peer=peer, **fields)
        return self

    def back(self, hops: int = 2) -> Chain:
        del self._way[-hops:]
        return self


SHADOW = {"sandbox": NAME, "revision": 3, "decision": "shadow"}


def feedback(
    *chains: Chain,
    of: Sandbox | None = None,
    output: Lines | None = None,
    compared: Comparison | None = None,
    **evidence: Any,
) -> Feedback:
    hops = [hop for chain in chains for hop in chain.hops]
    found = [with_output(failure, output or {}) for failure in failures(hops, NAME)]
    if compared is not None:
        found = [with_comparison(failure, compared) if failure.suspect else failure for failure in found]
    return judge(Evidence(of or sandbox(), hops, found, **evidence))


def test_all_is_well() -> None:
    well = Chain().entry("shop/front", 200).call("shop/front", "shop/users", 200, **SHADOW)
    found = feedback(well)
    assert found.verdict is Verdict.PASSING
    assert found.summary == "1 request, none failed; 1 reached your shop/users"
    assert (found.next_actions, found.unknown) == ((), ())


def test_a_refusal_two_hops_down_that_the_shadow_turns_into_a_500() -> None:
    chain = (
        Chain()
        .entry("shop/front", 500, path="/checkout", method="POST")
        .call("shop/front", "shop/users", 500, path="/users", **SHADOW)
        .call("shop/users", "shop/payments", 402, path="/charge", response=answer({"error": "card declined"}))
    )
    found = feedback(chain, output={("shop/users", 3): ["calling", "RefusedError: 402"]})
    (failure,) = found.failures
    assert found.verdict is Verdict.FAILING
    assert (failure.kind, failure.workload, failure.status, failure.called_by) == (
        Kind.ANSWERED, "shop/payments", 402, "shop/users",
    )  # fmt: skip
    assert failure.sentence == (
        "shop/payments (baseline) answered GET /charge with 402: card declined; shop/users (revision 3) made 500 of "
        "it; shop/users printed: RefusedError: 402"
    )
    assert [(step.workload, step.copy_, step.status) for step in failure.chain] == [
        ("shop/front", "baseline", 500),
        ("shop/users", "revision 3", 500),
        ("shop/payments", "baseline", 402),
    ]
    assert [printed.workload for printed in failure.output] == ["shop/users"]
    assert found.next_actions[0].arguments == {"name": NAME, "workload": "shop/users"}
    assert "your shop/users made the call" in found.next_actions[0].why


def test_a_caller_that_chokes_on_the_shadows_answer_names_it_as_the_suspect() -> None:
    chain = (
        Chain()
        .entry("trips/pricing", 500, path="/price")
        .call("trips/pricing", "trips/rates", 200, path="/rates/eur", response=answer({"rate": 1}), **SHADOW)
    )
    frames = ["Traceback (most recent call last):", '  File "app.py", line 13, in price', "KeyError: 'cents'"]
    printed: Lines = {("trips/pricing", 0): frames, ("trips/rates", 3): []}
    differs = (Difference(path="body.cents", change=Change.REMOVED, baseline=100),)
    found = feedback(chain, of=sandbox("trips/rates"), output=printed, compared=Comparison(differs=differs))
    (failure,) = found.failures
    assert failure.kind is Kind.CONTRACT_BREAK
    assert found.summary == (
        "trips/pricing failed (500) right after your trips/rates revision 3 answered GET /rates/eur with 200 without "
        "`cents`, which the baseline sends; trips/pricing printed: KeyError: 'cents' (app.py:13)"
    )
    assert failure.suspect is not None
    assert (failure.suspect.workload, failure.suspect.revision) == ("trips/rates", 3)
    assert failure.suspect.shadow_answer is not None
    why = found.next_actions[0].why
    assert why.startswith("your trips/rates answers without `cents`, which the baseline sends: send")


def test_a_caller_that_refuses_what_the_shadow_told_it_names_it_as_well() -> None:
    said = answer({"error": "the currency must be one of EUR, CHF"})
    chain = (
        Chain()
        .entry("shop/front", 400)
        .call("shop/front", "shop/payments", 400, path="/charges", response=said)
        .call("shop/payments", "shop/users", 200, path="/users/ada", **SHADOW)
    )
    found = feedback(chain)
    assert found.summary == (
        "shop/payments failed (400) right after your shop/users revision 3 answered GET /users/ada with 200: "
        "the currency must be one of EUR, CHF"
    )
    assert "the fault is in your shop/users" in found.next_actions[0].why


def test_a_refusal_by_the_caller_is_its_own_decision() -> None:
    """A 404 right after a good answer of the shadow blames nobody else."""
    chain = Chain().entry("shop/front", 404).call("shop/front", "shop/users", 200, **SHADOW)
    (failure,) = feedback(chain).failures
    assert (failure.kind, failure.workload) == (Kind.ANSWERED, "shop/front")


def test_a_shadow_that_crashes() -> None:
    chain = Chain().entry("shop/front", 502).call("shop/front", "shop/users", 502, error="upstream-reset", **SHADOW)
    found = feedback(chain, output={("shop/users", 3): ["Traceback (most recent call last):", "MemoryError"]})
    (failure,) = found.failures
    assert failure.kind is Kind.CRASHED
    assert "shop/users (revision 3) ended its connection in the middle of GET /" in found.summary
    assert found.summary.endswith("shop/users printed: MemoryError")


def test_a_shadow_that_never_gets_ready() -> None:
    stuck = sandbox(state="failed", message="it ended with 1 before it answered\nImportError: no module x")
    found = feedback(of=stuck)
    assert found.verdict is Verdict.NOT_READY
    assert "ImportError: no module x" in found.summary
    assert [action.tool for action in found.next_actions] == ["get_logs", "push_files"]


def test_a_slow_shadow_that_its_caller_does_not_wait_for() -> None:
    slow = {"error": "client-lost", "duration_ms": 2004.0, "path": "/users"}
    chain = Chain().entry("shop/front", 504).call("shop/front", "shop/users", 0, **slow, **SHADOW)
    (failure,) = feedback(chain).failures
    assert failure.kind is Kind.TIMED_OUT
    assert failure.sentence == (
        "shop/users (revision 3) had not answered GET /users after 2.0 s, and shop/front did not wait longer; "
        "shop/front (baseline) made 504 of it"
    )


def test_an_application_that_a_sidecar_does_not_wait_for() -> None:
    chain = Chain().entry("shop/front", 504, error="app-timeout", duration_ms=300_000.0)
    (failure,) = feedback(chain).failures
    assert "had not answered GET / after 300.0 s, and the sidecar waited no longer" in failure.sentence


def test_a_connection_that_is_refused() -> None:
    reason = answer({"detail": "the upstream at mail:25 does not accept connections: connection refused"})
    chain = (
        Chain()
        .entry("shop/users", 500, **SHADOW)
        .out("shop/users", "mail:25", 502, error="app-unreachable", response=reason, method="POST")
    )
    (failure,) = feedback(chain).failures
    assert failure.kind is Kind.UNREACHABLE
    assert failure.sentence == (
        "shop/users called POST / at mail:25, where nobody accepts connections: connection refused; "
        "shop/users (revision 3) made 500 of it"
    )


def test_a_baseline_that_is_down() -> None:
    chain = Chain().entry("shop/front", 502).call("shop/front", "shop/pay", 502, error="app-unreachable")
    found = feedback(chain)
    assert found.failures[0].sentence.startswith("shop/pay (baseline) does not accept connections")
    assert found.next_actions[0].command == "skycap doctor"


def test_a_failing_service_without_a_sidecar() -> None:
    chain = Chain().entry("shop/users", 500, **SHADOW).out("shop/users", "legacy:8080", 500, response=answer("boom"))
    found = feedback(chain)
    assert found.failures[0].kind is Kind.UNSEEN
    assert "legacy:8080 has no sidecar" in found.next_actions[0].why
    assert found.failures[0].sentence.startswith(
        "legacy:8080, which has no sidecar, answered GET / of shop/users with 500: boom"
    )
    assert found.unknown == ("legacy:8080 has no sidecar: what happened behind it is not known",)


def test_what_fails_behind_a_service_without_a_sidecar_is_found_by_trace_and_time() -> None:
    chain = Chain().entry("shop/users", 502, **SHADOW)
    chain.out("shop/users", "legacy:8080", 502, response=answer("bad gateway"), duration_ms=5000.0)
    behind = Chain().entry("shop/payments", 500, response=answer({"error": "no rate for XYZ"}))
    late = [replace(hop, id=f"{at + 9:016x}", time=3.0) for at, hop in enumerate(behind.hops)]
    before = list(chain.hops)
    chain.hops = before + late
    found = feedback(chain)
    (failure,) = found.failures
    assert failure.sentence.startswith("shop/payments (baseline) answered GET / with 500: no rate for XYZ")
    assert [step.workload for step in failure.chain] == ["shop/users", "legacy:8080", "shop/payments"]
    assert "that it made the next call is told by the trace and the time alone" in found.unknown[0]
    chain.hops = before + [replace(hop, time=30.0) for hop in late]
    assert len(feedback(chain).failures) == 2


def test_a_suspect_that_was_not_compared_says_why() -> None:
    chain = Chain().entry("shop/front", 500).call("shop/front", "shop/users", 200, method="POST", **SHADOW)
    found = feedback(chain, compared=Comparison(not_compared="POST may change something"))
    assert "was not compared with the baseline's: POST may change something" in found.unknown[0]


def test_whose_output_is_wanted_and_when() -> None:
    """The origin's first, then its suspect's, then its callers', each around its own request."""
    chain = Chain().entry("shop/front", 500).call("shop/front", "shop/pay", 500)
    chain.call("shop/pay", "shop/users", 200, **SHADOW)
    (failure,) = failures(chain.hops, NAME)
    assert [(copy.workload, copy.revision) for copy in wanted(failure)] == [
        ("shop/pay", 0), ("shop/users", 3), ("shop/front", 0),
    ]  # fmt: skip
    assert (wanted(failure)[0].window.since, wanted(failure)[0].window.until) == (2 - 0.1, 2 + 0.01 + 2.0)


def test_a_key_that_a_service_loses() -> None:
    chain = Chain().entry("shop/front", 200).call("shop/front", "shop/users", 200, **SHADOW).back()
    chain.out("shop/front", "catalog:80", 200, lost=True, path="/list")
    found = feedback(chain, programs={"shop/front": "/usr/bin/python3"})
    assert found.verdict is Verdict.LOST_KEY
    (lost,) = found.lost_keys
    assert (lost.workload, lost.calling, lost.example) == ("shop/front", "catalog:80", "GET /list")
    assert "opentelemetry-instrument" in lost.todo
    assert found.summary.startswith("shop/front may lose the key when it calls catalog:80 (GET /list)")


def test_a_fallback_by_policy() -> None:
    fallen = {"decision": "fallback", "reason": "shadow-unreachable"}
    chain = Chain().entry("shop/front", 200).call("shop/front", "shop/users", 200, **fallen)
    found = feedback(chain)
    assert found.verdict is Verdict.MISROUTED
    assert found.summary == (
        "no request to shop/users reached the shadow of sandbox agent-42: 1 shadow-unreachable"
    )  # fmt: skip
    assert found.routing.forks[0].elsewhere == {"shadow-unreachable": 1}
    assert [action.command for action in found.next_actions] == [
        "skycap sandbox logs agent-42", "skycap explain agent-42 shop/users",
    ]  # fmt: skip


def test_a_fallback_beside_requests_that_were_well_served() -> None:
    fallen = {"decision": "fallback", "reason": "shadow-unreachable"}
    well = Chain("t1").entry("shop/front", 200).call("shop/front", "shop/users", 200, **SHADOW)
    chain = Chain("t2").entry("shop/front", 200).call("shop/front", "shop/users", 200, **fallen)
    found = feedback(well, chain)
    assert (found.verdict, found.summary) == (
        Verdict.MISROUTED, "1 of 2 requests to shop/users got another answer: 1 shadow-unreachable",
    )  # fmt: skip


def test_requests_that_never_come_to_the_fork() -> None:
    found = feedback(Chain().entry("shop/front", 200))
    assert found.verdict is Verdict.MISROUTED
    assert "nothing of your change was run" in found.summary


def test_a_misspelt_key() -> None:
    found = feedback(strangers={"agent-24": 3, "other": 9})
    assert found.verdict is Verdict.MISROUTED
    assert "3 with 'agent-24', which nobody has" in found.summary
    assert found.next_actions[0].command.startswith("skycap request agent-42")


def test_no_request_at_all() -> None:
    found = feedback(strangers={"entirely-different": 1})
    assert found.verdict is Verdict.NO_TRAFFIC
    assert "baggage: routing-key=agent-42" in found.next_actions[0].why


def test_a_circle_of_redirects() -> None:
    chains = [Chain(f"t{number}").entry("shop/users", 302, path="/login", **SHADOW) for number in range(10)]
    found = feedback(*chains)
    assert found.verdict is Verdict.FAILING
    assert found.summary == (
        "shop/users (revision 3) answered GET /login 10 times with 302: it redirects in a circle, or its client does "
        "not follow"
    )
    assert feedback(*chains[:9]).failures == ()
    turns = [Chain(f"t{number}").entry("shop/users", 302, path=f"/{number % 2}", **SHADOW) for number in range(10)]
    assert "answered GET /0 and /1 10 times with 302" in feedback(*turns).summary
    others = [Chain(f"t{number}").entry("shop/users", 302, path=f"/{number}", **SHADOW) for number in range(20)]
    assert feedback(*others).failures == ()


def test_failures_with_one_origin_are_told_once() -> None:
    chains = [
        Chain(f"t{number}").entry("shop/front", 500).call("shop/front", "shop/users", 500, path=f"/users/{number}?x")
        for number in range(4)
    ]
    chains.append(Chain("z").entry("shop/front", 404, path="/other"))
    found = feedback(*chains)
    assert [(failure.workload, failure.count) for failure in found.failures] == [("shop/users", 4), ("shop/front", 1)]
    assert found.failures[0].example == "t3"
    assert found.summary.endswith("and 1 more kinds of failure")


def test_a_shadow_whose_own_sidecar_tells_as_well_is_counted_once() -> None:
    chain = Chain().entry("shop/users", 200, **SHADOW).entry("shop/users", 200, **SHADOW)
    assert feedback(chain).routing.forks[0].shadow == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"detail": "a", "error": "b"}', "a"),
        ('{"error": {"message": "deep", "code": 1}}', "deep"),
        ('{"errors": [{"field": "x"}]}', '[{"field": "x"}]'),
        ('{"ok": false}', '{"ok": false}'),
        ("  two\n lines ", "two lines"),
        ("x" * 300, "x" * 197 + "..."),
    ],
)
def test_an_answers_own_words(body: str, words: str) -> None:
    chain = Chain().entry("shop/front", 500, response=answer(body))
    assert feedback(chain).failures[0].sentence == f"shop/front (baseline) answered GET / with 500: {words}"


def test_what_was_not_kept_is_said() -> None:
    gone = Captured(omitted="no room")
    chain = Chain().entry("shop/front", 500, response=gone)
    chain.hops.append(replace(chain.hops[0], id="f" * 16, parent="e" * 16, status=200, response=None))
    assert feedback(chain).unknown == (
        "the answer of shop/front was not kept: too many failed at once",
        "the cause of 1 hop is not kept any more, or was not told yet",
    )


@pytest.mark.parametrize(
    ("program", "word"),
    [
        ("python3.12", "opentelemetry-instrument"), ("/usr/bin/node", "auto-instrumentations"), ("java", "javaagent"),
        ("go", "otelhttp"), ("dotnet", "HttpClient"), ("ruby", "gem"), ("php-fpm", "extension"),
    ],
)  # fmt: skip
def test_advice_is_in_the_language_of_the_service(program: str, word: str) -> None:
    assert word in forwarding(program)


def test_advice_where_the_language_is_not_known() -> None:
    assert forwarding("") == forwarding("./server") == FALLBACK

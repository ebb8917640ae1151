"""Plans of keys that have rules (`proxy.routing.rules`): each request is asked about before it goes its way.

A plan of RULED has one branch for each of its rules, and the plan that would be without them as its `fallback`. What a
rule does is a plan like others, made ahead: an answer of ours, a failure, the loss of the connection, or to wait first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from proxy.contract.rules import DELAY, RESET, RESPOND, TIMEOUT, Rule
from proxy.errors import FAULT as ASKED_FOR
from proxy.exchange.passage import Passage
from proxy.exchange.plan import CUT, FAULT, LATE, REPLY, RULED, Plan, Reply
from proxy.exchange.settings import TICK_SECONDS
from proxy.exchange.side import Side
from proxy.routing.decision import Action
from proxy.routing.rules import Rules
from proxy.routing.served import stub_item

_OWN: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade", "trailer"})
"""Fields of an answer that say how it is sent: that is ours to say."""


def ruled(plain: Plan, rules: Rules, who: str, silence: int, tally: list[int], otherwise: Callable[[], Plan]) -> Plan:
    """The plan of a key with rules.

    plain:     what is decided without them.
    who:       whose requests they are about, for `skycap-served-by`.
    silence:   ticks that a request waits which gets no answer.
    tally:     counts what was answered by a rule.
    otherwise: makes the plan of a request that a rule has let wait, anew.
    """

    def branch(rule: Rule) -> Plan:
        what = f"the rule {rule.name} of this key"
        item = stub_item(who, rule.name, "" if rule.effect in (RESPOND, DELAY) else ASKED_FOR.code)

        def plan(outcome: int, detail: str, *, wait: int = 0, fallback: Plan | None = None) -> Plan:
            made = Plan(
                outcome, Action.STUB, tally, failure=replace(ASKED_FOR, status=rule.status), detail=detail, wait=wait,
                key=plain.key, route=plain.route, item=item, fallback=fallback,
            )  # fmt: skip
            made.rule = rule.name
            return made

        if rule.effect == RESPOND:
            made = plan(REPLY, f"{what} answers")
            made.reply = reply(rule)
            return plan(LATE, made.detail, wait=ticks(rule.delay_ms), fallback=made) if rule.delay_ms else made
        if rule.effect == DELAY:
            later = otherwise()
            later.rule = rule.name
            return plan(LATE, f"{what} lets it wait", wait=ticks(rule.delay_ms), fallback=later)
        if rule.effect == RESET:
            return plan(CUT, f"{what} resets the connection")
        if rule.effect == TIMEOUT:
            never = plan(FAULT, f"{what} leaves it without an answer")
            never.failure = replace(ASKED_FOR, status=504)
            return plan(LATE, never.detail, wait=silence, fallback=never)
        return plan(FAULT, f"{what} asks for status {rule.status}")

    made = Plan(
        RULED, Action.STUB, tally, failure=plain.failure, detail=plain.detail, key=plain.key, route=plain.route,
        fallback=plain,
    )  # fmt: skip
    made.rules = rules
    made.branches = [branch(applied.rule) for applied in rules.applied]
    return made


def chosen(plan: Plan, passage: Passage, side: Side) -> Plan:
    """What becomes of one request of a key with rules, which is counted."""
    assert plan.rules is not None
    head = passage.head
    index = plan.rules.first(head.method, head.target, head.values)
    if index < 0:
        assert plan.fallback is not None
        return plan.fallback
    branch = plan.branches[index]
    side.ruled(passage, branch)
    return branch


def whole_reply(plan: Plan, passage: Passage, side: Side) -> Reply:
    """The answer of a plan of REPLY; one of a rule says who served it. Raises Refused."""
    answer = plan.reply
    assert answer is not None
    if not plan.rule:
        return answer
    return Reply(answer.status, [*answer.fields, *side.canned_fields(passage)], answer.body)


def reply(rule: Rule) -> Reply:
    """The answer of a rule."""
    body = b"" if rule.status in (204, 205, 304) else rule.body.encode()
    fields = [(name.encode(), value.encode("latin-1")) for name, value in rule.fields if _passes(name)]
    if body and not any(name == b"content-type" for name, _ in fields):
        fields.append((b"content-type", b"application/json" if body[:1] in b"{[" else b"text/plain; charset=utf-8"))
    return Reply(rule.status, fields, body)


def ticks(milliseconds: int) -> int:
    """At least one."""
    return max(1, round(milliseconds / 1000 / TICK_SECONDS))


def _passes(name: str) -> bool:
    return name not in _OWN and not name.startswith("skycap-")

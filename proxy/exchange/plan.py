"""What was decided for a request: data, in the form in which it is carried out.

A plan belongs to a routing key, not to a request: it is made once, kept beside the raw header value that it came
from, and dropped when the table changes. So everything in it that can be computed ahead is. It knows no protocol; what
one makes of the fields that are to be added is kept beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from proxy.contract.routes import Route
from proxy.errors import Failure
from proxy.exchange.ports import Pool
from proxy.routing.decision import Action
from proxy.routing.rules import Rules
from proxy.routing.served import NAME
from proxy.wire.fields import Addition, Field

POOLS: Final = 0
HOLD: Final = 1
FAULT: Final = 2
REPLY: Final = 3
RULED: Final = 4
LATE: Final = 5
CUT: Final = 6
"""What becomes of the request: it is sent to an endpoint of `pools`; it waits for another plan, for `wait` ticks at
most; it is answered by `failure`, or by `reply`. Of keys with rules: `rules` say which of `branches` it is, or
`fallback`; it waits for `wait` ticks and goes on with `fallback`; its connection is reset. Whatever else may become of
one is another outcome, a branch more in `Way.routed`."""


class Reply:
    """An answer of our own that is no failure. fields: without those of the framing."""

    __slots__ = ("body", "fields", "status")

    def __init__(self, status: int, fields: Sequence[Field], body: bytes = b"") -> None:
        self.status = status
        self.fields = fields
        self.body = body

    def __repr__(self) -> str:
        return f"<Reply {self.status}>"


class Plan:
    """
    outcome:  POOLS, HOLD, FAULT, or one of those of rules.
    action:   the decision that it follows from.
    tally:    the request counter of this action, by status class.
    key:      the routing key, "" for none.
    route:    the route that it follows from, None when there is none.
    pools:    of POOLS: endpoints to try, in turn.
    pool:     the one of them, None when there are more or none.
    wait:     of HOLD: ticks.
    request:  what is added to the request.
    item:     our item of `skycap-served-by`, b"" when the answer gets none.
    answer:   what is added to the answer when nobody else has served a part of it.
    failure, detail: the answer of FAULT; of HOLD when it has lasted for too long; of POOLS when all of them fail.
    fallback: the plan to go on with instead of that answer, None when there is none.
    reply:    the answer of REPLY.
    chained:  the next sidecar is told which hop caused the request.
    rule:     the name of the rule that it follows from, "" for none.
    rules, branches: of RULED.
    hops:     what the hops of its requests have in common, b"" before the first of them (`proxy.exchange.recorder`).
    """

    __slots__ = (
        "action",
        "answer",
        "branches",
        "chained",
        "detail",
        "failure",
        "fallback",
        "hops",
        "item",
        "key",
        "outcome",
        "pool",
        "pools",
        "reply",
        "request",
        "route",
        "rule",
        "rules",
        "tally",
        "turn",
        "wait",
    )

    def __init__(
        self,
        outcome: int,
        action: Action,
        tally: list[int],
        *,
        failure: Failure,
        detail: str,
        pools: Sequence[Pool] = (),
        wait: int = 0,
        key: str = "",
        route: Route | None = None,
        fields: Sequence[Field] = (),
        item: bytes = b"",
        fallback: Plan | None = None,
        chained: bool = False,
        reply: Reply | None = None,
    ) -> None:
        self.outcome = outcome
        self.action = action
        self.tally = tally
        self.key = key
        self.route = route
        self.pools = pools
        self.pool = pools[0] if len(pools) == 1 else None
        self.wait = wait
        self.request = Addition(fields)
        self.item = item
        self.answer = Addition(((NAME, item),))
        self.failure = failure
        self.detail = detail
        self.fallback = fallback
        self.chained = chained
        self.reply = reply
        self.rule = ""
        self.rules: Rules | None = None
        self.branches: Sequence[Plan] = ()
        self.hops = b""
        self.turn = 0

    def __repr__(self) -> str:
        return f"<Plan {self.action.value} key={self.key or '-'} pools={len(self.pools)}>"

    @property
    def sandbox(self) -> str:
        return self.route.sandbox if self.route is not None else ""

    def next_pool(self, attempt: int) -> Pool:
        """The pool for the first attempt, in turn over the endpoints, and the following ones for further attempts."""
        if attempt == 0:
            self.turn += 1
        return self.pools[(self.turn + attempt) % len(self.pools)]

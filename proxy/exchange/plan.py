"""What was decided for a request, in the form in which the exchange carries it out.

A plan belongs to a routing key, not to a request: it is made once, kept beside the raw header value that it came
from, and dropped when the table changes. So everything in it that can be computed ahead is.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.contract.routes import Route
from proxy.errors import Failure
from proxy.exchange.ports import Pool
from proxy.routing.decision import Action
from proxy.routing.served import NAME


class Plan:
    """
    action:   what to do.
    tally:    the request counter of this action, by status class.
    key:      the routing key, "" for none.
    route:    the route that it follows from, None when there is none.
    pools:    endpoints to try, in turn; empty for HOLD and ERROR.
    pool:     the one of them, None when there are more or none.
    insert:   field lines to add to the request, each with its CRLF.
    item:     our item of `skycap-served-by`, b"" when the answer gets none.
    served:   the field line of that item alone.
    failure, detail: the answer of ERROR; of HOLD when it has lasted for too long; of the others when all pools fail.
    fallback: the plan to go on with instead of that answer, None when there is none.
    """

    __slots__ = (
        "action",
        "detail",
        "failure",
        "fallback",
        "insert",
        "item",
        "key",
        "pool",
        "pools",
        "route",
        "served",
        "tally",
        "turn",
    )

    def __init__(
        self,
        action: Action,
        tally: list[int],
        *,
        failure: Failure,
        detail: str,
        pools: Sequence[Pool] = (),
        key: str = "",
        route: Route | None = None,
        insert: bytes = b"",
        item: bytes = b"",
        fallback: Plan | None = None,
    ) -> None:
        self.action = action
        self.tally = tally
        self.key = key
        self.route = route
        self.pools = pools
        self.pool = pools[0] if len(pools) == 1 else None
        self.insert = insert
        self.item = item
        self.served = b"%b: %b\r\n" % (NAME, item)
        self.failure = failure
        self.detail = detail
        self.fallback = fallback
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

"""The inbound side: guards the application, and decides by key between it and a shadow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from proxy.contract.routes import Endpoint, OnUnavailable, Route, State
from proxy.errors import (
    APP_UNREACHABLE,
    BAD_REQUEST,
    LOOP,
    SANDBOX_ENDED,
    SHADOW_PENDING,
    SHADOW_UNREACHABLE,
    UNEXPECTED_SERVER,
    UNSUPPORTED_METHOD,
    Refused,
)
from proxy.exchange.context import copied
from proxy.exchange.passage import NOTHING, Passage
from proxy.exchange.plan import FAULT, HOLD, POOLS, RULED, Plan
from proxy.exchange.ruled import ruled
from proxy.exchange.side import HOP_NAME, HOP_ONLY, Side, SideParts, Waiter
from proxy.routing.captures import ERRORS
from proxy.routing.context import MAX_HEAD_BYTES, MAX_HEAD_LINES, TraceContext
from proxy.routing.correlation import UNKEYED
from proxy.routing.decision import Action, decide
from proxy.routing.expect import NAME as EXPECT
from proxy.routing.expect import parse_expected, unmet
from proxy.routing.served import (
    INVALID_KEY,
    MAX_BYTES,
    NAME,
    UNKNOWN_KEY,
    Served,
    baseline_item,
    conflict,
    sandbox_item,
    speaks_for,
    status,
)
from proxy.routing.table import RouteTable
from proxy.routing.template import Template
from proxy.routing.trace import names
from proxy.telemetry.hops import HOP_COUNTS, HOP_ID
from proxy.wire.edit import OURS
from proxy.wire.fields import NOTHING_ADDED, Addition, Field
from proxy.wire.head import RequestHead, ResponseHead, field_values

VISITED: Final = b"skycap-visited"
"""The sidecars that have sent this request on to a shadow. Meeting oneself in it is a loop."""

MAX_PLANS: Final = 4096
"""Plans kept by key: more than there are agents at work at a time. When they are full they start over. At 0.7 KB each
(a key has 63 characters at most) that is 3 MB."""

_VISITED_LINE: Final = b"\r\n" + VISITED + b":"
_EXPECT_LINE: Final = b"\r\n" + EXPECT + b":"
_EXPECT: Final = frozenset({EXPECT})
_SERVED_AND_HOP: Final = HOP_ONLY | {NAME}


class Inbound(Side):
    """
    app:         where the application listens.
    table:       the routes of this workload.
    gave_up:     says that waiting for a first table is over.
    instance:    names this sidecar, unique.
    sandbox:     whose shadow this sidecar stands beside, "" beside the baseline; `revision` is that shadow's.
    random_bits: as `random.SystemRandom().getrandbits`, for trace ids.
    in_hand:     the requests that all inbound sides of this sidecar have in hand.
    forwarded:   as in Side.
    port:        of the baseline, to which callers send what arrives here; 0: nobody knows.
    """

    def __init__(
        self,
        parts: SideParts,
        *,
        app: Endpoint,
        table: RouteTable,
        gave_up: Callable[[], bool],
        instance: str,
        sandbox: str,
        revision: int,
        random_bits: Callable[[int], int],
        in_hand: Callable[[], Iterable[Passage]],
        forwarded: bool = False,
        port: int = 0,
    ) -> None:
        pool = parts.pools(app)
        super().__init__(parts, default_host=str(app), default_pool=pool, forwarded=forwarded)
        self._app = app
        self._port = port
        self._app_pools = (pool,)
        self._table = table
        self._gave_up = gave_up
        self._instance = instance.encode()
        self._sandbox = sandbox
        self._context = TraceContext(parts.traces, parts.correlation.mark, random_bits)
        self._in_hand = in_hand
        self._revision = revision
        self._plans: dict[str, Plan] = {}
        self._led_to: dict[Endpoint, str] = {}
        self._unkeyed = self._plan("")
        self._invalid = self._to_app(self._unkeyed.action, "", self._own_item(INVALID_KEY))

    def admit(self, passage: Passage, head: RequestHead) -> Plan:
        if head.authority and head.method == b"CONNECT":
            raise Refused(UNSUPPORTED_METHOD, "CONNECT is for forward proxies; this listener guards one application")
        try:
            correlation = self.correlation
            reading = self.carriers.read(head)
            key = reading.key
            if not key:
                if correlation.awake:
                    self._mask(passage, head)
                if not head.plain and _EXPECT_LINE in head.low:
                    raise Refused(UNEXPECTED_SERVER, "skycap-expect names a shadow, and the request has no routing key")
                if not reading.malformed:
                    return self._unkeyed
                passage.told = True
                return self._invalid
            plan = self._plans.get(key)
            if plan is None:
                plan = self._remember(key)
            done: tuple[list[bytes], Template | None, tuple[bytes, ...]] | None = None
            large = head.end > MAX_HEAD_BYTES or (head.lines or head.low.count(b"\r\n")) > MAX_HEAD_LINES
            if not large and head.plain:
                parent = head.traceparent
                if head.traced:
                    whole = copied(head)
                    if whole:
                        done = names(whole), None, ()
                # It is valid in lower case alone (W3C Trace Context section 3.2), which is how it was read.
                elif parent is None or head.data.find(parent) > 0:
                    done = self._context.plain(parent, head.request_id)
            fields: Sequence[Field] = ()
            if done is not None:
                ids, passage.template, passage.filling = done
            else:
                if not head.plain:
                    passage.cause = self._unchained(passage, head)
                    self._check_visited(passage, head)
                    if _EXPECT_LINE in head.low:
                        self._expect(passage, head)
                ids, passage.template, passage.filling, fields, drop = self._context.complete(head, large=large)
                passage.drop |= drop
            if reading.conflict is not None:
                fields = (*fields, *self.carriers.normalised(head, key))
                passage.drop |= self.carriers.fields
                passage.note = conflict(reading.conflict[1])
            if not correlation.awake:
                self._wake()
            passage.flight = correlation.enter(ids, key)
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001 (a bug in routing must not cost the application its request)
            return self._despite(passage, error)
        passage.ids = ids
        passage.fields = fields
        passage.told = True
        passage.hop = HOP_ID % (self.hop_prefix, next(self.hop_ids) & HOP_COUNTS)
        if head.plain:
            passage.cause = head.cause or b""
        if self.hops is not None:
            flight = passage.flight
            flight.hop = passage.hop
            passage.trace = flight.trace = ids[0]
            for crowd in flight.shared:
                crowd.hop, crowd.trace = flight.hop, flight.trace
        return plan

    def _mask(self, passage: Passage, head: RequestHead) -> None:
        """A request without a key has its ids for itself: nobody's key goes with its calls."""
        ids = names(self.ids(head))
        if ids:
            passage.flight = self.correlation.enter(ids, UNKEYED)
            passage.ids = ids

    def _wake(self) -> None:
        """The first key after a silence: what is in flight without one has its ids as well."""
        for passage in self._in_hand():
            if passage.plan is not None and not passage.plan.key and not passage.ids:
                self._mask(passage, passage.head)

    def _expect(self, passage: Passage, head: RequestHead) -> None:
        """It says who has to serve it, which the entry judges, and nobody behind it sees."""
        passage.drop |= _EXPECT
        if passage.cause:
            return
        passage.told = True
        try:
            passage.expected = parse_expected(field_values(head, EXPECT))
        except ValueError as error:
            raise Refused(BAD_REQUEST, str(error)) from None

    def _check_visited(self, passage: Passage, head: RequestHead) -> None:
        if _VISITED_LINE in head.low:
            sidecars = b",".join(field_values(head, VISITED)).split(b",")
            if self._instance in (sidecar.strip(b" \t") for sidecar in sidecars):
                passage.told = True  # its answer says whose error it is
                raise Refused(LOOP, "it was sent to a shadow from here before, and has come back")

    def _despite(self, passage: Passage, error: Exception) -> Plan:
        """Deciding has failed: to the application, and the answer says so."""
        self.counters.failures["internal"] += 1
        self.reporter.routing_failed(error)
        passage.told = True
        return self._to_app(Action.FALLBACK, "", baseline_item(self.workload, "internal-error"))

    def table_changed(self) -> None:
        """Forget what followed from the table, and decide again on all that were held up."""
        self._plans.clear()
        # In the order in which they came: streams are sent on one connection by their numbers, which have to rise.
        for waiter in sorted(self.waiters, key=_began):
            plan = waiter.passage.plan
            assert plan is not None
            again = self._plans.get(plan.key) or self._remember(plan.key)
            if again.outcome == RULED:
                assert again.fallback is not None
                again = again.fallback  # its rules were asked before it was held up
            waiter.routed(again)

    def endpoints_in_use(self) -> set[Endpoint]:
        """The application's, and those that requests were sent to by a route that still leads there."""
        for endpoint, key in list(self._led_to.items()):
            route = self._table.lookup(key)
            if route is None or endpoint not in route.led(self._port):
                del self._led_to[endpoint]
        return {self._app, *self._led_to}

    def answer(self, passage: Passage, head: ResponseHead) -> tuple[Addition, frozenset[bytes]]:
        if passage.expected:
            return self._judged(passage, head)
        plan, flight = passage.plan, passage.flight
        assert plan is not None
        drop = NOTHING
        if head.claims:
            drop = OURS
            if not passage.told:
                return NOTHING_ADDED, drop
            if plan.action is Action.SHADOW and not self._sandbox and self.proven(passage, head):
                theirs = b", ".join(field_values(head, NAME))
                if speaks_for(theirs, plan.item, self.workload):
                    return self._passed_on(passage, theirs)
        # As `served_by` says it, when there is nothing but our own item.
        if (
            flight is not None
            and flight.served is None
            and not flight.shared
            and flight.losses == self.correlation.losses
            and not passage.note
            and not passage.cause
            and head.status < ERRORS
        ):
            return plan.answer, drop
        item = plan.item if head.status < ERRORS else plan.item + status(head.status)
        return Addition((self.served_by(passage, item), *self.proof(passage))), drop

    def _judged(self, passage: Passage, head: ResponseHead) -> tuple[Addition, frozenset[bytes]]:
        """The answer, if who has served it is who was expected. Raises Refused."""
        expected, passage.expected = passage.expected, ()
        added, drop = self.answer(passage, head)
        told = [value for name, value in added.fields if name == NAME] or field_values(head, NAME)
        missing = unmet(expected, b", ".join(told))
        if missing:
            raise Refused(UNEXPECTED_SERVER, missing)
        return added, drop

    def proof(self, passage: Passage) -> Sequence[Field]:
        return ((HOP_NAME, passage.cause),) if passage.cause else ()

    def _passed_on(self, passage: Passage, theirs: bytes) -> tuple[Addition, frozenset[bytes]]:
        """The shadow's own sidecar has said it all, but for what was seen here."""
        proof = self.proof(passage)
        if len(theirs) <= MAX_BYTES and not passage.note:
            return Addition(proof), HOP_ONLY
        served = Served()
        served.add(theirs)
        first, comma, others = served.value.partition(b",")
        return Addition(((NAME, first + passage.note + comma + others), *proof)), _SERVED_AND_HOP

    def _own_item(self, key: str = "") -> bytes:
        """What stands for the application; key: what is the matter with the request's key."""
        if self._sandbox:
            return sandbox_item(self.workload, self._sandbox, self._revision, key)
        return baseline_item(self.workload, key=key)

    # -- plans ----------------------------------------------------------------------------------------------------

    def _remember(self, key: str) -> Plan:
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        plan = self._plans[key] = self._plan(key)
        return plan

    def _plan(self, key: str) -> Plan:
        plain = self._plain(key)
        # Beside a shadow they were applied before: whoever calls it comes by the baseline's sidecar.
        rules = self.rules.of_workload(key) if key and not self._sandbox else None
        if rules is None:
            return plain
        counts = self.counters.requests[Action.STUB.value]
        return ruled(
            plain, rules, self.workload, self.settings.response_ticks, counts, lambda: self._plain(key)
        )  # fmt: skip

    def later(self, plan: Plan) -> Plan:
        if plan.outcome != POOLS and plan.outcome != HOLD:
            return plan
        fresh = self._plain(plan.key)
        fresh.rule = plan.rule
        return fresh

    def _plain(self, key: str) -> Plan:
        """What is decided without rules of the key's own."""
        action, route = decide(key, self._table, self._sandbox, self._gave_up())
        if self._sandbox:
            return self._to_app(action, key, self._own_item() if key else b"")
        if action is Action.BASELINE:
            told = UNKNOWN_KEY if self._table.nobody_has(key) else ""
            return self._to_app(action, key, self._own_item(told) if key else b"")
        if action is Action.UNSYNCED or action is Action.HOLD_UNSYNCED:
            unsynced = self._to_app(Action.UNSYNCED, key, baseline_item(self.workload, "unsynced"))
            if action is Action.UNSYNCED:
                return unsynced
            return Plan(
                HOLD, action, [], failure=SHADOW_PENDING, detail="no routes yet", wait=self.settings.sync_ticks,
                key=key, fallback=unsynced,
            )  # fmt: skip
        assert route is not None
        if action is Action.SHADOW:
            return self._to_shadow(route)
        if action is Action.FALLBACK:
            return self._fallback(route)
        if action is Action.HOLD_PENDING:
            if route.asleep:
                self._table.call(key)  # once for each plan: whoever is told goes on until it is heard
            detail = f"sandbox {route.sandbox}'s shadow of {self.workload} did not get ready in time"
            return Plan(
                HOLD, action, [], failure=SHADOW_PENDING, detail=detail, wait=self.settings.hold_ticks,
                key=key, route=route,
            )  # fmt: skip
        if route.state is State.ENDED:
            return Plan(FAULT, action, [], failure=SANDBOX_ENDED, detail=_obituary(route), key=key, route=route)
        detail = f"sandbox {route.sandbox}'s shadow of {self.workload} has failed"
        return Plan(FAULT, action, [], failure=SHADOW_UNREACHABLE, detail=detail, key=key, route=route)

    def _to_app(self, action: Action, key: str, item: bytes, route: Route | None = None) -> Plan:
        return Plan(
            POOLS,
            action,
            self.counters.requests[action.value],
            failure=APP_UNREACHABLE,
            detail=f"the application at {self._app} does not accept connections",
            pools=self._app_pools,
            key=key,
            route=route,
            item=item,
        )

    def _to_shadow(self, route: Route) -> Plan:
        fallback = self._fallback(route) if route.on_unavailable is OnUnavailable.BASELINE else None
        endpoints = route.led(self._port)
        self._led_to.update(dict.fromkeys(endpoints, route.key))
        return Plan(
            POOLS,
            Action.SHADOW,
            self.counters.requests["shadow"],
            failure=SHADOW_UNREACHABLE,
            detail=f"sandbox {route.sandbox}'s shadow of {self.workload} does not accept connections at "
            + ", ".join(map(str, endpoints)),
            pools=[self.pools(endpoint) for endpoint in endpoints],
            key=route.key,
            route=route,
            fields=((VISITED, self._instance),),
            item=sandbox_item(self.workload, route.sandbox, route.revision),
            fallback=fallback,
            chained=True,
        )

    def _fallback(self, route: Route) -> Plan:
        why = SANDBOX_ENDED if route.state is State.ENDED else SHADOW_UNREACHABLE
        item = baseline_item(self.workload, why.code)
        return self._to_app(Action.FALLBACK, route.key, item, route)


def _began(waiter: Waiter) -> float:
    return waiter.passage.started


def _obituary(route: Route) -> str:
    when = f" at {route.since}" if route.since else ""
    why = f": {route.why}" if route.why else ""
    return f"sandbox {route.sandbox}, whose key this is, ended{when}{why}"

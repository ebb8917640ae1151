"""The outbound side: carries the application's calls, and the routing key with them.

Whose key a call carries, first match wins:

(a) it has one: it passes untouched
(b) its trace is that of a keyed inbound request (`proxy.routing.correlation`): that request's key is added
(c) the sidecar stands beside a shadow: that sandbox's key is added, because all that a shadow sends is its sandbox's

Otherwise nothing is added; but a call that may have lost its key is reported: one that names no trace, or one that
nobody knows, while keyed requests are in flight; or one that is not only its own.
"""

from __future__ import annotations

from typing import Final

from proxy.contract.routes import Endpoint, parse_endpoint
from proxy.errors import BAD_REQUEST, TARGET_UNREACHABLE, UNSUPPORTED_METHOD, Refused
from proxy.exchange.carriers import BAGGAGE_NAME
from proxy.exchange.passage import NO_IDS, NOTHING, Passage
from proxy.exchange.plan import POOLS, Plan
from proxy.exchange.ports import Pool
from proxy.exchange.ruled import ruled
from proxy.exchange.side import HOP_ONLY, Side, SideParts
from proxy.routing.correlation import DISPUTED, UNKEYED, UNKNOWN
from proxy.routing.decision import Action
from proxy.routing.key import with_key
from proxy.routing.served import NAME
from proxy.telemetry.hops import HOP_COUNTS, HOP_ID
from proxy.wire.edit import OURS
from proxy.wire.fields import NOTHING_ADDED, Addition
from proxy.wire.framing import NO_BODY
from proxy.wire.head import RequestHead, ResponseHead, field_values

MAX_PLANS: Final = 4096
"""Plans kept by key: more than there are agents at work at a time. When they are full they start over. At 0.7 KB each
(a key has 63 characters at most) that is 3 MB."""

_BAGGAGE: Final = frozenset({BAGGAGE_NAME})
_CREDENTIALS_NAME: Final = b"proxy-authorization"
_CREDENTIALS: Final = frozenset({_CREDENTIALS_NAME})
"""RFC 9110 section 11.7.2: for the first proxy that asks for them, and no further. That is us, and we ask for none."""

MAX_THROUGH: Final = 256
"""Destinations of CONNECT that are remembered: more than an application calls, 3 KB each."""

MAX_ON_BEHALF: Final = 256
"""Shadows that call where the baseline does: more than one machine runs, 3 KB each."""

_NO_KEYS: Final = frozenset({UNKNOWN, UNKEYED, DISPUTED})


class Outbound(Side):
    """
    target:   where all calls of this listener go; None makes it a forward proxy (absolute-form and CONNECT).
    key_name: the `baggage` member that a key is added as.
    own_key:  the sandbox's key beside a shadow, "" beside the baseline.
    relays:   the caller chose the target, which may be a proxy of its own: what is asked of a proxy goes to it.
    """

    def __init__(
        self, parts: SideParts, *, target: Endpoint | None, key_name: str, own_key: str, relays: bool = False
    ) -> None:
        pool = parts.pools(target) if target is not None else None
        super().__init__(parts, default_host=str(target or ""), default_pool=pool)
        self._target = target
        self._key_name = key_name
        self._own_key = own_key
        self._relays = relays
        self._parts = parts
        self._lost = 0
        self._through: dict[Endpoint, Outbound] = {}
        self._on_behalf: dict[str, Outbound] = {}
        self._fixed = {key: self._plan(target, parts.pools(target), key) for key in {"", own_key}} if target else {}

    def admit(self, passage: Passage, head: RequestHead) -> Plan:
        correlation = self.correlation
        reading = self.carriers.read(head)
        key = reading.key
        ids = self.ids(head) if correlation.awake else NO_IDS
        if not key:
            key = self._whose(passage, head, correlation.recall(ids))
        elif reading.conflict is not None:
            passage.fields = self.carriers.normalised(head, key)
            passage.drop = self.carriers.fields
        if key:
            passage.told = True
            flight = passage.flight = correlation.flight(ids, key)
            passage.hop = HOP_ID % (self.hop_prefix, next(self.hop_ids) & HOP_COUNTS)
            if not head.plain:
                self._unchained(passage, head)  # an application that copies all fields names what it was told
            if self.hops is not None:
                if flight is not None:
                    passage.cause, passage.trace = flight.hop, flight.trace
                else:
                    passage.cause, passage.trace = b"", ids[0] if ids else b""
        if self._target is not None:
            if head.authority:
                return self._of_a_proxy(self._target, head, key)
            return self._fixed.get(key) or self._remember(self._target, key)
        return self._forward(passage, head, key)

    def _of_a_proxy(self, target: Endpoint, head: RequestHead, key: str) -> Plan:
        """The plan for a request in the form that is meant for a proxy: absolute, or CONNECT."""
        if self._relays:
            head.authority = b""  # it leaves in the form that it has
        if head.method != b"CONNECT":
            return self._fixed.get(key) or self._remember(target, key)
        if not self._relays:
            raise Refused(UNSUPPORTED_METHOD, "CONNECT is for forward proxies; this listener has one upstream")
        return self._tunnel(target, head, key)

    def _tunnel(self, endpoint: Endpoint, head: RequestHead, key: str) -> Plan:
        if head.body != NO_BODY:
            raise Refused(BAD_REQUEST, "CONNECT has no content (RFC 9110 section 9.3.6)")
        plan = self._plain(endpoint, self.pools(endpoint), key)
        plan.pool = None  # not from the pool: a tunnel begins on a connection of its own
        return plan

    @property
    def keys_lost(self) -> int:
        """Calls that may have lost their key, those in tunnels included."""
        return self._lost + sum(side.keys_lost for side in self._others())

    def drain(self) -> None:
        super().drain()
        for side in self._others():
            side.drain()

    def _others(self) -> tuple[Outbound, ...]:
        """Those that were made of this one."""
        return (*self._through.values(), *self._on_behalf.values())

    def on_behalf(self, key: str) -> Outbound:
        """The side for the calls of a process that belongs to the sandbox with this key: a shadow that calls where the
        baseline does."""
        side = self._on_behalf.get(key)
        if side is None:
            if len(self._on_behalf) >= MAX_ON_BEHALF:
                self._lost += sum(side.keys_lost for side in self._on_behalf.values())
                self._on_behalf.clear()
            side = self._on_behalf[key] = Outbound(
                self._parts, target=self._target, key_name=self._key_name, own_key=key, relays=self._relays
            )
            side.draining = self.draining
        return side

    def through(self, head: RequestHead) -> Outbound:
        """The side for what is said in the tunnel of a CONNECT: all calls go to the one that it names."""
        endpoint = _named(head)
        side = self._through.get(endpoint)
        if side is None:
            if len(self._through) >= MAX_THROUGH:
                self._lost += sum(side.keys_lost for side in self._through.values())
                self._through.clear()
            side = self._through[endpoint] = Outbound(
                self._parts, target=endpoint, key_name=self._key_name, own_key=self._own_key
            )
            side.draining = self.draining
        return side

    def _whose(self, passage: Passage, head: RequestHead, verdict: str) -> str:
        """The key that a call without one gets, by what its ids say; "" when it gets none."""
        if verdict not in _NO_KEYS:
            key = verdict
            self.counters.key_carriers["trace"] += 1
        elif self._own_key:
            key = self._own_key
            self.counters.key_carriers["sandbox"] += 1
        else:
            if verdict == DISPUTED or (verdict == UNKNOWN and self.correlation.keyed_in_flight):
                self._report_loss(passage, head, disputed=verdict == DISPUTED)
            return ""
        lines = head.values(BAGGAGE_NAME)
        passage.fields = ((BAGGAGE_NAME, with_key(lines, self._key_name, key)),)
        passage.drop = _BAGGAGE if lines else NOTHING
        return key

    def _report_loss(self, passage: Passage, head: RequestHead, *, disputed: bool) -> None:
        target = str(self._target) if self._target else head.authority.decode("latin-1")
        self._lost += 1
        self.correlation.losses += 1
        if self.hops is not None:
            passage.suspects = self.correlation.suspects()
            if passage.suspects:
                passage.hop = self.hops.prefix  # told under ids of their own
        self.reporter.key_lost(
            target, head.method.decode("latin-1"), head.target.decode("latin-1"), self.traces.seen(head), disputed
        )

    def _forward(self, passage: Passage, head: RequestHead, key: str) -> Plan:
        """The plan for a call that names its own destination."""
        if not head.authority:
            raise Refused(BAD_REQUEST, "a forward proxy needs the target as http://HOST/PATH (RFC 9112 section 3.2.2)")
        endpoint = _named(head)
        if head.method == b"CONNECT":
            return self._tunnel(endpoint, head, key)
        if head.values(_CREDENTIALS_NAME):
            passage.drop |= _CREDENTIALS
        return self._plan(endpoint, self.pools(endpoint), key)

    def _remember(self, target: Endpoint, key: str) -> Plan:
        if len(self._fixed) >= MAX_PLANS:
            self._fixed.clear()
        plan = self._fixed[key] = self._plan(target, self.pools(target), key)
        return plan

    def rules_changed(self) -> None:
        """Forget what followed from the rules of keys."""
        self._fixed.clear()
        for side in self._others():
            side.rules_changed()

    def ruled(self, passage: Passage, branch: Plan) -> None:
        """No sidecar stands before a host that could tell it."""
        super().ruled(passage, branch)
        if passage.flight is not None:
            passage.flight.collect(branch.item)

    def _plan(self, target: Endpoint, pool: Pool, key: str) -> Plan:
        plain = self._plain(target, pool, key)
        if not key:
            return plain
        # Where the caller chose the target it is an address: then the request says which host is meant.
        rules = self.rules.of_any_host(key) if self._relays else self.rules.of_host(key, target.host, target.port)
        if rules is None:
            return plain
        counts = self.counters.requests[Action.STUB.value]
        return ruled(
            plain, rules, str(target), self.settings.response_ticks, counts, lambda: self._plain(target, pool, key)
        )

    def _plain(self, target: Endpoint, pool: Pool, key: str) -> Plan:
        return Plan(
            POOLS,
            Action.FORWARD,
            self.counters.requests["forward"],
            failure=TARGET_UNREACHABLE,
            detail=f"the upstream at {target} does not accept connections",
            pools=(pool,),
            key=key,
            chained=bool(key),
        )

    def answer(self, passage: Passage, head: ResponseHead) -> tuple[Addition, frozenset[bytes]]:
        """Who served the call is remembered for the answer to the request that caused it. What is said in a sidecar's
        name where there is none is left out."""
        if not head.claims or not passage.told:
            return NOTHING_ADDED, NOTHING
        if not self.proven(passage, head):
            return NOTHING_ADDED, OURS
        if passage.flight is not None:
            passage.flight.collect(b", ".join(field_values(head, NAME)))
        return NOTHING_ADDED, HOP_ONLY


def _named(head: RequestHead) -> Endpoint:
    """Where a request to a forward proxy wants to go. Raises Refused."""
    authority = head.authority.decode("latin-1").removesuffix(":")
    if authority.endswith("]") or ":" not in authority:
        authority += ":80"
    try:
        return parse_endpoint(authority)
    except ValueError as error:
        raise Refused(BAD_REQUEST, f"the target names no address: {error}") from None

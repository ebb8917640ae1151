"""Hops of keyed requests: what a passage leaves behind when it is settled, and what is kept of those that fail.

A hop costs a keyed request its id when it is decided, a look at the clock when the answer's head comes, and a tuple at
the end (`Side.settled`), where nothing is called for the usual one. Requests and answers are kept only where the answer
is no good one, because until then it is not known, or where a sandbox asks for others (`proxy.routing.captures`); a
request's body is kept anyway for as long as it may have to be sent again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from proxy.contract.hops import MAX_BODY_BYTES
from proxy.exchange.passage import Passage
from proxy.exchange.plan import Plan
from proxy.exchange.ports import Clock
from proxy.routing.captures import ALL, NONE, Captures
from proxy.routing.decision import Action
from proxy.telemetry.hops import HOP_COUNTS, HOP_ID, Capture, HopRing, Raw
from proxy.wire.head import ResponseHead

MAX_HEAD_BYTES: Final = MAX_BODY_BYTES
"""Of a head that is kept: as much as of a body."""

_REASONS: Final = {Action.UNSYNCED: "unsynced", Action.FALLBACK: "shadow-unreachable"}


class HopRecorder:
    """The hops of one side.

    now:      seconds since 1970.
    captures: of which keys other messages are kept than those of answers that are no good ones.
    side:     `inbound` or `outbound`.
    instance: this sidecar's name.
    sandbox:  whose shadow it stands beside, "" beside the baseline; `revision` is that shadow's.
    """

    def __init__(
        self,
        ring: HopRing,
        now: Clock,
        captures: Captures,
        *,
        workload: str,
        side: str,
        instance: str,
        sandbox: str,
        revision: int,
    ) -> None:
        self.captures = captures
        self.ring = ring
        self.prefix = ring.prefix
        self.ids = ring.ids
        self.now = now
        self._inbound = side == "inbound"
        self._sandbox = sandbox
        self._revision = revision
        self._always = {"workload": workload, "instance": instance, "side": side}

    def answered(self, passage: Passage, head: ResponseHead, stop: int, *, failed: bool) -> None:
        """The head of an answer is there that is no good one, or of one of some key when not all have the default.

        stop: where what came of its body ends.
        """
        if self.captures.special:
            assert passage.plan is not None
            floor = self.captures.floor(passage.plan.key)
            if floor == NONE or (floor != ALL and not failed):
                return
        data, end = head.data, head.end
        self._keep(passage, data[:end], data[end : min(stop, end + MAX_BODY_BYTES)])

    def answered_here(self, passage: Passage, head: bytes, body: bytes) -> None:
        """We answer ourselves."""
        passage.answer_bytes = len(body)
        assert passage.plan is not None
        if self.captures.special and self.captures.floor(passage.plan.key) == NONE:
            return
        self._keep(passage, head, body)

    def more(self, capture: Capture, data: bytes) -> None:
        """More of the body of an answer that is captured."""
        room = MAX_BODY_BYTES - (len(capture.answer) - capture.answer_end)
        piece = data[: max(room, 0)]
        if piece and self.ring.room(len(piece)):
            capture.answer += piece

    def put(self, plan: Plan, passage: Passage, hop: Raw) -> None:
        """A hop that the ring has to be asked for: it is empty, or full, or the hop is told more than once."""
        if passage.suspects:
            self._suspect(plan, passage.suspects, hop)
        else:
            self.ring.put(hop)

    def tell(self, plan: Plan) -> bytes:
        """What all hops of a plan have in common, as JSON members without braces; the plan keeps it."""
        plan.hops = self._members(plan, plan.key)
        return plan.hops

    def _suspect(self, plan: Plan, keys: Sequence[str], hop: Raw) -> None:
        """A call that may have lost its key: told for each key that it may be, without messages, under an own id."""
        for key in keys:
            fixed = self._members(plan, key, lost=True)
            ident = HOP_ID % (self.prefix, next(self.ids) & HOP_COUNTS)
            self.ring.put((fixed, ident, *hop[2:14], None))

    def _keep(self, passage: Passage, head: bytes, body: bytes) -> None:
        if passage.suspects:
            return  # it is told more than once, and whose it is is not known
        request = passage.head
        sent = request.sent()[:MAX_HEAD_BYTES]
        capture = Capture(sent, len(sent), head[:MAX_HEAD_BYTES], min(len(head), MAX_HEAD_BYTES))
        if not self.ring.room(len(capture)):
            capture.request = capture.answer = b""
            capture.request_end = capture.answer_end = 0
            capture.no_room = True
        else:
            asked = (passage.asked or passage.kept or b"")[:MAX_BODY_BYTES]
            if self.ring.room(len(asked) + len(body)):
                capture.request += asked
                capture.answer += body
            else:
                capture.no_room = True
        passage.capture = capture

    def _members(self, plan: Plan, key: str, *, lost: bool = False) -> bytes:
        known: dict[str, object] = {**self._always, "key": key, "decision": plan.action.value}
        if plan.action in _REASONS:
            known["reason"] = _REASONS[plan.action]
        if self._inbound and self._sandbox:
            known["sandbox"], known["revision"] = self._sandbox, self._revision
        elif plan.action is not Action.FALLBACK and plan.route is not None:
            known["sandbox"], known["revision"] = plan.route.sandbox, plan.route.revision
        if not self._inbound and plan.pools:
            known["peer"] = str(plan.pools[0].endpoint)
        if plan.rule:
            known["stub"] = plan.rule
        if lost:
            known["lost"] = True
        return json.dumps(known, separators=(",", ":"))[1:-1].encode()

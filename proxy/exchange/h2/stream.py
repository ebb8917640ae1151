"""One request on a stream, and its answer: what `Exchange` is for a request of HTTP/1.

ROUTING ──sent──▶ WAITING ──final head──▶ ANSWERING ──both directions over──▶ CLOSED
  │  held up, dialling, no room   │  1xx, retry
  └──────── our own answer ───────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from proxy.errors import (
    BAD_RESPONSE,
    DRAINING,
    UPSTREAM_RESET,
    Failure,
    Refused,
)
from proxy.exchange.caching import CACHING, UNCACHED
from proxy.exchange.h2.flow import EARLY, KEPT, LAST, OVER
from proxy.exchange.h2.head import StreamHead, answer_head
from proxy.exchange.h2.kinds import AnswerKind, RequestKind
from proxy.exchange.h2.replies import field_literals, own_answer
from proxy.exchange.h2.way import StreamWay
from proxy.exchange.phase import ANSWERING, CLOSED, ROUTING, WAITING
from proxy.exchange.plan import Reply
from proxy.routing.captures import ERRORS
from proxy.wire.fields import lines_of
from proxy.wire.h2.faults import CANCEL, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM, StreamFault
from proxy.wire.h2.frames import DATA, END_STREAM, HEAD_BYTES, content_frames, header_frames
from proxy.wire.h2.hpack import literals
from proxy.wire.h2.template import without
from proxy.wire.head import ResponseHead

if TYPE_CHECKING:
    from proxy.exchange.h2.client import ClientLink

_PLAIN_ANSWERS: Final = {status: ResponseHead(b"", b"", status, 0) for status in range(1000)}
"""Of answers that claim nothing: then nobody looks at more than the status."""

_BARE: Final = frozenset({204, 304})
"""What has no content, whatever it announces (RFC 9110 sections 8.6 and 15): its end may be an empty frame of DATA."""

_OURS: Final = frozenset({b"skycap-"})
_HTTP2: Final = b',"protocol":"h2"'
_GRPC_OK: Final = _HTTP2 + b',"grpcStatus":0'


class StreamExchange(StreamWay):
    """grpc_status: of the answer, -1 without one."""

    __slots__ = ("_answer_block", "_content", "grpc_status")

    def __init__(self, client: ClientLink, sid: int, kind: RequestKind, head: StreamHead, end: int) -> None:
        super().__init__(client, sid, kind, head, end)
        self.grpc_status = -1
        self._answer_block = b""
        self._content: Sequence[bytes] = ()

    # -- the answer ----------------------------------------------------------------------------------------------------

    def answer_block(self, block: bytes, end: int) -> None:
        client, passage, answer = self.client, self.passage, self.answer
        side = client.side
        try:
            kind, expects = side.kinds.answer(block)
            if self.phase == ANSWERING:
                self._trailers(kind, block, end)
                return
            if not kind.status or (kind.status < 200 and end):
                raise StreamFault(INTERNAL_ERROR, "trailers without an answer, or an interim one that ends (8.1)")
            if end and expects > 0 and passage.head.method != b"HEAD" and kind.status != 304:
                raise StreamFault(INTERNAL_ERROR, "content that was announced and is not there (section 8.1.1)")
        except StreamFault as fault:
            self.bad_answer(fault.detail)
            return
        server = self.server
        assert server is not None
        if kind.status < 200:
            server.pass_block(self.sid, client, 0, without(block, _OURS) if kind.claims else block, changed=kind.claims)
            return
        self.phase = ANSWERING
        if passage.hop and side.hops is not None:
            self._content = self._kept or ()
        else:
            client.kept -= self._weight
            self._weight = 0
        self._kept = None
        self.request.state &= ~KEPT
        answer.state &= ~EARLY
        if not end:
            bare = passage.head.method == b"HEAD" or kind.status in _BARE
            answer.expects = 0 if bare else expects
        passage.status = kind.status
        side.has_answer = True
        changed = passage.told or kind.claims
        if changed:
            try:
                block = self._edited(kind, block)
            except Refused as refused:
                self.phase = WAITING
                self._show_content()
                self.fail(refused.failure, refused.detail)
                return
        if passage.hop and side.hops is not None:
            passage.first_byte = side.clock()
            self._answer_block = block
            failed = kind.status >= ERRORS or (bool(end) and kind.grpc_status > 0)
            if failed or side.hops.captures.special:
                self._capture(block, kind.status, failed=failed)
                answer.state |= KEPT
        if end:
            self.grpc_status = kind.grpc_status
            answer.state |= LAST
        elif not self.head.grpc:
            self._arm(side.settings.stream_ticks)
        server.pass_block(self.sid, client, end, block, changed=changed)
        if end:
            server.finish(self.sid, answer)

    def _edited(self, kind: AnswerKind, block: bytes) -> bytes:
        """The answer's block with what its side adds, and without what it leaves out."""
        side, passage = self.client.side, self.passage
        head = answer_head(block, kind.status) if kind.claims else _PLAIN_ANSWERS[kind.status]
        added, drop = side.answer(passage, head)
        insert = field_literals(added)
        if passage.told and side.settings.uncached and not kind.grpc and not kind.uncached:
            insert += field_literals(UNCACHED)
            if kind.caching:
                drop |= CACHING
        return (without(block, drop) if drop else block) + insert

    def _trailers(self, kind: AnswerKind, block: bytes, end: int) -> None:
        """Raises StreamFault."""
        if kind.status or not end:
            raise StreamFault(INTERNAL_ERROR, "a second head, or trailers that are not the end (section 8.1)")
        answer = self.answer
        if answer.state & (LAST | OVER):
            raise StreamFault(INTERNAL_ERROR, "a block behind the end of the answer (section 5.1)")
        if 0 <= answer.expects != answer.bytes:
            raise StreamFault(INTERNAL_ERROR, "less content than was announced (section 8.1.1)")
        if kind.claims:
            block = without(block, _OURS)
        self.grpc_status = kind.grpc_status
        if self._answer_block and self.passage.status < ERRORS and kind.grpc_status > 0:
            self._capture(self._answer_block + block, self.passage.status, failed=True)
        assert self.server is not None
        self.server.pass_end_on(self.sid, answer, block, changed=kind.claims)

    def _capture(self, block: bytes, status: int, *, failed: bool) -> None:
        hops = self.client.side.hops
        assert hops is not None  # else it would have no hop
        self._show_content()
        head = answer_head(block, status)
        hops.answered(self.passage, head, head.end, failed=failed)

    def _show_content(self) -> None:
        """What was kept of the request's content is for its hop."""
        self.passage.asked = b"".join([frame[HEAD_BYTES:] for frame in self._content if frame[3] == DATA])

    def captured(self, data: bytes) -> None:
        capture, hops = self.passage.capture, self.client.side.hops
        if capture is not None:
            assert hops is not None
            hops.more(capture, data)

    def bad_answer(self, detail: str) -> None:
        server = self.server
        if server is not None:
            server.reset_stream(self.sid, CANCEL)
        if self.phase == ANSWERING:
            self.cut(INTERNAL_ERROR)
        else:
            self.fail(BAD_RESPONSE, detail)

    # -- the end -------------------------------------------------------------------------------------------------------

    def over(self) -> None:
        self._close(served=True)
        self._settled(self.passage.status, "")

    def fail(self, failure: Failure, detail: str) -> None:
        client, passage, plan = self.client, self.passage, self.passage.plan
        side = client.side
        server = self.server
        if server is not None and self.phase != ROUTING:
            server.reset_stream(self.sid, CANCEL)
        side.waiters.discard(self)
        self.leave_server()
        side.counters.failures[failure.code] += 1
        sandbox = plan.sandbox if plan is not None else ""
        fields = side.error_fields(passage, failure.code)
        reply = own_answer(
            failure, detail, workload=side.workload, sandbox=sandbox, fields=fields, grpc=self.head.grpc,
            bodiless=passage.head.method == b"HEAD", room=min(self.answer.window, client.window),
        )  # fmt: skip
        client.write(header_frames(self.sid, 0 if reply.body else END_STREAM, client.first(reply.block)))
        if reply.body:
            self.answer.window -= len(reply.body)
            client.window -= len(reply.body)
            client.write(content_frames(self.sid, reply.body))
        if not self.request.state & (LAST | OVER):
            client.reset_stream(self.sid, NO_ERROR)  # section 8.1: the rest of the request is not wanted
        if passage.hop and plan is not None and side.hops is not None:
            side.hops.answered_here(passage, reply.text, reply.body)
        self.answer.bytes = len(reply.body)
        self.grpc_status = reply.grpc_status
        self._close()
        self._settled(reply.status, failure.code)

    def reply(self, reply: Reply) -> None:
        client, passage, side = self.client, self.passage, self.client.side
        body = b"" if passage.head.method == b"HEAD" else reply.body
        if body and min(self.answer.window, client.window) < len(body):
            side.counters.failures["answer-truncated"] += 1
            self.cut(REFUSED_STREAM)  # without its body it would be another answer
            return
        fields = list(reply.fields)
        if reply.status not in (204, 304) and not self.head.grpc:
            fields.append((b"content-length", b"%d" % len(reply.body)))
        block = literals([(b":status", b"%d" % reply.status), *fields])
        client.write(header_frames(self.sid, 0 if body else END_STREAM, client.first(block)))
        if body:
            self.answer.window -= len(body)
            client.window -= len(body)
            client.write(content_frames(self.sid, body))
        if not self.request.state & (LAST | OVER):
            client.reset_stream(self.sid, NO_ERROR)  # section 8.1: the rest of the request is not wanted
        if passage.hop and side.hops is not None and reply.status >= ERRORS:
            shown = b"HTTP/2 %d\r\n%b\r\n" % (reply.status, lines_of(fields))
            side.hops.answered_here(passage, shown, body)
        self.answer.bytes = len(body)
        self._close()
        self._settled(reply.status, "")

    def cut(self, code: int, how: str = "cut") -> None:
        self.client.reset_stream(self.sid, code)
        server = self.server
        if server is not None and self.phase != ROUTING:
            server.reset_stream(self.sid, CANCEL)
        self.client.side.waiters.discard(self)
        self._close()
        self._settled(self.passage.status, how)

    def reset_by_client(self, code: int) -> None:
        server = self.server
        if server is not None and self.phase != ROUTING:
            server.reset_stream(self.sid, code)
        self.client_gone()

    def reset_by_server(self, code: int) -> None:
        if code == REFUSED_STREAM and self.phase == WAITING:
            self.refused("reset the stream with REFUSED_STREAM")
            return
        side = self.client.side
        how = "" if self.answer.state & OVER else "cut"
        if self.phase == WAITING:
            if code == NO_ERROR or not self.head.grpc:
                self.leave_server()
                self.fail(UPSTREAM_RESET, f"the upstream reset the stream before it answered (error code {code})")
                return
            how = UPSTREAM_RESET.code
            side.counters.failures[how] += 1
        else:
            if how:
                side.counters.failures["answer-truncated"] += 1
            if code == REFUSED_STREAM:  # it has looked at it: no client may take it for one that can be repeated
                code = INTERNAL_ERROR
        self.client.reset_stream(self.sid, code)
        self._close()
        self._settled(self.passage.status, how)

    def client_gone(self) -> None:
        self.client.side.waiters.discard(self)
        answered = self.answer.state & OVER
        self._close()
        self._settled(self.passage.status, "" if answered else "client-lost")

    def drain(self) -> None:
        if self in self.client.side.waiters:
            self.fail(DRAINING, "the sidecar is shutting down")

    def _close(self, *, served: bool = False) -> None:
        """It has no place on any connection any more."""
        sid, client, request, answer = self.sid, self.client, self.request, self.answer
        self.phase = CLOSED
        self.due = 0
        client.kept -= self._weight
        self._weight = 0
        self._kept, self._content = None, ()
        if request.queue:
            client.forget(sid, request)
        if answer.queue and self.server is not None:
            self.server.forget(sid, answer)
        self.leave_server()
        client.flows.pop(sid, None)
        client.ended_one(served=served)

    def _settled(self, status: int, failure: str) -> None:
        passage, side = self.passage, self.client.side
        passage.request_bytes = self.request.bytes
        passage.answer_bytes = self.answer.bytes
        passage.further = _HTTP2
        code = self.grpc_status
        if code >= 0:
            side.counters.grpc[code] += 1
            if passage.hop:
                passage.further = b'%b,"grpcStatus":%d' % (_HTTP2, code) if code else _GRPC_OK
        side.settled(passage, status, failure)
        request, answer = self.request, self.answer
        del request.back, request.exchange, answer.back, answer.exchange

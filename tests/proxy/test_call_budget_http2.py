"""What a stream of HTTP/2 costs, counted in calls, as `test_call_budget` does it for HTTP/1.1: a unary call of gRPC
with fresh ids, and its answer, each in one read.
"""

from __future__ import annotations

import gc

import pytest

from benchmarks.load.calls import WIDE, answered, asked, calls
from proxy.contract.routes import Route
from proxy.exchange.h2.client import ClientLink
from proxy.net.upstream import UpstreamConnection
from proxy.wire.h2.frames import PREFACE
from tests.proxy.net.rig import WORKLOAD, Net
from tests.proxy.test_call_budget import APP, SHADOW, FakeTransport, count, listed

PYTHON_CALLS = {"keyed": 87, "without a fork": 87, "unkeyed": 73}
"""What was reached, with everything on."""

C_CALLS = {"keyed": 89, "without a fork": 89, "unkeyed": 53}
"""A tenth above what was reached (81, 81 and 48), the two writes included."""

KEYS = {"keyed": ("agent-42",), "without a fork": ("agent-7",), "unkeyed": ()}


class OpenTransport(FakeTransport):
    """It is asked before each write whether it is closing."""

    is_closing = bool


class Subject:
    """A client's connection, and its connection to the endpoint that the requests go to."""

    def __init__(self, kind: str) -> None:
        parts = Net([Route(WORKLOAD, "agent-42", (SHADOW,))])
        self.client, self.app = OpenTransport(), OpenTransport()
        self.counters = parts.counters.inbound
        pool = parts.pools(SHADOW if kind == "keyed" else APP)
        self.upstream = UpstreamConnection(pool)
        self.upstream.stream = self.app
        self.upstream.early = None
        self.link = ClientLink(parts.inbound(APP), self.client)
        self.link.adopt(pool, self.upstream)
        self.link.begin(PREFACE + WIDE)
        self.upstream.data_received(WIDE)
        self.blocks = iter(calls(KEYS[kind]))
        self.sid = -1
        self.answer = b""

    def carry(self, request: bytes) -> None:
        self.link.received(request)
        self.upstream.data_received(self.answer)

    def next(self) -> bytes:
        self.sid += 2
        self.answer = answered(self.sid)
        return asked(self.sid, next(self.blocks))


@pytest.mark.interpreted  # compiled functions make no events for a profiler: nothing at all would pass
@pytest.mark.parametrize("kind", KEYS)
def test_calls_per_stream(kind: str) -> None:
    subject = Subject(kind)
    gc.disable()  # its callbacks are calls, too
    try:
        for _ in range(3):
            subject.carry(subject.next())
        python, c = count(subject.carry, subject.next())
    finally:
        gc.enable()
    assert sum(python.values()) <= PYTHON_CALLS[kind], listed(python)
    assert sum(c.values()) <= C_CALLS[kind], listed(c)


def test_what_is_counted_is_what_is_meant() -> None:
    """Each kind of call goes where it should, with what belongs to it, and its answer comes back."""
    for kind, action in (("keyed", "shadow"), ("without a fork", "baseline"), ("unkeyed", "baseline")):
        subject = Subject(kind)
        subject.carry(subject.next())
        request = subject.next()
        subject.carry(request)
        if kind == "unkeyed":
            assert subject.app.sent[0] == request
            assert subject.client.sent[0] == subject.answer
        else:
            assert len(subject.app.sent[0]) > len(request) + 500
            assert (b"skycap-visited" in subject.app.sent[0]) == (kind == "keyed")
            assert b"skycap-served-by" in subject.client.sent[0]
        assert subject.counters.requests[action][2] == 2
        assert subject.counters.grpc[0] == 2

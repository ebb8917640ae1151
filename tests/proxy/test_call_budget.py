"""What a request costs, counted in calls: a guard that needs no clock.

CPython spends most of a request's time in calls. So their number, for one keep-alive GET with ten realistic fields
through the real exchange, side and pool, tells a slower data path from a slower machine. Whoever adds a call per
request has to raise a budget here and to say what for; whoever saves some lowers it.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter, deque
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from proxy.contract.routes import Endpoint, Route
from proxy.exchange.exchange import Exchange
from proxy.net.upstream import UpstreamConnection
from tests.proxy.net.rig import WORKLOAD, Net

PYTHON_CALLS = {"keyed": 22, "without a fork": 22, "unkeyed": 19}
"""What was reached with everything on is 22, 22 and 18."""

C_CALLS = {"keyed": 46, "without a fork": 46, "unkeyed": 32}
"""A tenth above what was reached (43, 43 and 30): methods of bytes and dictionaries, the two writes included. Seven of
a keyed request's are its hop: a count, the clock twice, where the target ends, and the place in the ring."""

APP = Endpoint("127.0.0.1", 9001)
SHADOW = Endpoint("127.0.0.1", 9002)

_REQUEST = (
    "GET /users/42?fields=name HTTP/1.1\r\n"
    "Host: users.shop.svc.cluster.local:8080\r\n"
    "baggage: {members}user=1\r\n"
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
    "user-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0\r\n"
    "accept: text/html,application/json;q=0.9,*/*;q=0.8\r\n"
    "accept-encoding: gzip, deflate, br\r\n"
    "accept-language: en-US,en;q=0.5\r\n"
    "x-request-id: 6f1b1f0e-7b1e-4b6e-9f0a-1234567890ab\r\n"
    "cookie: session=abcdef0123456789; theme=dark\r\n"
    "x-forwarded-for: 10.1.2.3\r\n"
    "\r\n"
)
REQUESTS = {
    "keyed": _REQUEST.format(members="routing-key=agent-42,").encode(),
    "without a fork": _REQUEST.format(members="routing-key=agent-7,").encode(),
    "unkeyed": _REQUEST.format(members="").encode(),
}
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 17:40:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 100\r\nConnection: keep-alive\r\n\r\n" + b"x" * 100
)


class FakeTransport:
    """Takes what is written with one call of C, as uvloop's do. Nothing else happens to a connection in use."""

    def __init__(self) -> None:
        self.sent: deque[bytes] = deque(maxlen=1)
        self.write = self.sent.append

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} on the way of a usual request")


class Subject:
    """One client's connection, and an idle connection to the application and to the shadow."""

    def __init__(self) -> None:
        parts = Net([Route(WORKLOAD, "agent-42", (SHADOW,))])
        self.client = FakeTransport()
        self.exchange = Exchange(parts.inbound(APP), self.client)
        self.upstreams: list[UpstreamConnection] = []
        for endpoint in (APP, SHADOW):
            pool = parts.pools(endpoint)
            upstream = UpstreamConnection(pool)
            upstream.stream = FakeTransport()
            pool.open.add(upstream)
            pool.give(upstream, -1)
            self.upstreams.append(upstream)
        self.counters = parts.counters.inbound

    def carry(self, request: bytes) -> None:
        self.exchange.request.received(request)
        upstream = self.exchange.upstream
        assert isinstance(upstream, UpstreamConnection)
        upstream.data_received(ANSWER)


def count(carry: Callable[[bytes], None], request: bytes) -> tuple[Counter[str], Counter[str]]:
    """The calls of one request, of Python and of C, by name. Those of `carry` itself and of the tests are left out."""
    python: Counter[str] = Counter()
    c: Counter[str] = Counter()
    own = {__file__, carry.__code__.co_filename}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if frame.f_code.co_filename in own:
            return
        if event == "call":
            python[frame.f_code.co_qualname if sys.version_info >= (3, 11) else frame.f_code.co_name] += 1
        elif event == "c_call" and argument is not sys.setprofile:
            c[argument.__qualname__] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        carry(request)
    finally:
        sys.setprofile(before)
    return python, c


def listed(calls: Counter[str]) -> str:
    return ", ".join(f"{name} x{number}" if number > 1 else name for name, number in calls.items())


@pytest.mark.interpreted  # compiled functions make no events for a profiler: nothing at all would pass
@pytest.mark.parametrize("kind", REQUESTS)
def test_calls_per_request(kind: str) -> None:
    subject = Subject()
    gc.disable()  # its callbacks are calls, too
    try:
        for _ in range(3):
            subject.carry(REQUESTS[kind])
        python, c = count(subject.carry, REQUESTS[kind])
    finally:
        gc.enable()
    assert sum(python.values()) <= PYTHON_CALLS[kind], listed(python)
    assert sum(c.values()) <= C_CALLS[kind], listed(c)


def test_what_is_counted_is_what_is_meant() -> None:
    """Each kind of request goes where it should, with what belongs to it, and its answer comes back."""
    subject = Subject()
    app, shadow = (upstream.stream for upstream in subject.upstreams)
    assert isinstance(app, FakeTransport)
    assert isinstance(shadow, FakeTransport)
    subject.carry(REQUESTS["keyed"])
    assert shadow.sent[0].startswith(REQUESTS["keyed"][:-2])
    assert b"\r\nskycap-visited: " in shadow.sent[0]
    assert b"\r\nskycap-served-by: shop/users;sandbox=agent-42;rev=1\r\n" in subject.client.sent[0]
    subject.carry(REQUESTS["without a fork"])
    assert app.sent[0].startswith(REQUESTS["without a fork"][:-2])
    assert b"\r\nskycap-served-by: shop/users;baseline\r\n" in subject.client.sent[0]
    subject.carry(REQUESTS["unkeyed"])
    assert app.sent[0] == REQUESTS["unkeyed"]
    assert subject.client.sent[0] == ANSWER
    assert subject.counters.upstream_reused == 3

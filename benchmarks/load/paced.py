"""An open loop: requests leave at a constant rate, whatever became of those before.

    python -m benchmarks.load.paced '{"port": 8080, "rate": 1000, "connections": 16, "seconds": 3, ...}'

Latency is counted from the moment at which a request was *due*. When an answer is late and the connection's next
request is due meanwhile, that one waits and its waiting counts, so that a stall of 100 ms shows in all the requests
that fell into it and not in one (no coordinated omission). Requests are due at even distances and go round the
connections.

One thread, plain sockets and `select`: its time-out is an hrtimer with the slack set to 1 ns, where libuv's timers
(uvloop) and `epoll` as Python offers it count in milliseconds, as long as the whole gap between two requests. The
cost per request of this program is in every figure, `direct` included, and leaves with the difference.

Prints one JSON object: `latencies_us` of all answers, `wrong` (status or body not as asked), `lost` (no answer).
"""

from __future__ import annotations

import ctypes
import gc
import json
import re
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from benchmarks.traffic import Traffic

_PR_SET_TIMERSLACK = 29
_LINGER_SECONDS = 3.0
"""After the last request was due; an answer that takes longer is lost."""

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Order:
    """What to send. `expect` is what every body must begin with; the first `warm_up` seconds are not reported."""

    port: int
    rate: float
    connections: int
    seconds: float
    expect: str
    keys: tuple[str, ...]
    path: str
    warm_up: float = 0.3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    latencies_us: list[float]
    wrong: int
    lost: int


class _Lane:
    """One connection. `waiting` holds the due times that came while it was busy."""

    __slots__ = ("asked", "buffer", "due", "size", "socket", "waiting")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.waiting: deque[float] = deque()
        self.due = 0.0
        self.asked = False
        self.buffer = b""
        self.size = 0

    def fileno(self) -> int:
        return self.socket.fileno()

    def answer(self) -> bytes | None:
        """The whole answer once it is there. Raises ConnectionError when the other side ends."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed")
        self.buffer += data
        if not self.size:
            end = self.buffer.find(b"\r\n\r\n")
            length = _LENGTH.search(self.buffer, 0, end + 2) if end >= 0 else None
            if length is None:
                return None
            self.size = end + 4 + int(length[1])
        if len(self.buffer) < self.size:
            return None
        whole, self.buffer, self.size = self.buffer, b"", 0
        return whole


class PacedLoad:
    """One run of an Order. All its state is here so that `run` reads as the loop that it is."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._traffic = Traffic(keys=order.keys, path=order.path)
        self._template = self._traffic.template()
        self._lanes = [_Lane(order.port) for _ in range(order.connections)]
        self._expect = order.expect.encode()
        self._sent = 0
        self._answered: list[tuple[float, float]] = []
        self._wrong = 0

    def run(self) -> Outcome:
        """Send everything at its time and collect the answers."""
        order = self._order
        total = int(order.rate * (order.seconds + order.warm_up))
        start = time.perf_counter() + 0.01
        last_due = start + total / order.rate
        scheduled = 0
        open_lanes = list(self._lanes)
        while len(self._answered) + self._wrong < total and open_lanes:
            now = time.perf_counter()
            while scheduled < total and (due := start + scheduled / order.rate) <= now:
                self._schedule(self._lanes[scheduled % order.connections], due)
                scheduled += 1
            if now > last_due + _LINGER_SECONDS:
                break
            wake = start + scheduled / order.rate if scheduled < total else last_due + _LINGER_SECONDS
            readable, _, _ = select.select(open_lanes, (), (), max(0.0, wake - time.perf_counter()))
            for lane in readable:
                if not self._receive(lane):
                    open_lanes.remove(lane)
        first = start + order.warm_up
        latencies = [round((end - due) * 1e6, 1) for due, end in self._answered if due >= first]
        for lane in self._lanes:
            lane.socket.close()
        return Outcome(latencies, self._wrong, total - len(self._answered) - self._wrong)

    def _schedule(self, lane: _Lane, due: float) -> None:
        if lane.asked:
            lane.waiting.append(due)
        else:
            self._send(lane, due)

    def _send(self, lane: _Lane, due: float) -> None:
        lane.asked, lane.due = True, due
        self._sent += 1
        try:
            lane.socket.sendall(self._traffic.head(self._sent, self._template))
        except OSError:
            return  # the end of the connection is seen where it is read, and the request counts as lost

    def _receive(self, lane: _Lane) -> bool:
        """False when the connection has ended: what it still owed is lost."""
        try:
            answer = lane.answer()
        except OSError:
            return False
        if answer is None:
            return True
        if not lane.asked:
            self._wrong += 1
            return True
        if answer.startswith(b"HTTP/1.1 200 ") and answer.partition(b"\r\n\r\n")[2].startswith(self._expect):
            self._answered.append((lane.due, time.perf_counter()))
        else:
            self._wrong += 1
        lane.asked = False
        if lane.waiting:
            self._send(lane, lane.waiting.popleft())
        return True


def command(order: Order) -> list[str]:
    """How to run it in a process of its own, undisturbed by ours."""
    return [sys.executable, "-m", "benchmarks.load.paced", json.dumps(asdict(order))]


def parse(output: str) -> Outcome:
    """What the process printed."""
    document = json.loads(output)
    return Outcome(document["latencies_us"], document["wrong"], document["lost"])


def main(arguments: Iterable[str]) -> None:
    document = json.loads(next(iter(arguments)))
    document["keys"] = tuple(document["keys"])
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    load = PacedLoad(Order(**document))
    gc.disable()  # a collection would be measured as latency; a few thousand floats need none
    print(json.dumps(asdict(load.run())))


if __name__ == "__main__":
    main(sys.argv[1:])

"""An open loop: requests leave at a constant rate, whatever became of those before.

    python -m benchmarks.load.paced '{"port": 8080, "rate": 1000, "connections": 16, "seconds": 3, ...}'

Latency is counted from the moment at which a request was *due*. When an answer is late and the connection's next
request is due meanwhile, that one waits and its waiting counts, so that a stall of 100 ms shows in all the requests
that fell into it and not in one (no coordinated omission). Requests are due at even distances and go round the
connections.

One thread, plain sockets and `select`: its time-out is an hrtimer with the slack set to 1 ns, where libuv's timers
(uvloop) and `epoll` as Python offers it count in milliseconds, as long as the whole gap between two requests. The
cost per request of this program is in every figure, `direct` included, and leaves with the difference.

SIGTERM ends it early: nothing further is due, what was sent is still waited for.

Prints one JSON object: `latencies_us` of all answers, `wrong` (status or body not as asked), `lost` (no answer), and
`worst_cpu_us`: the most CPU time that the watched process spent between a request's departure and its answer. That is
a stall of the proxy's own making; a long latency without it is somebody else's.
"""

from __future__ import annotations

import ctypes
import gc
import json
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from benchmarks.accounting import cpu_clock
from benchmarks.errors import BenchmarkError
from benchmarks.process import confined, environment
from benchmarks.traffic import Traffic

_PR_SET_TIMERSLACK = 29
LINGER_SECONDS = 3.0
"""After the last request was due; an answer that takes longer is lost."""

WARM_UP_SECONDS = 0.3

_LIFETIME_SECONDS = 120
"""Of a whole run; none is asked to last longer than a minute."""

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Order:
    """What to send.

    expect:  what every body must begin with.
    watch:   process id of the proxy whose CPU clock is read around every request; 0: none.
    warm_up: the first seconds, not reported.
    """

    port: int
    rate: float
    connections: int
    seconds: float
    expect: str
    keys: tuple[str, ...]
    path: str
    watch: int = 0
    warm_up: float = WARM_UP_SECONDS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    latencies_us: list[float]
    wrong: int
    lost: int
    worst_cpu_us: float = 0.0


class _Lane:
    """One connection. `waiting` holds the due times that came while it was busy."""

    __slots__ = ("asked", "buffer", "cpu", "due", "size", "socket", "waiting")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.waiting: deque[float] = deque()
        self.due = 0.0
        self.cpu = 0
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
        self._total = int(order.rate * (order.seconds + order.warm_up))
        self._scheduled = 0
        self._stopped = False
        self._clock = cpu_clock(order.watch) if order.watch else time.CLOCK_PROCESS_CPUTIME_ID
        self._watching_from = 0.0
        self._worst_cpu = 0

    def stop(self) -> None:
        """Nothing further is due. It may be called by a signal or another thread, in the middle of a request."""
        self._stopped = True

    def run(self) -> Outcome:
        """Send everything at its time and collect the answers."""
        order = self._order
        start = time.perf_counter() + 0.01
        self._watching_from = start + order.warm_up
        open_lanes = list(self._lanes)
        while len(self._answered) + self._wrong < self._total and open_lanes:
            if self._stopped:
                self._total = self._scheduled
            now = time.perf_counter()
            while self._scheduled < self._total and (due := start + self._scheduled / order.rate) <= now:
                self._schedule(self._lanes[self._scheduled % order.connections], due)
                self._scheduled += 1
            last = start + self._total / order.rate + LINGER_SECONDS
            if now > last:
                break
            wake = start + self._scheduled / order.rate if self._scheduled < self._total else last
            readable, _, _ = select.select(open_lanes, (), (), max(0.0, wake - time.perf_counter()))
            for lane in readable:
                if not self._receive(lane):
                    open_lanes.remove(lane)
        first = self._watching_from
        latencies = [round((end - due) * 1e6, 1) for due, end in self._answered if due >= first]
        for lane in self._lanes:
            lane.socket.close()
        return Outcome(latencies, self._wrong, self._total - len(self._answered) - self._wrong, self._worst_cpu / 1000)

    def _schedule(self, lane: _Lane, due: float) -> None:
        if lane.asked:
            lane.waiting.append(due)
        else:
            self._send(lane, due)

    def _send(self, lane: _Lane, due: float) -> None:
        lane.asked, lane.due = True, due
        self._sent += 1
        lane.cpu = time.clock_gettime_ns(self._clock)
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
            if lane.due >= self._watching_from:
                self._worst_cpu = max(self._worst_cpu, time.clock_gettime_ns(self._clock) - lane.cpu)
        else:
            self._wrong += 1
        lane.asked = False
        if lane.waiting:
            self._send(lane, lane.waiting.popleft())
        return True


def start(order: Order, cores: Iterable[int], stack: ExitStack) -> subprocess.Popen[str]:
    """Run it in a process of its own, undisturbed by ours; `stack` ends it at the latest."""
    command = [sys.executable, "-m", "benchmarks.load.paced", json.dumps(asdict(order))]
    load = subprocess.Popen(
        confined(command, cores),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(),
    )
    stack.enter_context(load)
    stack.callback(_kill, load)
    return load


def finish(load: subprocess.Popen[str]) -> Outcome:
    """Wait for its end. Raises BenchmarkError when it breaks or does not end."""
    try:
        output, errors = load.communicate(timeout=_LIFETIME_SECONDS)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"the load did not end within {_LIFETIME_SECONDS} s") from None
    if load.returncode:
        raise BenchmarkError(f"the load broke: {' / '.join(errors.strip().splitlines()[-1:]) or 'it said nothing'}")
    document = json.loads(output)
    return Outcome(document["latencies_us"], document["wrong"], document["lost"], document["worst_cpu_us"])


def _kill(load: subprocess.Popen[str]) -> None:
    if load.poll() is None:
        load.kill()


def main(arguments: Iterable[str]) -> None:
    document = json.loads(next(iter(arguments)))
    document["keys"] = tuple(document["keys"])
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    load = PacedLoad(Order(**document))
    signal.signal(signal.SIGTERM, lambda *_: load.stop())
    gc.disable()  # a collection would be measured as latency; a few thousand floats need none
    print(json.dumps(asdict(load.run())))


if __name__ == "__main__":
    main(sys.argv[1:])

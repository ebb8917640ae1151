"""After thousands of exchanges that ended in every way, a sidecar holds what it held before them, to the object."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.faults import peers, subject
from tests.faults.conftest import SHORT
from tests.faults.counted import COUNT
from tests.faults.peers import Origin, Peer, connect, error_code, ok, request
from tests.faults.subject import DEADLINE_SECONDS, POLL_SECONDS, WORKLOAD, Subject, until

EXCHANGES = 2000
AT_ONCE = 64
GROWTH_LIMIT = 8 << 20
"""Bytes, of the memory that the first round had made resident."""


SEEN = {
    "served: whole", "served_twice: whole", "served_by_a_shadow: whole", "malformed: bad-request",
    "without_a_shadow: shadow-unreachable", "without_a_shadow: whole", "reset_by_it: upstream-reset",
    "truncated: reset", "truncated: upstream-reset", "timed_out: app-timeout",
    "leaves_its_head: ", "leaves_its_upload: ", "tunnels: ping",
    "opaque: whole",
}  # fmt: skip
"""By the clients."""

LATE = "app-timeout"
"""Seen by anybody whom the application answers, where the machine is so busy that it takes half a second. One more way
to end."""


class Application:
    """Ends every exchange as its path says."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self.paths: Counter[bytes] = Counter()

    async def script(self, peer: Peer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await peer.head()
                path = head.split(b" ", 2)[1] if head.startswith((b"GET", b"POST")) else b"opaque"
                self.paths[path] += 1
                if path == b"/resets":
                    peer.reset()
                    return
                if path == b"/truncates":
                    await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
                    peer.reset()
                    return
                if path == b"/stalls":
                    await peer.ended()
                    return
                if path == b"/uploads":
                    await peer.ended()
                    return
                if path == b"/tunnels":
                    await peer.send(b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
                    await peer.send(await peer.exactly(4))
                    await peer.ended()
                    return
                await peer.send(ok(b"whole"))


class Mix:
    """All the ways in which an exchange can end, one after the other. answers: what the clients saw, counted."""

    def __init__(self, sidecar: Subject) -> None:
        self._sidecar = sidecar
        self.answers: Counter[str] = Counter()
        self.ways: tuple[Callable[[Peer], Awaitable[str]], ...] = (
            self.served, self.served_twice, self.served_by_a_shadow, self.malformed, self.without_a_shadow,
            self.reset_by_it, self.truncated, self.timed_out, self.leaves_its_head, self.leaves_its_upload,
            self.tunnels, self.opaque,
        )  # fmt: skip

    async def run(self, exchanges: int) -> None:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            way = self.ways[number % len(self.ways)]
            async with turn:
                client = await connect(self._sidecar.port(("inbound", "outbound")[number // len(self.ways) % 2]))
                self.answers[f"{way.__name__}: {await way(client)}"] += 1
                client.end(("close", "reset")[number % 2])

        await asyncio.gather(*(one(number) for number in range(exchanges)))
        await peers.hang_up()

    async def served(self, client: Peer) -> str:
        await client.send(request(b"/fine"))
        return await said(client)

    async def served_twice(self, client: Peer) -> str:
        await client.send(request(b"/fine") * 2)
        first = await said(client)
        return first if first == LATE else await said(client)

    async def served_by_a_shadow(self, client: Peer) -> str:
        await client.send(request(b"/fine", b"baggage: routing-key=ready"))
        return await said(client)

    async def malformed(self, client: Peer) -> str:
        await client.send(b"GET / HTTP/1.1\r\nhost : a\r\n\r\n")
        return error_code(await client.head()).decode()

    async def without_a_shadow(self, client: Peer) -> str:
        """On the outbound side the key is the next sidecar's business."""
        await client.send(request(b"/fine", b"baggage: routing-key=gone"))
        return await said(client)

    async def reset_by_it(self, client: Peer) -> str:
        await client.send(request(b"/resets"))
        return error_code((await client.message())[0]).decode()

    async def truncated(self, client: Peer) -> str:
        """A reset may overtake what came before it."""
        await client.send(request(b"/truncates"))
        with contextlib.suppress(ConnectionResetError):
            head = await client.head()
            if error_code(head):
                return error_code(head).decode()
        return await client.ended()

    async def timed_out(self, client: Peer) -> str:
        await client.send(request(b"/stalls"))
        return error_code((await client.message())[0]).decode()

    async def leaves_its_head(self, client: Peer) -> str:
        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\nx:")
        return ""

    async def leaves_its_upload(self, client: Peer) -> str:
        await client.send(request(b"/uploads", b"content-length: 100", method=b"POST") + b"half")
        return ""

    async def tunnels(self, client: Peer) -> str:
        await client.send(request(b"/tunnels", b"connection: upgrade", b"upgrade: echo"))
        refused = error_code(await client.head())
        if refused:
            return refused.decode()
        await client.send(b"ping")
        return (await client.exactly(4)).decode()

    async def opaque(self, client: Peer) -> str:
        await client.send(b"\x00not HTTP\r\n\r\n")
        return await said(client)


async def said(client: Peer) -> str:
    """The code of the sidecar's error, or the body of the application's answer."""
    head, body = await client.message()
    return (error_code(head) or body).decode()


async def alive(sidecar: Subject, file: Path) -> Counter[str]:
    """The objects of a sidecar at rest."""
    await sidecar.at_rest()
    await until(lambda: not sidecar.peers(), "we have gone as well")
    sidecar.process.send_signal(COUNT)
    return await asyncio.to_thread(_take, file)


def _take(file: Path) -> Counter[str]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not file.exists():
        assert time.monotonic() < deadline, "it does not count"
        time.sleep(POLL_SECONDS)
    counted = Counter(json.loads(file.read_text()))
    file.unlink()
    return counted


def more(after: Counter[str], before: Counter[str]) -> dict[str, int]:
    return {kind: after[kind] - before[kind] for kind in after if after[kind] > before[kind]}


@pytest.mark.timeout(120)
async def test_nothing_is_left_of_thousands_of_exchanges(application: socket.socket, tmp_path: Path) -> None:
    port = application.getsockname()[1]
    routes, file = tmp_path / "routes.yaml", tmp_path / "alive.json"
    routes.write_text(
        f"routes:\n- {{workload: {WORKLOAD}, key: ready, endpoints: ['127.0.0.1:{port}']}}\n"
        f"- {{workload: {WORKLOAD}, key: gone, endpoints: ['127.0.0.1:1']}}\n"
    )
    launcher = (sys.executable, "-m", "tests.faults.counted", str(file))
    # Nothing waits in vain for a busy machine, but for the answer that never comes.
    patient = ("--stream-timeout", "40s", "--header-timeout", "40s", "--connect-timeout", "40s")
    flags = (*SHORT, *patient, "--routes", str(routes))
    with subject.running(port, tmp_path, *flags, launcher=launcher) as sidecar:
        async with peers.serving(application) as origin:
            app = Application(origin)
            origin.script = app.script
            mix = Mix(sidecar)
            # What is made once is made in the first round: pools, plans, compiled patterns.
            await mix.run(20 * len(mix.ways))
            await origin.stop()  # idle connections end
            before, resident = await alive(sidecar, file), sidecar.resident
            mix.answers.clear()
            await mix.run(EXCHANGES)
            await origin.stop()
            # A connection that was closed just now is an object until the event loop has come round.
            deadline = time.monotonic() + DEADLINE_SECONDS
            while left := more(await alive(sidecar, file), before):
                assert time.monotonic() < deadline, left
            assert sidecar.resident - resident < GROWTH_LIMIT
    assert {answer for answer in mix.answers if not answer.endswith(f": {LATE}")} <= SEEN
    assert mix.answers.total() == EXCHANGES
    assert app.paths.keys() == {b"/fine", b"/resets", b"/truncates", b"/stalls", b"/uploads", b"/tunnels", b"opaque"}

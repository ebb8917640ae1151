"""The rig: a running proxy with one lane, on which cases run one behind the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from proxy.wire.h2.frames import SETTINGS
from tests.conformance.h2.corpus import Case
from tests.conformance.h2.play import LATER, Lane, Seen, frame
from tests.conformance.lanes import DEADLINE
from tests.conformance.peers import PeerError, Proxy
from tests.conformance.rig import attempted, free_ports, listening

PLAIN = Case(
    theme="rig", name="plain", line=0, kind="opening", word="accept", code=0, stream=LATER, rfc="9113 3.4",
    why="A good connection.", data=frame(SETTINGS, 0, 0), arrives=None,
)  # fmt: skip


class Rig:
    """A running proxy and its lane."""

    def __init__(self, proxy: Proxy, lane: Lane, runner: asyncio.Runner) -> None:
        self._proxy = proxy
        self._lane = lane
        self._runner = runner

    def play(self, cases: Sequence[Case], patience: float = DEADLINE) -> list[tuple[Case, Seen]]:
        """Every case once. patience: seconds for what a case waits for; less where it may well be in vain."""
        self._lane.patience = patience
        return self._runner.run(self._play(cases))

    async def _play(self, cases: Sequence[Case]) -> list[tuple[Case, Seen]]:
        return [(case, await self._lane.play(case)) for case in cases]

    async def start(self) -> None:
        """Raises PeerError where it is not the proxy that listens, or where it does not know where to go."""
        await self._lane.start()
        if (await self._lane.play(PLAIN)).later is None:
            raise PeerError(f"{self._proxy.name} does not carry a plain request through {self._lane!r}")

    async def stop(self) -> None:
        self._lane.origin.stop()
        for _ in range(3):
            await asyncio.sleep(0)  # closed transports say goodbye in the next turns of the loop


@contextlib.contextmanager
def rig(proxy: Proxy) -> Iterator[Rig]:
    """The proxy running. Leaving the block fails where it has died."""
    with attempted(lambda: _started(proxy)) as made:
        yield made


@contextlib.contextmanager
def _started(proxy: Proxy) -> Iterator[Rig]:
    with contextlib.ExitStack() as stack:
        (port,) = free_ports(1)
        lane = Lane(("127.0.0.1", port), listening())
        stack.callback(lane.sock.close)
        runner = stack.enter_context(asyncio.Runner())
        stack.enter_context(proxy.running([lane]))
        made = Rig(proxy, lane, runner)
        stack.callback(lambda: runner.run(made.stop()))
        runner.run(made.start())
        yield made

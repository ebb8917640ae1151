"""The life of one fork: one task that brings what runs to what is wanted.

    adopt -> +-> nothing to do: sleep until news, or until the shadow dies --+
             |-> a start failed a moment ago: sleep the back-off out         |
             +-> another revision should run: start it, then switch       <--+

The task decides anew from the record at every turn, so it does not matter what happened meanwhile, or how many
updates. It changes the record by steps only; a step that has been overtaken is refused there, and then what was
started for it is stopped again.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from controlplane.launch.port import Launcher, LaunchError, LaunchRequest, Running
from controlplane.life.surroundings import Surroundings
from controlplane.model.observed import Copy, ForkState, Setback
from controlplane.model.sandbox import Fork
from proxy.base.tasks import ended

if TYPE_CHECKING:
    from controlplane.life.sandbox import SandboxLife

log = logging.getLogger(__name__)


class Death(NamedTuple):
    """When a copy ended by itself, and what it wrote last."""

    time: datetime
    revision: int
    log: str

    def after(self, moment: float) -> bool:
        """moment: seconds since 1970."""
        return self.time.timestamp() >= moment


FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_LOOK_SECONDS = 5.0
"""For what somebody else may start at any moment: looking costs a dial."""
STABLE_SECONDS = 60.0
"""A shadow that ran for so long begins again with the first pause when it dies."""


class ForkLife:
    """One fork of one sandbox. `run` is its life; `news` says that the record has changed."""

    def __init__(self, sandbox: SandboxLife, workload: str, around: Surroundings) -> None:
        self.workload = workload
        self._sandbox = sandbox
        self._around = around
        self._news = asyncio.Event()
        self._over = False
        self._serving: Copy | None = None
        self._death: asyncio.Task[LaunchError] | None = None
        self._since = 0.0
        self._deaths = 0
        self._not_before = 0.0
        self.adopted = asyncio.Event()
        """What ran before the registry started has been found again, or found gone."""

    def __repr__(self) -> str:
        serving = f"revision {self._serving.revision}" if self._serving else "nothing"
        return f"<ForkLife {self._sandbox.name} {self.workload} runs {serving}>"

    def news(self, retry: bool = False) -> None:
        """The record has changed. `retry`: somebody asked for it, so no back-off."""
        if retry:
            self._not_before = 0.0
        self._news.set()

    def end(self) -> None:
        """No more starts. What runs is somebody else's from now on."""
        self._over = True
        self._news.set()

    async def run(self) -> None:
        try:
            await self._adopt()
            while not self._over:
                await self._turn()
        finally:
            self.adopted.set()
            if self._death is not None:
                await ended(self._death)

    async def _turn(self) -> None:
        self._news.clear()
        fork = self._record
        if fork.serving is None and self._serving is not None and self._death is not None and not self._death.done():
            await self._let_go()
        pause = self._not_before - self._around.clock.monotonic()
        if fork.target is None or self._there(fork.target[0]):
            await self._sleep()
        elif pause > 0:
            await self._pause(pause)
        else:
            await self._start(*fork.target)
        await self._bury()

    def _there(self, revision: int) -> bool:
        """It serves, or an earlier copy of it is still being stopped: of two nobody could say which is meant."""
        retiring = self._sandbox.record.retiring
        leaving = any(copy.fork.workload == self.workload and copy.revision == revision for copy in retiring)
        return leaving or (self._serving is not None and self._serving.revision == revision)

    async def _let_go(self) -> None:
        """It was put to sleep, and perhaps woken again since: what served is being stopped, which is no death."""
        death, self._death, self._serving = self._death, None, None
        if death is not None:
            await ended(death)

    @property
    def _record(self) -> ForkState:
        """There is one until `end`, which comes with the record that drops the fork."""
        fork = self._sandbox.record.fork(self.workload)
        assert fork is not None
        return fork

    async def _adopt(self) -> None:
        """Find the shadow again that ran when the registry ended."""
        copy = self._record.serving
        running = await self._sandbox.adopt(copy) if copy is not None else None
        self.adopted.set()
        if copy is None:
            return
        if running is not None:
            self._around.counters.adopted += 1
            self._serve(copy, running)
        else:
            log.info("%s: its shadow of %s is gone, starting it again", self._sandbox.name, self.workload)
            await self._sandbox.persist(lambda record, now: record.lost(self.workload, now))

    async def _start(self, revision: int, fork: Fork) -> None:
        request = self._sandbox.request(revision, fork)
        launcher = self._around.installation.launcher(fork.launcher)
        name = f"start {request.sandbox} {request.workload} {revision}"
        attempt = self._around.tasks.begin(_started(launcher, request), name)
        while not attempt.done() and not self._overtaken(revision, fork):
            self._news.clear()
            await self._sleep(attempt)
            await self._bury()
        if not attempt.done():
            await ended(attempt)
        if attempt.cancelled():
            return
        outcome = attempt.result()
        if isinstance(outcome, LaunchError):
            await self._not_started(revision, outcome)
        else:
            await self._switch(launcher, Copy(
                revision=revision, fork=fork, endpoints=outcome.endpoints, handle=outcome.handle
            ), outcome)  # fmt: skip

    def _overtaken(self, revision: int, fork: Fork) -> bool:
        return self._over or self._record.target != (revision, fork)

    async def _switch(self, launcher: Launcher, copy: Copy, running: Running) -> None:
        """It answers: from now on it serves, unless that was overtaken or cannot be stored any more."""
        at = self.workload, copy.revision
        if not self._over:
            self._sandbox.running[at] = running
            if await self._sandbox.persist(lambda record, now: record.started(copy, now)):
                self._around.counters.started += 1
                self._serve(copy, running)
                return
        if self._sandbox.running.get(at) is running:
            del self._sandbox.running[at]
        await launcher.stop(running)

    async def _not_started(self, revision: int, error: LaunchError) -> None:
        self._around.counters.not_started += 1
        log.info("%s: revision %d of %s did not start: %s", self._sandbox.name, revision, self.workload, error)
        setback = Setback(revision=revision, message=str(error), log=error.log, again=error.again)
        good = None if self._over else self._record.good
        if error.again or (good is not None and good.revision == revision):
            setback = self._again_later(setback)
        await self._sandbox.persist(lambda record, now: record.not_started(self.workload, setback, now))

    def _serve(self, copy: Copy, running: Running) -> None:
        self._sandbox.running[self.workload, copy.revision] = running
        previous, self._serving = self._death, copy
        self._since = self._around.clock.monotonic()
        launcher = self._around.installation.launcher(copy.fork.launcher)
        name = f"watch {self._sandbox.name} {self.workload} {copy.revision}"
        self._death = self._around.tasks.begin(_death(launcher, running), name)
        if previous is not None:
            previous.cancel()

    async def _bury(self) -> None:
        """If the shadow has died, say so, clear away what is left of it, and start it again later."""
        if self._death is None or not self._death.done() or self._serving is None:
            return
        error, copy = self._death.result(), self._serving
        self._death = self._serving = None
        self._around.counters.died += 1
        log.warning("%s: the shadow of %s died: %s", self._sandbox.name, self.workload, error)
        if self._around.clock.monotonic() - self._since >= STABLE_SECONDS:
            self._deaths = 0
        setback = self._again_later(
            Setback(revision=copy.revision, message=str(error), log=error.log, again=error.again)
        )
        self._sandbox.deaths[self.workload] = Death(self._around.clock.now(), copy.revision, error.log)
        await self._sandbox.persist(lambda record, now: record.died(self.workload, setback, now))
        await self._sandbox.stop(copy)

    def _again_later(self, setback: Setback) -> Setback:
        longest = LONGEST_LOOK_SECONDS if setback.again else LONGEST_PAUSE_SECONDS
        pause = min(FIRST_PAUSE_SECONDS * 2**self._deaths, longest)
        self._deaths = min(self._deaths + 1, 30)
        self._not_before = self._around.clock.monotonic() + pause
        fork = self._sandbox.record.fork(self.workload)
        what = "dialled" if fork is not None and fork.fork.endpoints is not None else "started"
        return setback.model_copy(update={"message": f"{setback.message}; it is {what} again in {pause:g} s"})

    async def _pause(self, seconds: float) -> None:
        over = self._around.tasks.begin(self._around.clock.sleep(seconds), f"back-off of {self.workload}")
        try:
            await self._sleep(over)
        finally:
            await ended(over)

    async def _sleep(self, *others: asyncio.Task[Any]) -> None:
        """Until there is news, the shadow has died, or one of the others is done."""
        news = self._around.tasks.begin(self._news.wait(), f"news {self._sandbox.name} {self.workload}")
        until: set[asyncio.Task[Any]] = {news, *others}
        if self._death is not None:
            until.add(self._death)
        try:
            await asyncio.wait(until, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(news)


async def _started(launcher: Launcher, request: LaunchRequest) -> Running | LaunchError:
    """The outcome of a start. A launcher's own fault is one more way to fail: the registry goes on."""
    try:
        return await launcher.start(request)
    except LaunchError as error:
        return error
    except Exception as error:
        log.exception("the launcher failed to start %s of %s", request.workload, request.sandbox)
        return LaunchError(f"the launcher failed: {error!r}")


async def _death(launcher: Launcher, running: Running) -> LaunchError:
    try:
        return await launcher.wait(running)
    except Exception as error:
        log.exception("the launcher failed to watch a shadow")
        return LaunchError(f"the launcher cannot see it any more: {error!r}")

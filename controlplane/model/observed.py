"""What is so: which shadows run, which failed and why, and what the sidecars have acknowledged."""

from __future__ import annotations

from typing import Any

from controlplane.model.desired import DesiredFork, Part
from controlplane.model.sandbox import Condition, Fork, ForkStatus
from proxy.contract.routes import State

MESSAGE_LINES = 20
"""Lines of output quoted in a fork's message: a Python traceback of the usual depth."""

MESSAGE_CHARACTERS = 4000

LOG_CHARACTERS = 65536
"""Kept of the output of a copy that failed."""


class Copy(Part):
    """A shadow that answered: which revision of which fork, where, and how its launcher finds it again."""

    revision: int
    fork: Fork
    endpoints: tuple[str, ...]
    handle: dict[str, Any]

    def build(self) -> dict[str, Any]:
        """What it was started from, as its launcher has written it down; empty where nothing was started."""
        told = self.handle.get("build")
        return {name: told.get(name) for name in ("digest", "built", "started")} if isinstance(told, dict) else {}

    def template(self) -> str | None:
        """Of a copy of its baseline's pods, the digest of what they were made from."""
        told = self.handle.get("template")
        return told if isinstance(told, str) else None

    def ports(self) -> dict[str, int] | None:
        """Of a copy of a whole pod, on which port it answers what was sent to another one of its baseline."""
        told = self.handle.get("ports")
        return told if isinstance(told, dict) else None


class Setback(Part):
    """Why a revision does not serve. `message` is one sentence, `log` the last lines of its output.

    again: it is tried again by itself, although nobody has asked.
    """

    revision: int
    message: str
    log: str = ""
    again: bool = False

    def told(self) -> str:
        """For a person: the sentence and the last lines."""
        tail = "\n".join(self.log.splitlines()[-MESSAGE_LINES:])[-MESSAGE_CHARACTERS:]
        said = f"revision {self.revision}: {self.message}"
        return f"{said}\n{tail}" if tail else said

    def bounded(self) -> Setback:
        """As it is stored."""
        return self.model_copy(update={"log": self.log[-LOG_CHARACTERS:]})


class ObservedFork(Part):
    """good, alive: the last copy that answered, and whether it still does.
    setback:     why what is wanted was given up. It stays so until somebody asks again.
    ended:       why the good copy is no longer alive. It is started again, with back-off.
    """

    workload: str
    good: Copy | None = None
    alive: bool = False
    setback: Setback | None = None
    ended: Setback | None = None

    @property
    def serving(self) -> Copy | None:
        return self.good if self.alive else None

    def changed(self, **fields: Any) -> ObservedFork:
        return self.model_copy(update=fields)


class Observed(Part):
    """retiring:  copies that no route leads to any more and that are not known to have ended.
    settled:   the sidecars have acknowledged the routes, or had their time to.
    lagging:   sidecars that have not.
    unwatched: workloads no sidecar of which was connected when the routes changed.
    asleep:    the shadows that we start are stopped until somebody calls.
    outdated:  workloads whose baseline is made from something else by now than the copy that serves.
    """

    forks: tuple[ObservedFork, ...] = ()
    retiring: tuple[Copy, ...] = ()
    settled: bool = False
    lagging: tuple[str, ...] = ()
    unwatched: tuple[str, ...] = ()
    asleep: bool = False
    outdated: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()


def sleeps(fork: Fork) -> bool:
    """Its shadow can be stopped and started by us."""
    return fork.endpoints is None


class ForkState:
    """One fork: what is wanted of it beside what is so.

    asleep: its shadow is stopped until somebody calls.
    """

    __slots__ = ("asleep", "observed", "wanted")

    def __init__(self, wanted: DesiredFork, observed: ObservedFork, *, asleep: bool = False) -> None:
        self.wanted = wanted
        self.observed = observed
        self.asleep = asleep and sleeps(wanted.fork)

    def __repr__(self) -> str:
        alive = "alive" if self.alive else "not alive"
        good = f"revision {self.good.revision} {alive}" if self.good else "nothing yet"
        return f"<ForkState {self.fork.workload} wants revision {self.revision}, has {good}>"

    @property
    def fork(self) -> Fork:
        return self.wanted.fork

    @property
    def revision(self) -> int:
        return self.wanted.revision

    @property
    def good(self) -> Copy | None:
        return self.observed.good

    @property
    def alive(self) -> bool:
        return self.observed.alive

    @property
    def setback(self) -> Setback | None:
        return self.observed.setback

    @property
    def ended(self) -> Setback | None:
        return self.observed.ended

    @property
    def serving(self) -> Copy | None:
        return self.observed.serving

    @property
    def current(self) -> bool:
        """What serves is what is wanted."""
        return self.alive and self.good is not None and self.good.revision == self.revision

    @property
    def target(self) -> tuple[int, Fork] | None:
        """The revision that should run: what is wanted, or the good one when that was given up; none in its sleep."""
        if self.asleep:
            return None
        if self.setback is None or self.setback.again:
            return self.revision, self.fork
        return (self.good.revision, self.good.fork) if self.good else None

    @property
    def broken(self) -> Setback | None:
        """Why the target does not answer, as far as it has been tried."""
        if self.good is None:
            return self.setback
        return self.ended if self.setback is not None or self.good.revision == self.revision else None

    @property
    def starting(self) -> bool:
        """Something is under way whose outcome is not known."""
        if self.asleep:
            return False
        return (not self.current and self.setback is None) if self.alive else self.broken is None

    def status(self) -> ForkStatus:
        message = "\n".join(setback.told() for setback in (self.setback, self.ended) if setback)
        serving = self.serving
        if serving is not None:
            return ForkStatus(
                workload=self.fork.workload,
                state=State.READY,
                revision=serving.revision,
                endpoints=serving.endpoints,
                message=message,
                ports=serving.ports(),
                **serving.build(),
            )
        state = State.FAILED if self.broken else State.PENDING
        return ForkStatus(workload=self.fork.workload, state=state, revision=self.revision, message=message)

"""The port between a sandbox's life and the ways to start a shadow.

The registry may be killed at any moment. What it must know to find a running shadow again is the `handle` that
`start` returned, which it stores; `adopt` turns a stored handle back into a running shadow, or says that it is
gone. A launcher keeps nothing else that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from controlplane.model.copy_log import ALWAYS, Window
from controlplane.model.problem import FieldProblem
from controlplane.model.sandbox import Fork
from controlplane.model.workload import Workload
from proxy.contract.rules import Rule


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """One copy of one workload that shall run.

    fork:        what differs from the baseline.
    definition:  the baseline's definition, None when nobody registered one.
    rules:       what becomes of calls to hosts that no sidecar stands before.
    """

    sandbox: str
    routing_key: str
    revision: int
    fork: Fork
    definition: Workload | None = None
    rules: tuple[Rule, ...] = ()

    @property
    def workload(self) -> str:
        """What it replaces, `namespace/name`."""
        return self.fork.workload


@dataclass(frozen=True, slots=True)
class Running:
    """A shadow that answers.

    endpoints: HOST:PORT each, where callers' sidecars reach it.
    handle:    JSON object, enough to find it again after a restart of the registry.
    """

    endpoints: tuple[str, ...]
    handle: dict[str, Any]


class LaunchError(Exception):
    """A shadow did not start, or died. `str()` is one sentence; `log` holds its last lines of output.

    again: somebody else runs it and may mend it without a word to us, so the start is tried again by itself.
    """

    def __init__(self, message: str, log: str = "", *, again: bool = False) -> None:
        super().__init__(message)
        self.log = log
        self.again = again


def refuse(problems: Sequence[FieldProblem]) -> None:
    """Raise LaunchError for what `Launcher.check` has found."""
    if problems:
        raise LaunchError("; ".join(f"{problem.path}: {problem.message}" for problem in problems))


class Launcher(Protocol):
    """One way to start shadows."""

    def check(self, fork: Fork, definition: Workload | None) -> list[FieldProblem]:
        """Why no shadow of this fork can be started here, whatever happens; paths are those inside the fork.

        Asked before a sandbox is stored, so that a person gets every reason at once; `start` asks again.
        """
        ...

    async def start(self, request: LaunchRequest) -> Running:
        """Start and wait until it is ready. Raises LaunchError; cancelled: nothing of it is left running."""
        ...

    async def adopt(self, request: LaunchRequest, handle: dict[str, Any]) -> Running | None:
        """The shadow behind a stored handle, or None when it is gone. Never kills a stranger's process."""
        ...

    async def wait(self, running: Running) -> LaunchError:
        """Return when it died by itself, or answers no more, with why. Cancel to stop waiting."""
        ...

    async def stop(self, running: Running) -> None:
        """Ask it to drain and end, insist after a grace period. Stopping twice is no error."""
        ...

    async def connected(self, running: Running) -> bool:
        """Somebody has a connection open to it; False where that cannot be seen."""
        ...

    async def log(self, running: Running, lines: int, window: Window = ALWAYS) -> str:
        """The last `lines` lines of its output in a window, "" when the launcher has none. One that does not know when
        a line came gives rather more than less."""
        ...


class BaselineOutput(Protocol):
    """What baselines write, wherever that is kept."""

    async def lines(self, workload: Workload, lines: int, window: Window) -> list[str] | None:
        """The last `lines` lines of a window; None where nobody keeps its output."""
        ...

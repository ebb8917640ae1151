"""What happens in an environment, as whoever watches it is told: a person's terminal, a program, the demo.

`process` is the name of a process: `users` for a service's application, `users/sidecar` for its sidecar,
`registry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    process: str
    pid: int


@dataclass(frozen=True, slots=True)
class Output:
    """One line that a process wrote, without its line break."""

    process: str
    line: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A process ended by itself, or could not be started.

    how:           stands behind its name: "ended with exit code 3".
    last_lines:    of its output.
    restart_after: seconds until it is started again; None when that would be no use.
    """

    process: str
    how: str
    last_lines: tuple[str, ...]
    restart_after: float | None


@dataclass(frozen=True, slots=True)
class Ready:
    """A process does its work. seconds: since it was started."""

    process: str
    seconds: float


@dataclass(frozen=True, slots=True)
class NotReady:
    """A process runs and should be ready by now. It is still waited for."""

    process: str
    why: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something about a process works, and perhaps not as it is meant."""

    process: str
    what: str


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process of an earlier run that was killed; it has been ended."""

    process: str
    pid: int


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the overview.

    cwd:            absolute; of the command.
    address:        for callers.
    app:            the application itself, behind the sidecar.
    copyable:       the file leaves the application's port to us, so that a second copy can be given another.
    readiness_path: that a GET of which is certain to be answered, "" when the file names none.
    """

    name: str
    workload: str
    command: tuple[str, ...]
    cwd: str
    address: str
    app: str
    admin: str
    upstreams: tuple[str, ...]
    ready: bool
    copyable: bool
    readiness_path: str


@dataclass(frozen=True, slots=True)
class Up:
    """Everything was started. gateway: where preview links are served. entry: the service that requests enter by.
    problems: what is not ready, and why."""

    environment: str
    registry: str
    gateway: str
    entry: str
    services: tuple[Service, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stopping:
    """Everything is being stopped, in order."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing runs any more."""


Event = Started | Output | Ended | Ready | NotReady | Warned | Leftover | Up | Stopping | Stopped
Observer = Callable[[Event], None]
"""Called on the event loop: it must not block."""

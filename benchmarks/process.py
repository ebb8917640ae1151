"""A program that runs beside us and is certain to end.

It is pinned to its cores, it dies with this process even when that is killed (`PR_SET_PDEATHSIG`, by
`setpriv`), it is in a session of its own so that Ctrl-C reaches only us and we stop it in order, and it is ended by
its process id: first asked, then made.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType

from benchmarks import accounting
from benchmarks.errors import BenchmarkError

STOP_SECONDS = 5.0
"""For a polite end. Nothing that we start has work worth finishing."""

READY_SECONDS = 20.0
"""From start to the first right answer; Envoy needs one second on a slow machine."""

_PROJECT = Path(__file__).resolve().parent.parent
POLL_SECONDS = 0.02
"""Between two questions whether a program is ready."""
_TAIL_LINES = 5


def confined(command: Sequence[str], cores: Iterable[int], death: str = "KILL") -> list[str]:
    """`command` bound to `cores` and to our life. Both tools belong to util-linux and keep the process id.

    death: the signal that it gets when we die; TERM for a program that has to end others first.
    """
    listed = ",".join(str(core) for core in cores)
    return ["setpriv", "--pdeathsig", death, "taskset", "--cpu-list", listed, *command]


def environment() -> dict[str, str]:
    """Ours, with this checkout where Python looks for modules: what is measured is the code beside this file.

    Its bytecode is kept, as that of an installed package is: compiling is half of a start.
    """
    path = [part for part in (os.environ.get("PYTHONPATH", ""), str(_PROJECT)) if part]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": os.pathsep.join(path)}


class Process:
    """A running program. Use as a context manager: leaving the block ends it.

    name:  for messages and the log's file name.
    death: as in `confined`.
    """

    def __init__(
        self, name: str, command: Sequence[str], cores: Iterable[int], folder: Path, death: str = "KILL"
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                confined(command, cores, death),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment(),
            )

    def __repr__(self) -> str:
        code = self._popen.returncode
        return f"<Process {self.name} {self.pid} {'running' if code is None else f'ended with {code}'}>"

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def cpu_seconds(self) -> float:
        """Used so far. Raises BenchmarkError with the log's last lines when the process has ended."""
        self.check()
        return accounting.cpu_seconds(self.pid)

    def check(self) -> None:
        """Raises BenchmarkError when the process has ended by itself."""
        if self._popen.poll() is not None:
            raise BenchmarkError(f"{self.name} ended with exit code {self._popen.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        """The end of what it printed, in one line."""
        lines = self._log.read_text(errors="replace").split("\n")
        return " / ".join([line.strip() for line in lines if line.strip()][-_TAIL_LINES:]) or "it printed nothing"

    def await_ready(
        self, ready: Callable[[], bool], seconds: float = READY_SECONDS, poll: float = POLL_SECONDS
    ) -> None:
        """Ask `ready` until it says yes, with `poll` seconds between two questions.

        Raises BenchmarkError when the process ends or time runs out."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name} is not ready after {seconds:.0f} s: {self.last_words()}")
            time.sleep(poll)

    def stop(self) -> None:
        """End it and everything that it started. Without effect on one that has ended."""
        family = accounting.descendants(self.pid) if self._popen.poll() is None else []
        self._popen.terminate()
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for pid in family[1:]:
            _kill_orphan(pid)


def _kill_orphan(pid: int) -> None:
    """Kill a grandchild that outlived its parent. Nothing to do when it is gone, which is the rule."""
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return

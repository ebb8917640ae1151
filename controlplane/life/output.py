"""What the copies of a sandbox wrote: the one that runs, the one that died, the one that did not get ready."""

from __future__ import annotations

from controlplane.life.installation import Installation
from controlplane.life.sandbox import SandboxLife
from controlplane.model.copy_log import CopyLog, Window
from controlplane.model.observed import ForkState


async def copies(
    installation: Installation, life: SandboxLife, workload: str, lines: int, window: Window
) -> list[CopyLog]:
    """Of every fork, or of that of one workload; none where it is not forked."""
    forks = [fork for fork in life.record.forks if workload in ("", fork.fork.workload)]
    return [copy for fork in forks for copy in await _of_fork(installation, life, fork, lines, window)]


async def _of_fork(
    installation: Installation, life: SandboxLife, fork: ForkState, lines: int, window: Window
) -> list[CopyLog]:
    """What runs first. Of a copy that has ended the last lines are known, and when it ended."""
    workload = fork.fork.workload
    setbacks = (setback for setback in (fork.ended, fork.setback) if setback is not None)
    found = [_ended(workload, setback.revision, setback.log, lines) for setback in setbacks]
    copy, death = fork.serving, life.deaths.get(workload)
    if copy is not None and death is not None and death.revision == copy.revision and death.after(window.since):
        found.append(_ended(workload, death.revision, death.log, lines))
    running = life.running.get((workload, copy.revision)) if copy is not None else None
    if copy is not None and running is not None:
        text = await installation.launcher(copy.fork.launcher).log(running, lines, window)
        found.insert(0, CopyLog(workload=workload, revision=copy.revision, state="running", log=text))
    return found


def _ended(workload: str, revision: int, log: str, lines: int) -> CopyLog:
    return CopyLog(workload=workload, revision=revision, state="ended", log="\n".join(log.splitlines()[-lines:]))

"""Limits of memory and of processor for each shadow's application: control groups (cgroups(7)), where we may make them.

Version 2 where it is mounted at /sys/fs/cgroup and hands these controllers down, else version 1. Nothing is asked of
the machine but to make a group; where it does not let us, there are no limits, and `why_not` says so.

The keeper of an application puts itself into the group before it starts it (`controlplane.process.keeper`).
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
"""Of the processor's share, the kernel's own default."""
REMOVE_SECONDS = 1.0
"""For a group to be empty after its last process was killed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """memory: bytes; cpus: processors, 0.5 for half of one; None for no limit."""

    memory: int | None = None
    cpus: float | None = None

    def __bool__(self) -> bool:
        return self.memory is not None or self.cpus is not None

    def told(self) -> str:
        """`512m of memory and 0.5 processors`, "" for no limits."""
        parts = [f"{self.memory >> 20}m of memory"] if self.memory is not None else []
        parts += [f"{self.cpus:g} processors"] if self.cpus is not None else []
        return " and ".join(parts)


class ControlGroups:
    """Makes a group for each shadow. name: of the folder that holds all of ours, unique on this machine."""

    def __init__(self, limits: Limits, name: str, root: Path = ROOT) -> None:
        self.limits = limits
        self.why_not = ""
        self._places: list[tuple[Path, dict[str, str]]] = []
        """Folders in which groups are made, and what is written into each group there."""
        if limits:
            try:
                self._find(root, name)
            except OSError as error:
                self._places = []
                self.why_not = f"{error.filename or root}: {error.strerror}"

    def __repr__(self) -> str:
        return f"<ControlGroups {self.limits} {self.why_not or 'in force'}>"

    def make(self, name: str) -> tuple[str, ...]:
        """A group with the limits; the files into which a process writes itself to be in it. Raises OSError."""
        joined = []
        for folder, values in self._places:
            group = folder / name
            group.mkdir(parents=True, exist_ok=True)
            for file, value in values.items():
                (group / file).write_text(value)
            joined.append(str(group / "cgroup.procs"))
        return tuple(joined)

    def remove(self, name: str) -> None:
        """When nothing runs in it any more. What cannot be removed holds nothing up."""
        for folder, _ in self._places:
            deadline = time.monotonic() + REMOVE_SECONDS
            while (folder / name).exists() and time.monotonic() < deadline:
                with suppress(OSError):
                    (folder / name).rmdir()
                    break
                time.sleep(0.01)

    def close(self) -> None:
        """The folder of all of ours goes when it is empty."""
        for folder, _ in self._places:
            with suppress(OSError):
                folder.rmdir()

    def _find(self, root: Path, name: str) -> None:
        if (root / "cgroup.controllers").exists():
            self._version_2(root, name)
        else:
            self._version_1(root, name)
        for folder, _ in self._places:
            folder.mkdir(exist_ok=True)
        self.make("try")
        self.remove("try")

    def _version_2(self, root: Path, name: str) -> None:
        wanted = {"memory": self.limits.memory, "cpu": self.limits.cpus}
        needed = {controller for controller, value in wanted.items() if value is not None}
        folder = root / name
        folder.mkdir(exist_ok=True)
        for place in (root, folder):
            handed_down = set((place / "cgroup.subtree_control").read_text().split())
            if needed - handed_down:
                (place / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in sorted(needed)))
        values: dict[str, str] = {}
        if self.limits.memory is not None:
            values |= {"memory.max": str(self.limits.memory), "memory.oom.group": "1"}
        if self.limits.cpus is not None:
            values["cpu.max"] = f"{_quota(self.limits.cpus)} {PERIOD_US}"
        self._places.append((folder, values))

    def _version_1(self, root: Path, name: str) -> None:
        if self.limits.memory is not None:
            self._places.append((root / "memory" / name, {"memory.limit_in_bytes": str(self.limits.memory)}))
        if self.limits.cpus is not None:
            values = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(_quota(self.limits.cpus))}
            self._places.append((root / "cpu" / name, values))
        for folder, _ in self._places:
            if not folder.parent.is_dir():
                raise FileNotFoundError(2, os.strerror(2), str(folder.parent))


NO_LIMITS = ControlGroups(Limits(), "")


def control_groups(limits: Limits, state_dir: Path) -> ControlGroups:
    """Those of the registry that has this state directory, which finds them again after a restart."""
    digest = hashlib.sha256(str(state_dir.absolute()).encode()).hexdigest()[:12]
    return ControlGroups(limits, f"skycap-{digest}")


def _quota(cpus: float) -> int:
    return max(1000, round(cpus * PERIOD_US))

"""A way to start shadows that an installation does not have.

A sandbox that names it is refused before it is stored. One that was stored while there still was such a launcher is
told why its shadow does not come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from pydantic.alias_generators import to_camel

from controlplane.launch.port import LaunchError, LaunchRequest, Running, refuse
from controlplane.model.copy_log import ALWAYS, Window
from controlplane.model.problem import FieldProblem
from controlplane.model.sandbox import CHOICES, Fork
from controlplane.model.workload import Workload


class AbsentLauncher:
    """name: the launcher that is missing; present: those that there are."""

    def __init__(self, name: str, present: Iterable[str]) -> None:
        self._name = name
        self._instead = [field for field, launcher in CHOICES.items() if launcher in set(present)]

    def __repr__(self) -> str:
        return f"<AbsentLauncher {self._name}>"

    def check(self, fork: Fork, definition: Workload | None) -> list[FieldProblem]:
        chosen = (field for field, launcher in CHOICES.items() if launcher == self._name)
        field = to_camel(next(field for field in chosen if getattr(fork, field) not in (None, False)))
        instead = f": say {' or '.join(self._instead)}" if self._instead else ""
        message = f"needs the {self._name} launcher, which this installation does not have{instead}"
        return [FieldProblem(path=field, message=message)]

    async def start(self, request: LaunchRequest) -> Running:
        refuse(self.check(request.fork, request.definition))
        raise AssertionError("unreachable")

    async def adopt(self, request: LaunchRequest, handle: dict[str, Any]) -> Running | None:
        return None

    async def wait(self, running: Running) -> LaunchError:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable: nobody resolves it, the caller cancels")

    async def stop(self, running: Running) -> None:
        return None

    async def connected(self, running: Running) -> bool:
        return False

    async def log(self, running: Running, lines: int, window: Window = ALWAYS) -> str:
        return ""

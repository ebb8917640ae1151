"""What `spawn` runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A process to run. `env` is complete: nothing is inherited. `cwd` is its working directory, "" means ours."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str

"""What `spawn` runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A process to run. `env` is complete: nothing is inherited. `cwd` is its working directory, "" means ours.

    within: what is run instead, with `argv` behind it, and becomes it by exec(3): programs that change what it sees.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    within: tuple[str, ...] = ()

"""In what a fork differs from its baseline, in words that a reviewer reads."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from controlplane.model.sandbox import Fork
from controlplane.model.workload import Workload


def differences(fork: Fork, baseline: Workload | None) -> tuple[str, ...]:
    """One sentence each. Values of variables are left out: they may be secrets."""
    return tuple(_differences(fork, baseline))


def _differences(fork: Fork, baseline: Workload | None) -> Iterator[str]:
    if fork.image is not None:
        yield f"runs the image {fork.image}"
    if fork.endpoints is not None:
        yield f"is answered by {', '.join(fork.endpoints)}, which somebody else runs"
    if fork.command is not None and (baseline is None or fork.command != baseline.command):
        instead = f" instead of `{shlex.join(baseline.command)}`" if baseline is not None and baseline.command else ""
        yield f"runs `{shlex.join(fork.command)}`{instead}"
    if fork.cwd is not None and (baseline is None or fork.cwd != baseline.cwd):
        yield f"runs in {fork.cwd}"
    known = baseline.env if baseline is not None else {}
    changed = [name for name, value in (fork.env or {}).items() if known.get(name) != value]
    if changed:
        yield f"sets {', '.join(sorted(changed))}"

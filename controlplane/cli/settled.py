"""Wait until a sandbox serves what was last applied, and end as that ends."""

from __future__ import annotations

from controlplane.cli import view
from controlplane.cli.failures import CommandError, NotReadyError, UnknownWorkloadError
from controlplane.cli.output import Output
from controlplane.cli.registry import Registry, segment, waiting
from controlplane.cli.view import Sandbox, read_sandbox

PATIENCE_SECONDS = 2.0
"""Of a person who waits, until there is a word about what is waited for."""


def until_settled(name: str, timeout: float, registry: Registry, output: Output) -> None:
    """Wait, show what came of it, and raise CommandError when that is not Ready."""
    found = _waited(name, timeout, registry, output)
    output.result(found.document, lambda: found.show(output))
    if found.phase in {view.FAILED, view.DEGRADED}:
        raise CommandError(f"sandbox {name} is {found.phase}", hint=f"skycap sandbox logs {name}")
    if found.phase not in {view.READY, view.SLEEPING}:
        reason = found.reason()
        why = f": {reason}" if reason else ""
        raise NotReadyError(f"sandbox {name} is still {found.phase} after {timeout:g} s{why}")
    if found.unknown():
        raise UnknownWorkloadError(found.unknown(), hint="correct spec.forks, or start its baseline or a sidecar of it")


def _waited(name: str, timeout: float, registry: Registry, output: Output) -> Sandbox:
    """The sandbox once its phase is settled, or when time is over. Says meanwhile what is waited for."""
    said = ""
    rest = timeout
    while True:
        ask = min(rest, PATIENCE_SECONDS)
        found = registry.get(f"sandboxes/{segment(name)}", read_sandbox, waiting(ask))
        rest -= ask
        if rest <= 0 or found.phase in view.SETTLED:
            return found
        reason = found.reason()
        if reason and reason != said:
            output.remark(f"waiting: {reason}")
            said = reason

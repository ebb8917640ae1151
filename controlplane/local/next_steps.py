"""What to try in an environment that has just started: only lines that work for its file as they stand.

A second copy of a service is certain to start where the file leaves its port to us, and its own readiness path is the
one request that it is certain to answer. Where the file says less, so do we.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from controlplane.local.events import Service, Up
from controlplane.rest import DEFAULT_URL

SANDBOX = "my-change"


def next_steps(up: Up, program: str) -> list[str]:
    """The lines. program: what to type for `skycap`.

    The service is one that others call, where there is one: that shows what a sandbox is for.
    """
    called = {name for service in up.services for name in service.upstreams}
    copyable = [service for service in up.services if service.ready and service.copyable and not _unknown(up)]
    if not copyable:
        return []
    # False sorts first: called by others, then with a path that can be asked for.
    forked = min(copyable, key=lambda service: (service.name not in called, not service.readiness_path))
    entry = next(service for service in up.services if service.name == up.entry)
    registry = "" if up.registry == DEFAULT_URL else f" --registry {up.registry}"
    command = shlex.quote(shlex.join(forked.command))
    lines = [
        f"Next, a second copy of {forked.name} for the routing key {SANDBOX}; put the command of your changed one:",
        f"  {program} sandbox apply {SANDBOX}{registry} --fork {forked.workload} --command {command}{_folder(forked)}",
        f"  {program} sandbox wait {SANDBOX}{registry}",
    ]
    if forked.readiness_path:
        lines.append(f"  {program} request {SANDBOX} {shlex.quote(_url(forked))}")
    if entry is not forked:
        lines.append(
            f"It is reached by whatever request to http://{entry.address} leads to {forked.name}, with the header"
        )
        lines.append(f"  baggage: routing-key={SANDBOX}")
    return lines


def _folder(service: Service) -> str:
    """Where the command is found, for whoever stands elsewhere."""
    folder = Path(service.cwd)
    if folder == Path.cwd():
        return ""
    with suppress(ValueError):
        folder = folder.relative_to(Path.cwd())
    return f" --cwd {shlex.quote(str(folder))}"


def _unknown(up: Up) -> bool:
    """Whether the registry is not there to ask."""
    return any(problem.startswith("registry:") for problem in up.problems)


def _url(service: Service) -> str:
    return f"http://{service.address}{service.readiness_path}"


def invocation() -> str:
    """What to type for `skycap`: its path when the shell would not find it."""
    if shutil.which("skycap"):
        return "skycap"
    path = Path(sys.argv[0]).absolute()
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)

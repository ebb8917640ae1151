"""What would go wrong if this environment were started now: all of it, before anything is started."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from controlplane.local.layout import explicit_ports
from controlplane.model.environment import EnvironmentFile, ServiceSpec
from controlplane.process.listeners import holder
from controlplane.process.ports import IN_USE, why_busy


def preflight(file: EnvironmentFile, folder: Path, environ: Mapping[str, str]) -> list[str]:
    """One line per problem, each of which begins with the path of the field.

    folder:  of the file.
    environ: what the services inherit: its PATH tells which programs there are.
    """
    problems = []
    for path, (hosts, port) in explicit_ports(file).items():
        why = why_busy(port, hosts)
        if why:
            who = f" by {holder(port) or 'another process'}" if why == IN_USE else ""
            problems.append(f"{path}: port {port} {why}{who}")
    for index, service in enumerate(file.spec.services):
        problems += (f"spec.services[{index}].{problem}" for problem in _service(service, folder, environ))
    return problems


def _service(service: ServiceSpec, folder: Path, environ: Mapping[str, str]) -> Iterator[str]:
    cwd = folder / service.cwd
    if not cwd.is_dir():
        yield f"cwd: there is no folder {cwd}"
        return
    program = service.command[0]
    if "/" in program:
        found = os.access(cwd / program, os.X_OK) and (cwd / program).is_file()
    else:
        found = shutil.which(program, path=service.env.get("PATH", environ.get("PATH"))) is not None
    if not found:
        yield f"command: there is no program {program!r}" + ("" if "/" in program else " in PATH")

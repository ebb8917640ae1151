"""`skycap up --detach`: the environment in a process of its own, which goes on when the command has ended."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import click

from controlplane.local.state import STATE
from controlplane.process.private import private_folder
from proxy.base.problems import ConfigurationError
from proxy.base.programs import program

LOG = "up.log"
LAST_BYTES = 64 << 10


def leave_running(file: Path, state_dir: Path | None, name: str, output: str) -> int:
    """Start it and wait until it is up. 0: everything is ready, 1: not everything. Raises ConfigurationError."""
    folder = (state_dir or file.parent / STATE / name).absolute()
    try:
        private_folder(folder)
        log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        before = os.fstat(log).st_size
    except OSError as error:
        raise ConfigurationError([f"the state folder {folder} cannot be used: {error.strerror}"]) from None
    waiting, ready = os.pipe()
    argv = [*program("controlplane/cli"), "up", str(file)]
    argv += ["--state-dir", str(folder), "--ready-fd", str(ready)]
    with os.fdopen(waiting) as told:
        process = subprocess.Popen(  # noqa: S603 (it is this very program)
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[ready], start_new_session=True,
            env={variable: value for variable, value in os.environ.items() if variable != "SKYCAP_OUTPUT"},
        )  # fmt: skip
        os.close(ready)
        os.close(log)
        said = told.read()
    if not said:
        process.wait()
        raise ConfigurationError(_reasons(folder / LOG, before))
    process.returncode = 0  # it goes on; nobody waits for it
    problems = [] if said == "ready" else said.splitlines()
    if output == "json":
        document = {"name": name, "pid": process.pid, "log": str(folder / LOG), "problems": problems}
        click.echo(json.dumps(document))
    else:
        stop = f"skycap down {file}" + (f" --state-dir {state_dir}" if state_dir is not None else "")
        click.echo(f"{name} is up, process {process.pid}; `{stop}` stops it, its output is in {folder / LOG}")
        for problem in problems:
            click.echo(f"not ready: {problem}")
    return 1 if problems else 0


def _reasons(log: Path, before: int) -> list[str]:
    """What it said on standard error, which its last lines are. before: the size of the log when it was started."""
    lines = log.read_bytes()[before:][-LAST_BYTES:].decode(errors="replace").splitlines()
    said = [line.removeprefix("skycap: ") for line in lines if line.startswith("skycap: ")]
    return said or lines[-5:] or [f"it ended without a word; see {log}"]

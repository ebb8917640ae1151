"""A real PostgreSQL of a test, in a folder that goes when the test does.

The server refuses to be root, so root runs it as `nobody`. Debian keeps its programs outside of PATH.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.tools import find, require

USER = "shop"
READY_SECONDS = 20.0


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs; skips the test when there is none."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / name).exists():
            return str(folder / name)
    require(name)
    return find(name) or name


@contextlib.contextmanager
def postgres(host: str, port: int, inside: Sequence[str] = ()) -> Iterator[None]:
    """A server that listens there and trusts everybody. inside: what runs a command where it shall run."""
    initdb, server = program("initdb"), program("postgres")
    root = os.geteuid() == 0
    as_somebody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if root else []
    # Not pytest's folder: only root may enter that.
    folder = Path(tempfile.mkdtemp(prefix="skycap-postgres-"))
    try:
        if root:
            shutil.chown(folder, "nobody", "nogroup")
        data = str(folder / "data")
        subprocess.run(
            [*as_somebody, initdb, "-D", data, "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"],
            check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        with (folder / "data" / "pg_hba.conf").open("a") as access:
            access.write("host all all all trust\n")  # from other hosts too
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*inside, *as_somebody, server, "-D", data, "-h", host, "-p", str(port), "-k", str(folder), "-F"],
                stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip
        try:
            _ready(process, folder, port)
            yield
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(folder)


def _ready(process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    """By the Unix socket, which no network namespace hides."""
    probe = [program("pg_isready"), "-q", "-h", str(folder), "-p", str(port), "-U", USER, "-d", "postgres"]
    deadline = time.monotonic() + READY_SECONDS
    while subprocess.run(probe, check=False).returncode != 0:
        said = (folder / "log").read_text(errors="replace")
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.02)


def query(host: str, port: int, statement: str, inside: Sequence[str] = ()) -> str:
    """What `psql` prints for a statement."""
    require("psql")
    command = [*inside, find("psql") or "psql", "-h", host, "-p", str(port), "-U", USER, "-d", "postgres", "-XAtc"]
    done = subprocess.run([*command, statement], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")

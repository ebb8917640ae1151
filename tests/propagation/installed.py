"""Applications of other languages and SDKs, with the real packages, in a cache outside the tree.

Each folder beside this file is one kind: its source, and its pinned packages. It is installed when somebody needs it
first, into a folder named by a digest of its files; tests that run in parallel wait for each other. What is missing
(the language, the network) skips the test with a reason, or fails it where SKYCAP_REQUIRE_TOOLS=1 says that it must
be there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tools

HERE = Path(__file__).parent
INSTALL_SECONDS = 600
"""The Go module is compiled: a minute, and several on a busy machine."""

_NEEDED = {"python": (), "node": ("node", "npm"), "go": ("go",)}


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "skycap" / "propagation"


def command(kind: str) -> list[str]:
    """What starts the application of a kind, installed."""
    tools.require(*_NEEDED[kind])
    folder = _installed(kind)
    if kind == "python":
        return [str(folder / "venv" / "bin" / "python"), str(folder / "app.py")]
    if kind == "node":
        node = tools.find("node")
        assert node is not None
        return [node, str(folder / "app.js")]
    return [str(folder / "app")]


def _installed(kind: str) -> Path:
    files = sorted(path for path in (HERE / kind).iterdir() if path.is_file())
    digest = hashlib.sha256(sys.version.encode() if kind == "python" else b"")
    for path in files:
        digest.update(path.name.encode() + b"\\0" + path.read_bytes())
    folder = cache() / f"{kind}-{digest.hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(HERE / kind, folder, ignore=shutil.ignore_patterns("__pycache__"))
            _install(kind, folder)
            (folder / "complete").touch()
    return folder


def _install(kind: str, folder: Path) -> None:
    steps = {
        "python": [
            [sys.executable, "-m", "venv", str(folder / "venv")],
            [str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--only-binary=:all:", "-r", str(folder / "requirements.txt")],
        ],
        "node": [["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]],
        "go": [["go", "build", "-o", "app", "."]],
    }  # fmt: skip
    # The constraints of our own packages are not those of an application.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")} | {
        name: value for name, value in os.environ.items() if name.startswith("PIP_") and "CONSTRAINT" not in name
    }
    for step in steps[kind]:
        done = subprocess.run(
            step, cwd=folder, env=environment, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
        if done.returncode:
            told = (done.stderr or done.stdout).strip().splitlines()[-1:]
            reason = f"the {kind} packages cannot be installed: {' '.join(told)[:300]}"
            if os.environ.get("SKYCAP_REQUIRE_TOOLS") == "1":
                pytest.fail(f"{reason}, although SKYCAP_REQUIRE_TOOLS=1")
            pytest.skip(reason)

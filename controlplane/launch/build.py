"""What a copy was started from: does it run the change that was just made?

The same command in the same folder may mean another program by now, so that the words of a sandbox do not tell. A
build has a digest of the command, the folder, the program and every argument that names a file, with what is in them,
and the moment at which the newest of these files was written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MAX_BYTES = 8 << 20
"""Of one file: hashing them takes 6 ms. What is larger is known by its size and the time at which it was written."""
DIGITS = 12
"""48 bits: enough to tell two builds of one fork apart, and short enough to be read."""


@dataclass(frozen=True, slots=True)
class Build:
    """digest: hexadecimal. built: when the newest file was written, None where there is none. started: the copy."""

    digest: str
    built: datetime | None
    started: datetime

    def encode(self) -> dict[str, Any]:
        """As it stands in a handle."""
        built = self.built.isoformat() if self.built else None
        return {"digest": self.digest, "built": built, "started": self.started.isoformat()}


def build(command: Sequence[str], cwd: str, path: str | None, now: datetime, pushed: str = "") -> Build:
    """The build that `command` starts in `cwd`. path: where programs are looked for.

    pushed: the digest of the files that are laid over the folder, "" for none.
    """
    digest = hashlib.sha256()
    for part in (cwd, *command, *([pushed] if pushed else [])):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    newest = 0.0
    for file in _files(command, Path(cwd), path):
        try:
            status = file.stat()
            digest.update(f"{status.st_size}\0".encode())
            if status.st_size <= MAX_BYTES:
                digest.update(file.read_bytes())
            else:
                digest.update(str(status.st_mtime_ns).encode())
        except OSError:
            continue
        newest = max(newest, status.st_mtime)
    written = datetime.fromtimestamp(newest, UTC) if newest else None
    return Build(digest.hexdigest()[:DIGITS], written, now)


def _files(command: Sequence[str], cwd: Path, path: str | None) -> list[Path]:
    """The program, and the files that its arguments name. An interpreter's own time tells nothing of the change."""
    program = command[0]
    named = [cwd / argument for argument in command[1:] if argument]
    found = [file for file in named if _is_file(file)]
    if os.sep in program:
        return [cwd / program, *found]
    where = shutil.which(program, path=path)
    return found if found or where is None else [Path(where)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False

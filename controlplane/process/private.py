"""Files of ours in a state directory: for their owner only, and whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Replace the file at `path`; nobody else can open what is written at any moment. Raises OSError.

    It is not flushed to the disk: what it says of processes is worthless after a power cut.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)


def private_folder(path: Path) -> None:
    """Make a folder of ours, and those above it that are missing, so that nobody else can look into them."""
    missing = [path, *(above for above in path.parents if not above.exists())]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)

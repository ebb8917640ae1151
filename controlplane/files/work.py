"""The baseline's work folder, as pushed files meet it: read step by step, and no link is followed.

A link in the work folder may lead anywhere. What is pushed to a path below one would take the place of something else
than it names, and what is read through one is perhaps not the service's, so both are refused by name.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from controlplane.files.tree import MAX_FILE_BYTES


@dataclass(frozen=True, slots=True)
class Found:
    """A file of the work folder. size: in bytes."""

    size: int
    executable: bool


class WorkFolder:
    """path: absolute. Raises OSError when it is no folder that can be read."""

    known = True

    def __init__(self, path: str) -> None:
        self.path = path
        with os.scandir(path):
            pass

    def __repr__(self) -> str:
        return f"<WorkFolder {self.path}>"

    def refused(self, path: str) -> str:
        """Why nothing can be pushed to this path, to stand behind it, or ""."""
        parts = path.split("/")
        at = self.path
        for number, part in enumerate(parts, 1):
            at = f"{at}/{part}"
            try:
                mode = os.lstat(at).st_mode
            except OSError:
                return ""
            shown = "/".join(parts[:number])
            if stat.S_ISLNK(mode):
                return f"{'is' if number == len(parts) else f'lies below {shown}, which is'} {_link(at)}"
            if number < len(parts) and not stat.S_ISDIR(mode):
                return f"lies below {shown}, which is a file in the work folder"
            if number == len(parts) and not stat.S_ISREG(mode):
                return f"is {'a folder' if stat.S_ISDIR(mode) else 'no regular file'} in the work folder"
        return ""

    def find(self, path: str) -> Found | None:
        """None: there is no regular file that is reached without a link."""
        descriptor = self._open(path)
        if descriptor is None:
            return None
        status = os.fstat(descriptor)
        os.close(descriptor)
        return Found(status.st_size, bool(status.st_mode & stat.S_IXUSR))

    def read(self, path: str) -> bytes | None:
        """What the file holds; None: there is none, or it is larger than may be pushed."""
        descriptor = self._open(path)
        if descriptor is None:
            return None
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        return data if len(data) <= MAX_FILE_BYTES else None

    def _open(self, path: str) -> int | None:
        """A descriptor of a regular file, opened one step after the other so that no link is followed on the way."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        *folders, name = path.split("/")
        opened: list[int] = []
        try:
            opened.append(os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY))
            for folder in folders:
                opened.append(os.open(folder, flags | os.O_DIRECTORY, dir_fd=opened[-1]))
            found = os.open(name, flags, dir_fd=opened[-1])
        except OSError:
            return None
        finally:
            for descriptor in opened:
                os.close(descriptor)
        if stat.S_ISREG(os.fstat(found).st_mode):
            return found
        os.close(found)
        return None


def _link(path: str) -> str:
    target = "?"
    with suppress(OSError):
        target = str(Path(path).readlink())
    return f"a link in the work folder (to {target[:120]}): push what it leads to, if that is in the folder"

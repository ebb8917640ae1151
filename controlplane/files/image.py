"""A folder of an image, which nobody here can look into: what is pushed to it is all that is known of it."""

from __future__ import annotations

from typing import Protocol

from controlplane.files.work import Found


class Base(Protocol):
    """What pushed files are laid over.

    path:  absolute.
    known: it can be looked into; what is not found there is not there.
    """

    @property
    def path(self) -> str: ...

    @property
    def known(self) -> bool: ...

    def refused(self, path: str) -> str:
        """Why nothing can be pushed to this path, to stand behind it, or ""."""
        ...

    def find(self, path: str) -> Found | None: ...

    def read(self, path: str) -> bytes | None: ...


class ImageFolder:
    """path: absolute, in the image."""

    known = False

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"<ImageFolder {self.path}>"

    def refused(self, path: str) -> str:
        return ""

    def find(self, path: str) -> Found | None:
        return None

    def read(self, path: str) -> bytes | None:
        return None

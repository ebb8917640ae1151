"""Contents and trees on the disk, each in a file that is called by its digest.

    FOLDER/contents/ab/abcd...   what a file holds
    FOLDER/trees/abcd...         a tree (`controlplane.files.tree`)
    FOLDER/incoming/             what is being uploaded; cleared at the start

A file is written beside and renamed, so that whatever has its digest for a name is whole after a crash of the
registry. It is not flushed to the disk: after a power cut it may be damaged, which its digest tells whoever reads it.
Nothing here knows of sandboxes: whoever does says which trees are in use, and `sweep` removes the rest. Every call
blocks.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from controlplane.files.tree import Tree, decode_tree, digest_of
from controlplane.process.private import private_folder

UNUSED_SECONDS = 3600.0
"""That a content is kept which no tree names: it was uploaded and is about to be pushed."""
FRESH_SECONDS = 60.0
"""That a tree is kept which no fork names: its sandbox is being stored."""
MAX_STORE_BYTES = 4 << 30
"""Of all contents: 64 forks with as much as one may have."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class StoreFullError(Exception):
    """There is no room for another content. `str()` is one sentence."""


class Keeper(Protocol):
    """Where trees outlive this process and its disk."""

    async def keep(self, digest: str) -> None:
        """A tree that the store has. Raises DocumentError, StoreError."""
        ...

    async def sweep(self) -> None:
        """Forget what the store has forgotten."""
        ...


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


class FileStore:
    """folder: made when something is written; nobody else can look into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._contents = folder / "contents"
        self._trees = folder / "trees"
        self._incoming = folder / "incoming"
        self._bytes: int | None = None
        self._lock = threading.Lock()
        shutil.rmtree(self._incoming, ignore_errors=True)

    def __repr__(self) -> str:
        return f"<FileStore {self.folder}>"

    def has(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def path(self, digest: str) -> Path:
        """Where a content is. Nobody may write to it."""
        assert is_digest(digest), digest
        return self._contents / digest[:2] / digest

    def size(self, digest: str) -> int:
        """Raises OSError: there is none."""
        return self.path(digest).stat().st_size

    def read(self, digest: str) -> bytes:
        """Raises OSError: there is none, or it is damaged."""
        data = self.path(digest).read_bytes()
        if digest_of(data) != digest:
            raise OSError(errno.EIO, "is damaged", str(self.path(digest)))
        return data

    def put(self, data: bytes) -> str:
        """Keep a content for a tree that will name it; its digest. Raises StoreFullError, OSError."""
        with self._lock:
            return self._put(data)

    def keep(self, tree: Tree, contents: Iterable[bytes]) -> str:
        """Keep a tree, with those of its contents that came along; its digest. Raises StoreFullError, OSError.

        It is one step for `sweep`: a content that another tree has let go is not removed under it.
        """
        with self._lock:
            for data in contents:
                self._put(data)
            for named, content in tree.files.items():
                if not self.has(content.digest):
                    raise FileNotFoundError(errno.ENOENT, "its content is not here any more: push it again", named)
            data = tree.encode()
            path = self._trees / digest_of(data)
            if path.is_file():
                os.utime(path)
            else:
                self._write(path, data)
            return path.name

    def _put(self, data: bytes) -> str:
        digest = digest_of(data)
        path = self.path(digest)
        with suppress(OSError):
            if self.size(digest) == len(data):
                os.utime(path)  # it is wanted again: not to be swept meanwhile
                return digest
        if self._size() + len(data) > MAX_STORE_BYTES:
            raise StoreFullError(f"the pushed files of all sandboxes may be {MAX_STORE_BYTES} bytes together")
        self._write(path, data)
        self._bytes = self._size() + len(data)
        return digest

    def tree(self, digest: str) -> Tree | None:
        """None: there is none of that digest, or it is not what it says."""
        if not is_digest(digest):
            return None
        try:
            data = (self._trees / digest).read_bytes()
            return decode_tree(data) if digest_of(data) == digest else None
        except (OSError, ValueError):
            return None

    def sweep(self, used: Collection[str]) -> int:
        """Remove trees that nobody uses, and contents that no tree names; how many files that were."""
        with self._lock:
            return self._sweep(used)

    def _sweep(self, used: Collection[str]) -> int:
        now = time.time()
        named: set[str] = set()
        left: set[str] = set()
        removed = 0
        for path in _files(self._trees):
            tree = self.tree(path.name)
            of_tree = {one.digest for one in tree.files.values()} if tree is not None else set()
            if path.name in used or _age(path, now) < FRESH_SECONDS:
                named |= of_tree
            else:
                left |= of_tree
                removed += _remove(path)
        for folder in _folders(self._contents):
            for path in _files(folder):
                if path.name not in named and (path.name in left or _age(path, now) > UNUSED_SECONDS):
                    removed += _remove(path)
        self._bytes = None
        return removed

    def _size(self) -> int:
        if self._bytes is None:
            self._bytes = sum(file.stat().st_size for folder in _folders(self._contents) for file in _files(folder))
        return self._bytes

    def _write(self, path: Path, data: bytes) -> None:
        for folder in (self._incoming, path.parent):
            private_folder(folder)
        fresh = self._incoming / secrets.token_hex(8)
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


def _files(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from [path for path in folder.iterdir() if is_digest(path.name)]


def _folders(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from list(folder.iterdir())


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except OSError:
        return 0.0


def _remove(path: Path) -> int:
    try:
        path.unlink()
    except OSError:
        return 0
    return 1

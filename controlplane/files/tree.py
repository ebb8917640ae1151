"""The pushed files of one fork: an immutable object that is known by the digest of its encoding.

A tree says only what differs from the baseline's work folder: files with their contents, and files that are gone. So
a fork that names a tree says exactly what it runs, an earlier revision of it can be started again, and two pushes of
the same make one revision. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

MAX_FILES = 2000
"""Of one tree. A change of more files than this is another service: start it from a checkout of its own."""
MAX_FILE_BYTES = 16 << 20
"""Of one file: a binary that was built, not a data set."""
MAX_TREE_BYTES = 64 << 20
"""Of all files of a tree."""


def digest_of(data: bytes) -> str:
    """By which a content is known: SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds. size: in bytes. executable: it may be run, as git's mode 100755."""

    digest: str
    size: int
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """files: by path. removed: paths that the baseline's folder has and the fork has not."""

    files: Mapping[str, Content] = field(default_factory=dict)
    removed: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        return digest_of(self.encode())

    def encode(self) -> bytes:
        """The one encoding: JSON, sorted, without spaces."""
        files = {path: [one.digest, one.size, int(one.executable)] for path, one in self.files.items()}
        document = {"files": files, "removed": sorted(self.removed)}
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    def paths(self) -> list[str]:
        return sorted({*self.files, *self.removed})

    def changed(self, files: Mapping[str, Content], removed: Iterable[str], back: Iterable[str]) -> Tree:
        """The tree after a push. back: paths that are as in the baseline's folder again."""
        gone = set(removed)
        forgotten = {*gone, *back}
        kept = {path: one for path, one in self.files.items() if path not in forgotten}
        still = (self.removed | gone) - set(files) - set(back)
        return Tree({**kept, **files}, frozenset(still))


def decode_tree(data: bytes) -> Tree:
    """Raises ValueError: that is no tree."""
    try:
        document = json.loads(data)
        files = {
            str(path): Content(str(digest), int(size), bool(executable))
            for path, (digest, size, executable) in document["files"].items()
        }
        return Tree(files, frozenset(map(str, document["removed"])))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a tree: {error}") from None


def too_much(tree: Tree) -> str:
    """Why a tree is too large, to stand behind "the pushed files", or ""."""
    count, size = len(tree.files) + len(tree.removed), sum(one.size for one in tree.files.values())
    advice = "start the fork from a checkout of your own, with command and cwd"
    if count > MAX_FILES:
        return f"would be {count} files, and {MAX_FILES} are allowed: {advice}"
    if size > MAX_TREE_BYTES:
        return f"would be {size} bytes, and {MAX_TREE_BYTES} are allowed: {advice}"
    return ""


def clash(tree: Tree) -> tuple[str, str] | None:
    """A file of the tree that lies below another file of it, and that one."""
    for path in tree.files:
        parts = path.split("/")
        for count in range(1, len(parts)):
            above = "/".join(parts[:count])
            if above in tree.files:
                return path, above
    return None

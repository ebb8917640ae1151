"""What a push makes of the files that a fork has: the next tree, or every reason why there is none.

Nothing is stored but contents, which nobody uses until a tree names them. Every call blocks.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from controlplane.files.diff import DiffError, FilePatch, apply_patch, parse_diff
from controlplane.files.image import Base
from controlplane.files.paths import checked_path, shown_path
from controlplane.files.store import FileStore
from controlplane.files.tree import MAX_FILE_BYTES, Content, Tree, clash, digest_of, too_much
from controlplane.model.problem import FieldProblem, Problems
from controlplane.model.push import ChangedFile, FileName, Needed, Push, PushedFile, SentFile

MAX_SHOWN_BYTES = 256 << 10
"""Of a file whose difference is shown."""
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
MAX_DIFF_CHARACTERS = 100_000
"""Of the difference of one file."""


class Changing:
    """One push, on top of what a fork has: `tree`, over the work folder `base`."""

    def __init__(self, store: FileStore, base: Base, tree: Tree) -> None:
        self._store = store
        self._base = base
        self._before = tree
        self._files: dict[str, bytes | Content] = {}
        """What is new, by path: a content that came along, or one that was uploaded."""
        self._executable: dict[str, bool] = {}
        self._removed: set[str] = set()
        self._problems = Problems()

    def __repr__(self) -> str:
        return f"<Changing {self._base!r} {len(self._files)} files>"

    def push(self, push: Push) -> Tree:
        """The tree after it, kept. Raises DocumentError with every problem, StoreFullError, OSError."""
        for index, file in enumerate(push.files):
            self._send(file, f"files[{index}]")
        for index, said in enumerate(push.removed):
            path = self._path(said, f"removed[{index}]")
            if path and path not in self._files:
                self._remove(path, f"removed[{index}]", said)
        if push.diff is not None:
            self._patch(push.diff)
        self._refuse()
        tree = self._tree()
        self._refuse()
        self._store.keep(
            tree, [data for path, data in self._files.items() if path in tree.files and isinstance(data, bytes)]
        )
        return tree

    def needed(self, files: tuple[FileName, ...]) -> Needed:
        """Which of these are not as the fork has them, and which contents are not here. Raises DocumentError."""
        changed: list[str] = []
        missing: dict[str, None] = {}
        for index, file in enumerate(files):
            path = self._path(file.path, f"files[{index}].path")
            if path and self._now(path) != Content(file.digest, file.size, file.executable):
                changed.append(file.path)
                if not self._store.has(file.digest) and self._content_of_base(path, file.digest) is None:
                    missing[file.digest] = None
        self._refuse()
        return Needed(changed=tuple(changed), missing=tuple(missing))

    def _send(self, file: SentFile, where: str) -> None:
        path = self._path(file.path, f"{where}.path")
        if not path:
            return
        if path in self._files:
            self._problem(f"{where}.path", f"{shown_path(path)} is named twice")
            return
        data = file.content()
        if data is not None:
            self._take(path, data, where)
        elif file.digest is not None:
            known = self._uploaded(file.digest) or self._content_of_base(path, file.digest)
            if known is None:
                message = f"what {shown_path(path)} holds was not uploaded: PUT /v1/files/{file.digest}"
                self._problem(f"{where}.digest", message)
            else:
                self._files[path] = known
        if file.executable is not None:
            self._executable[path] = file.executable

    def _take(self, path: str, data: bytes, where: str) -> None:
        if len(data) > MAX_FILE_BYTES:
            self._problem(where, f"{shown_path(path)} is {len(data)} bytes, and {MAX_FILE_BYTES} are allowed")
        else:
            self._files[path] = data

    def _remove(self, path: str, where: str, said: str) -> None:
        if self._base.known and self._now(path) is None:
            self._problem(where, f"there is no {shown_path(said)} in the work folder {self._base.path}")
        else:
            self._removed.add(path)

    def _patch(self, diff: str) -> None:
        try:
            patches = parse_diff(diff)
        except DiffError as error:
            self._problem(_of_diff(error.path), _told(error))
            return
        for patch in patches:
            try:
                self._apply(patch)
            except DiffError as error:
                self._problem(_of_diff(error.path or patch.new or patch.old or ""), _told(error))

    def _apply(self, patch: FilePatch) -> None:
        named = patch.new or patch.old or ""
        where = _of_diff(named)
        old = self._path(patch.old, where) if patch.old is not None else ""
        new = self._path(patch.new, where) if patch.new is not None else ""
        if (patch.old is not None and not old) or (patch.new is not None and not new):
            return
        data = b""
        if old:
            found = self._read(old)
            if found is None and not self._base.known:
                message = (
                    f"what {shown_path(old)} holds stands in the image, and is not known here: push the whole file"
                )
                self._problem(where, message)
                return
            if found is None:
                hint = "make the diff in the work folder, as with git diff --relative"
                self._problem(where, f"there is no {shown_path(old)} in the work folder {self._base.path}: {hint}")
                return
            data = found
        elif self._read(new) is not None:
            self._problem(where, f"{shown_path(new)} is there already, and the diff makes it anew")
            return
        if not new:
            apply_patch(patch, data)
            self._files.pop(old, None)
            self._removed.add(old)
            return
        if old and old != new:
            self._executable.setdefault(new, self._may_run(old))
            self._files.pop(old, None)
            self._removed.add(old)
        self._removed.discard(new)
        self._take(new, apply_patch(patch, data), where)
        if patch.executable is not None:
            self._executable[new] = patch.executable

    def _tree(self) -> Tree:
        """What is as in the baseline's folder again is no change of it."""
        files: dict[str, Content] = {}
        back: set[str] = set()
        for path, data in self._files.items():
            executable = self._executable.get(path, self._may_run(path))
            if isinstance(data, Content):
                content = Content(data.digest, data.size, executable)
            else:
                content = Content(digest_of(data), len(data), executable)
            if self._in_base(path, content.size) == content:
                back.add(path)
                continue
            files[path] = content
        gone = {path for path in self._removed if not self._base.known or self._base.find(path) is not None}
        tree = self._before.changed(files, gone, back | (self._removed - gone))
        found = clash(tree)
        if found:
            self._problem("files", f"{shown_path(found[0])} lies below {shown_path(found[1])}, which is a file")
        said = too_much(tree)
        if said:
            self._problem("files", f"the pushed files of this fork {said}")
        return tree

    def _path(self, said: str, where: str) -> str:
        """The checked path, or "" when it was refused."""
        try:
            path = checked_path(said)
        except ValueError as error:
            self._problem(where, f"{shown_path(said)!r} {error}")
            return ""
        refused = self._base.refused(path)
        if refused:
            self._problem(where, f"{shown_path(path)} {refused}")
            return ""
        return path

    def _now(self, path: str) -> Content | None:
        """What the fork has at a path before this push."""
        if path in self._before.files:
            return self._before.files[path]
        if path in self._before.removed:
            return None
        found = self._base.find(path)
        return self._in_base(path, found.size) if found is not None else None

    def _in_base(self, path: str, size: int) -> Content | None:
        """What the work folder has at a path, when it is of that size; None when it has another, or nothing."""
        found = self._base.find(path)
        if found is None or found.size != size:
            return None
        data = self._base.read(path)
        return Content(digest_of(data), len(data), found.executable) if data is not None else None

    def _content_of_base(self, path: str, digest: str) -> bytes | None:
        """The content of that digest, when the work folder has it at the same path."""
        data = self._base.read(path)
        return data if data is not None and digest_of(data) == digest else None

    def _uploaded(self, digest: str) -> Content | None:
        try:
            return Content(digest, self._store.size(digest))
        except OSError:
            return None

    def _read(self, path: str) -> bytes | None:
        """What the fork has at a path, with what this push has said so far."""
        if path in self._removed:
            return None
        data = self._files.get(path)
        if isinstance(data, bytes):
            return data
        content = data or self._before.files.get(path)
        if content is not None:
            try:
                return self._store.read(content.digest)
            except OSError:
                return None
        return None if path in self._before.removed else self._base.read(path)

    def _may_run(self, path: str) -> bool:
        if path in self._before.files:
            return self._before.files[path].executable
        found = self._base.find(path)
        return found is not None and found.executable

    def _problem(self, path: str, message: str) -> None:
        self._problems.add([FieldProblem(path=path, message=message)])

    def _refuse(self) -> None:
        if self._problems:
            raise self._problems.error()


def differences(before: Tree, after: Tree, base: Base) -> Iterator[ChangedFile]:
    """What a push has changed, file by file."""
    for path in sorted({*before.paths(), *after.paths()}):
        old, new = before.files.get(path), after.files.get(path)
        if old == new and (path in before.removed) == (path in after.removed):
            continue
        if path in after.removed:
            yield ChangedFile(path=path, change="removed")
        elif new is None:
            yield ChangedFile(path=path, change="restored" if base.find(path) else "removed")
        elif old is not None or (path not in before.removed and base.find(path)):
            yield ChangedFile(path=path, change="changed")
        else:
            yield ChangedFile(path=path, change="added")


def compared(tree: Tree, base: Base, store: FileStore, workload: str) -> Iterator[PushedFile]:
    """In what a fork differs from its baseline, file by file."""
    for path in tree.paths():
        content = tree.files.get(path)
        old = base.read(path)
        try:
            new = store.read(content.digest) if content is not None else None
        except OSError:
            new = None
        diff = _diff(path, old, new) if base.known and (content is None or new is not None) else None
        if content is None:
            yield PushedFile(workload=workload, path=path, change="removed", diff=diff)
        else:
            yield PushedFile(
                workload=workload,
                path=path,
                change="added" if old is None and base.known else "changed",
                size=content.size,
                digest=content.digest,
                executable=content.executable,
                diff=diff,
            )


def _diff(path: str, old: bytes | None, new: bytes | None) -> str | None:
    texts = []
    for data in (old, new):
        if data is not None and (len(data) > MAX_SHOWN_BYTES or b"\0" in data):
            return None
        try:
            texts.append(_LINE.findall((data or b"").decode()))
        except UnicodeDecodeError:
            return None
    names = ("/dev/null" if old is None else f"a/{path}", "/dev/null" if new is None else f"b/{path}")
    lines = difflib.unified_diff(texts[0], texts[1], names[0], names[1])
    text = "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return text if len(text) <= MAX_DIFF_CHARACTERS else None


def _of_diff(path: str) -> str:
    return f"diff[{shown_path(path)}]" if path else "diff"


def _told(error: DiffError) -> str:
    return f"{error} (line {error.line} of the diff)" if error.line else str(error)

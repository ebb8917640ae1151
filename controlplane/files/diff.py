"""A unified diff, read and applied. Pure.

What `diff -u` and `git diff` write, and what a language model writes in their place: the context has to be there
exactly, but where a hunk begins and how many lines it has is often counted wrongly, so a hunk is looked for where it
says first, and then nearest to that. A hunk whose lines are not there applies nowhere, and neither does any other of
the same diff.

The lines of a file keep the ends that they have: a diff with `\\n` applies to a file with `\\r\\n`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MAX_HUNKS = 5000
"""Of one diff."""

_HUNK = re.compile(r"@@+ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_NO_NEWLINE = "\\"
DEV_NULL = "/dev/null"


class DiffError(ValueError):
    """path: the file that it is about, "" when it is the whole. hunk: which of its hunks, from 1; 0: none.
    line: of the diff, from 1.
    """

    def __init__(self, message: str, path: str = "", hunk: int = 0, line: int = 0) -> None:
        where = f"hunk {hunk}: " if hunk else ""
        super().__init__(f"{where}{message}")
        self.path = path
        self.hunk = hunk
        self.line = line


@dataclass(slots=True)
class Hunk:
    """before: the line of the old file at which it begins, from 1. lines: (mark, text), the mark one of ` `, `-`, `+`.
    bare: marks of the sides whose last line has no end: `-`, `+`.
    """

    before: int
    at: int
    lines: list[tuple[str, str]] = field(default_factory=list)
    bare: set[str] = field(default_factory=set)

    @property
    def old(self) -> list[str]:
        return [text for mark, text in self.lines if mark != "+"]

    @property
    def new(self) -> list[str]:
        return [text for mark, text in self.lines if mark != "-"]


@dataclass(slots=True)
class FilePatch:
    """What a diff does to one file. old, new: paths, None where it is not there. executable: None: as it was."""

    old: str | None
    new: str | None
    at: int
    hunks: list[Hunk] = field(default_factory=list)
    executable: bool | None = None


def parse_diff(text: str) -> list[FilePatch]:
    """The files of a diff, in its order. Raises DiffError."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    patches = list(_Reader(lines[:-1] if lines[-1] == "" else lines).patches())
    if not patches:
        raise DiffError("holds no file: a unified diff has lines that begin with ---, +++ and @@")
    return patches


def apply_patch(patch: FilePatch, data: bytes) -> bytes:
    """The file after the patch. Raises DiffError that names the hunk."""
    path = patch.new or patch.old or ""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise DiffError("is not text in UTF-8: push the file itself", path, line=patch.at) from None
    ended = "\r" if "\r\n" in text else ""
    raw = text.split("\n")
    complete = raw[-1] == ""
    if complete:
        raw.pop()
    lines = [line.removesuffix("\r") for line in raw]
    result: list[str] = []
    done = 0
    for number, hunk in enumerate(patch.hunks, 1):
        at = _found(lines, hunk, done)
        if at is None:
            raise DiffError(_missing(lines, hunk, done), path, number, hunk.at)
        result += raw[done:at]
        done = at
        for mark, line in hunk.lines:
            result += [f"{line}{ended}"] if mark == "+" else [raw[done]] if mark == " " else []
            done += mark != "+"
        if done == len(lines) and hunk.bare:
            complete = "+" not in hunk.bare
    result += raw[done:]
    return ("\n".join(result) + ("\n" if complete and result else "")).encode()


def _found(lines: Sequence[str], hunk: Hunk, done: int) -> int | None:
    """Where a hunk applies. Blank lines at its end may be those between two files, which it does not mean."""
    while True:
        old = hunk.old
        at = _place(lines, old, hunk.before - 1 if old else hunk.before, done)
        if at is not None or not hunk.lines or hunk.lines[-1] != (" ", ""):
            return at
        hunk.lines.pop()


def _place(lines: Sequence[str], old: Sequence[str], wanted: int, least: int) -> int | None:
    """The index at which `old` stands in `lines`, nearest to `wanted` and not before `least`."""
    last = len(lines) - len(old)
    if not old:
        return min(max(wanted, least), len(lines))
    found = [at for at in range(least, last + 1) if lines[at] == old[0] and lines[at : at + len(old)] == old]
    return min(found, key=lambda at: abs(at - wanted)) if found else None


def _missing(lines: Sequence[str], hunk: Hunk, least: int) -> str:
    """What is not as the hunk says it: of its place, the first line that differs."""
    at = max(hunk.before - 1, least)
    for offset, expected in enumerate(hunk.old):
        if at + offset >= len(lines):
            return f"does not apply: it expects {_shown(expected)} at line {at + offset + 1}, behind the file's end"
        if lines[at + offset] != expected:
            found = lines[at + offset]
            return f"does not apply: line {at + offset + 1} is {_shown(found)}, and it expects {_shown(expected)}"
    return "does not apply: its lines overlap those of the hunk before it"


def _shown(line: str) -> str:
    text = repr(line)
    return text if len(text) <= 90 else f"{text[:87]}..."


class _Reader:
    """Reads a diff line by line. What stands between files is passed over, as `patch` does."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._at = 0
        self._hunks = 0

    def patches(self) -> Iterator[FilePatch]:
        patch: FilePatch | None = None
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.startswith("diff --git "):
                if patch is not None:
                    yield patch
                patch = self._git_header()
            elif line.startswith("--- ") and self._peek(1).startswith("+++ "):
                begun = patch if patch is not None and not patch.hunks else None
                if patch is not None and begun is None:
                    yield patch
                patch = self._header(begun)
            elif line.startswith("@@"):
                if patch is None:
                    raise DiffError(
                        "stands before any file: `--- FILE` and `+++ FILE` are missing", "", 1, self._at + 1
                    )
                self._hunk(patch)
            elif line.startswith(("GIT binary patch", "Binary files ")):
                raise DiffError("is a binary change: push the file itself", _name(patch), line=self._at + 1)
            else:
                self._at += 1
        if patch is not None:
            yield patch

    def _peek(self, ahead: int) -> str:
        return self._lines[self._at + ahead] if self._at + ahead < len(self._lines) else ""

    def _header(self, begun: FilePatch | None) -> FilePatch:
        """`--- OLD` and `+++ NEW`."""
        at = self._at + 1
        old, new = _path(self._lines[self._at][4:]), _path(self._peek(1)[4:])
        self._at += 2
        if old is None and new is None:
            raise DiffError("is nothing before and after: one of --- and +++ must name a file", line=at)
        if old and new and old.startswith("a/") and new.startswith("b/"):
            old, new = old[2:], new[2:]
        elif old is None and new and new.startswith("b/"):
            new = new[2:]
        elif new is None and old and old.startswith("a/"):
            old = old[2:]
        patch = FilePatch(old, new, at)
        if begun is not None:
            patch.executable = begun.executable
        return patch

    def _git_header(self) -> FilePatch:
        """The lines behind `diff --git`, which alone tell of a file that is empty, renamed, or changed in its mode."""
        at = self._at + 1
        named = re.fullmatch(r"diff --git \"?a/(.*?)\"? \"?b/(.*?)\"?", self._lines[self._at])
        if named is None:
            raise DiffError("`diff --git` must name a/FILE and b/FILE", line=at)
        patch = FilePatch(named[1], named[2], at)
        self._at += 1
        while self._at < len(self._lines):
            line = self._lines[self._at]
            word, _, rest = line.rpartition(" ")
            if word in ("new file mode", "new mode", "deleted file mode"):
                if rest not in ("100644", "100755"):
                    raise DiffError(f"has mode {rest}: only regular files can be pushed", named[2], line=self._at + 1)
                if word == "new file mode":
                    patch.old = None
                elif word == "deleted file mode":
                    patch.new = None
                patch.executable = rest == "100755"
            elif line.startswith("rename from "):
                patch.old = line.removeprefix("rename from ")
            elif line.startswith("rename to "):
                patch.new = line.removeprefix("rename to ")
            elif line.startswith(("copy from ", "copy to ")):
                raise DiffError("is a copy: make the diff without -C", named[2], line=self._at + 1)
            elif not line.startswith(("old mode ", "similarity index ", "dissimilarity index ", "index ")):
                break
            self._at += 1
        return patch

    def _hunk(self, patch: FilePatch) -> None:
        at, head = self._at + 1, _HUNK.match(self._lines[self._at])
        number = len(patch.hunks) + 1
        self._hunks += 1
        if head is None:
            raise DiffError("`@@ -LINE,COUNT +LINE,COUNT @@` is expected", _name(patch), number, at)
        if self._hunks > MAX_HUNKS:
            raise DiffError(f"has more than {MAX_HUNKS} hunks", line=at)
        hunk = Hunk(int(head[1]), at)
        left = {"-": int(head[2] or "1"), "+": int(head[4] or "1")}
        self._at += 1
        while self._at < len(self._lines) and not self._over(left):
            line = self._lines[self._at]
            mark, text = (line[:1] or " "), line[1:]
            if mark == _NO_NEWLINE:
                if hunk.lines:
                    last = hunk.lines[-1][0]
                    hunk.bare |= {"-", "+"} if last == " " else {last}
            elif mark in " -+":
                hunk.lines.append((mark, text))
                for side in left:
                    left[side] -= mark in (" ", side)
            else:
                raise DiffError(f"line {self._at + 1} of the diff begins with {mark!r}, not with a space, - or +",
                                _name(patch), number, self._at + 1)  # fmt: skip
            self._at += 1
        if not hunk.lines:
            raise DiffError("has no lines", _name(patch), number, at)
        patch.hunks.append(hunk)

    def _over(self, left: dict[str, int]) -> bool:
        """Whether the hunk has ended: by its count, or, where that is wrong, by what begins at this line."""
        line = self._lines[self._at]
        if line.startswith(("@@ ", "diff --git ")):
            return True
        counted = max(left.values()) <= 0
        if line.startswith("--- ") and self._peek(1).startswith("+++ ") and self._peek(2).startswith("@@"):
            return counted or min(left.values()) <= 0
        if counted:
            return line[:1] not in (*" -+", _NO_NEWLINE) or line.startswith("-- ") or line == "--"
        return False


def _path(text: str) -> str | None:
    """A path as a header has it: without the time behind a tab, and without quotes. None: /dev/null."""
    name = text.partition("\t")[0].strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return None if name == DEV_NULL else name


def _name(patch: FilePatch | None) -> str:
    return (patch.new or patch.old or "") if patch is not None else ""

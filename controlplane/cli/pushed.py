"""The files that a push names, as the registry wants to hear of them.

What is small goes along with the push. Otherwise the registry is asked first, by digest: most of a folder is as in the
baseline, and only what is not here is uploaded.
"""

from __future__ import annotations

import os
import re
import stat
from binascii import b2a_base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from controlplane.cli.failures import CommandError, InvalidError
from controlplane.cli.registry import Registry, segment

ALONG_BYTES = 128 << 10
"""Of all files that go along with a push: two exchanges are saved by that."""
ALONG_FILES = 50
ASKED_FILES = 2000
"""Of one question."""
ATTEMPTS = 3
"""At a push whose contents were swept away between the question and the push."""

_LEFT_OUT = frozenset(
    (
        "__pycache__", ".git", ".hg", ".svn", ".tox", ".venv", "venv", ".idea", ".vscode", "node_modules",
        ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".DS_Store",
    )
)  # fmt: skip
_LEFT_OUT_NAMES = re.compile(r".*\.(?:py[cod]|sw.|bak|tmp)|\..*\.___jb_...___|\.#.*|.*~|flycheck_.*|4913")
"""As `watchfiles.DefaultFilter` has it: what tools write beside the files of a service, and editors while they save."""

Files = Mapping[str, Path]
"""Local files by their paths in the work folder."""


def left_out(name: str) -> bool:
    """Whether a file or folder of that name is none of the service's, when a folder is pushed."""
    return name in _LEFT_OUT or _LEFT_OUT_NAMES.fullmatch(name) is not None


def gather(paths: Sequence[str], place: str | None, root: Path) -> dict[str, Path]:
    """The files that are meant, by their paths in the work folder. Raises InvalidError with every problem.

    place: where the one file, or the one folder, goes in the work folder; None: a folder's files to its top, and a file
           to where it is as seen from `root`.
    """
    found: dict[str, Path] = {}
    problems: list[str] = []
    if place is not None and len(paths) != 1:
        raise click.UsageError("--as names the place of one PATH")
    for said in paths:
        path = Path(said)
        try:
            if path.is_dir():
                below = place.strip("/") if place is not None else ""
                for inside, file in _below(path, problems):
                    found[f"{below}/{inside}".lstrip("/")] = file
            else:
                file_mode = path.lstat().st_mode
                if not stat.S_ISREG(file_mode):
                    kind = "a link" if stat.S_ISLNK(file_mode) else "no regular file"
                    problems.append(f"{said}: is {kind}: push what it leads to, with --as to say where it goes")
                    continue
                found[place if place is not None else _seen(path, root)] = path
        except ValueError:
            problems.append(f"{said}: is not below {root}: say with --as where it goes in the work folder")
        except OSError as error:
            problems.append(f"{said}: {error.strerror}")
    if problems:
        raise InvalidError(*problems)
    return found


def send(registry: Registry, name: str, push: dict[str, Any], files: Files, query: Mapping[str, str]) -> dict[str, Any]:
    """Push, and what the registry answers. push: the document without its files. Raises CommandError."""
    where = f"sandboxes/{segment(name)}/push"
    if len(files) <= ALONG_FILES and sum(path.stat().st_size for path in files.values()) <= ALONG_BYTES:
        sent = [_along(place, path) for place, path in files.items()]
        return registry.post(where, {**push, "files": sent}, _answer, query)
    for attempt in range(1, ATTEMPTS + 1):
        named = [_named(place, path) for place, path in files.items()]
        changed = _uploaded(registry, name, push["workload"], named, files)
        sent = [{field: one[field] for field in ("path", "digest", "executable")} for one in changed]
        try:
            return registry.post(where, {**push, "files": sent}, _answer, query)
        except InvalidError as error:
            problems = (error.document or {}).get("problems") or ()
            gone = problems and all(str(item.get("path", "")).endswith(".digest") for item in problems)
            if not gone or attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _uploaded(
    registry: Registry, name: str, workload: str, named: list[dict[str, Any]], files: Files
) -> list[dict[str, Any]]:
    """Those of the files that are otherwise in the sandbox, their contents uploaded."""
    import hashlib

    changed: list[dict[str, Any]] = []
    for start in range(0, len(named), ASKED_FILES):
        part = named[start : start + ASKED_FILES]
        question = {"workload": workload, "files": part}
        needed = registry.post(f"sandboxes/{segment(name)}/files", question, _answer)
        different, missing = set(needed.get("changed", ())), set(needed.get("missing", ()))
        for one in part:
            if one["path"] not in different:
                continue
            changed.append(one)
            if one["digest"] in missing:
                missing.discard(one["digest"])
                data = files[one["path"]].read_bytes()
                if hashlib.sha256(data).hexdigest() != one["digest"]:
                    raise CommandError(f"{files[one['path']]} has changed while it was pushed: push again")
                registry.upload(f"files/{one['digest']}", data)
    return changed


def _below(folder: Path, problems: list[str]) -> Iterator[tuple[str, Path]]:
    for above, folders, names in os.walk(folder):
        folders[:] = sorted(one for one in folders if not left_out(one))
        for name in sorted(names):
            path = Path(above, name)
            if left_out(name):
                continue
            if path.is_symlink():
                target = path.resolve()
                if not target.is_relative_to(folder.resolve()):
                    problems.append(f"{path}: is a link out of the folder, to {target}")
                    continue
            if path.is_file():
                yield path.relative_to(folder).as_posix(), path
        linked = [Path(above, name) for name in folders if Path(above, name).is_symlink()]
        problems += [f"{path}: is a link to a folder: push what it leads to" for path in linked]


def _seen(path: Path, root: Path) -> str:
    """As it is seen from the root. Raises ValueError: it is not below it."""
    return Path(os.path.abspath(path)).relative_to(os.path.abspath(root)).as_posix()  # noqa: PTH100 (links stay links)


def _along(place: str, path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    document: dict[str, Any] = {"path": place, "executable": _may_run(path)}
    try:
        return document | {"text": data.decode()}
    except UnicodeDecodeError:
        return document | {"base64": b2a_base64(data, newline=False).decode()}


def _named(place: str, path: Path) -> dict[str, Any]:
    import hashlib  # only who names a content waits for it

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": place, "digest": digest, "size": path.stat().st_size, "executable": _may_run(path)}


def _may_run(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IXUSR)


def _answer(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise TypeError(document)
    return document

"""Which paths may be pushed. Pure.

A path is relative to the work folder, its parts separated by `/`. It cannot lead out of the folder: it has no `..` and
does not begin with `/`. Whether one of its folders is a link is for `controlplane.files.work` to see.
"""

from __future__ import annotations

import re

MAX_PATH_BYTES = 1024
"""A quarter of Linux's PATH_MAX: the folder that it is laid into needs the rest."""
MAX_NAME_BYTES = 255
"""NAME_MAX of every file system that we know of."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def checked_path(path: str) -> str:
    """The path in its one form, `./a//b` as `a/b`. Raises ValueError with what is wrong, to stand behind the path."""
    if not path or path in (".", "./"):
        raise ValueError("names no file")
    if path.startswith("/"):
        raise ValueError("is absolute: paths are relative to the work folder")
    if _CONTROL.search(path):
        raise ValueError("has a control character in it")
    if "\\" in path:
        raise ValueError("has a \\ in it: folders are separated by /")
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    if size > MAX_PATH_BYTES:
        raise ValueError(f"is longer than {MAX_PATH_BYTES} bytes")
    if path.endswith("/"):
        raise ValueError("names a folder: push its files")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError("leads out of the work folder with ..")
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise ValueError(f"has a part of more than {MAX_NAME_BYTES} bytes")
    return "/".join(parts)


def shown_path(path: str) -> str:
    """A path as it may stand in a message."""
    text = _CONTROL.sub("?", path)
    return text if len(text) <= 120 else f"{text[:117]}..."

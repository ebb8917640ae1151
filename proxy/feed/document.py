"""A routes file as bytes: JSON or YAML by content, strict (`proxy.base.strict_yaml`), read route by route.

Even so, 100,000 routes take 4 s, which is too much beside requests, interpreter lock or not. So anything but a small
file is read in a process of its own (`python -m proxy.feed.document FILE WORKLOAD`). It writes a route watch to its
standard output: `snapshot` pieces with the routes of one workload, then `synced`, or `refused` with the problems. The
sidecar reads that as it reads a registry.
"""

from __future__ import annotations

import gc
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yaml.events import MappingEndEvent, MappingStartEvent, SequenceEndEvent, SequenceStartEvent

from proxy.base import strict_yaml
from proxy.base.strict import DocumentError, decode, looks_like_json, parse_json
from proxy.base.strict_yaml import ended, value
from proxy.contract.routes import decode_routes, encode_route, listed_routes
from proxy.contract.watch import SNAPSHOT, SNAPSHOT_ROUTES, SYNCED, Event, encode_event
from proxy.errors import ContractError

MAX_FILE_BYTES = 64 << 20
"""870,000 of the shortest routes: a larger file is another file by mistake."""

MAX_PROBLEMS = 50
"""Of one file; more do not help to repair it."""

REFUSED = "refused"
"""The event in place of `synced` when the file is bad. Data: {"problems": [[path, message], ...]}."""


def read_file(path: Path) -> bytes:
    """The whole file. Raises ContractError; nothing but a regular file is opened, since a pipe would block."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ContractError([("", "is not a regular file")])
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ContractError([("", f"cannot be read: {error.strerror}")]) from None
    if len(data) > MAX_FILE_BYTES:
        raise ContractError([("", f"has more than {MAX_FILE_BYTES >> 20} MiB")])
    return data


def items(data: bytes) -> Iterator[object]:
    """The entries of `routes`, for `decode_routes`. Raises ContractError, with line and column for bad syntax."""
    try:
        text = decode(data)
        if looks_like_json(text):
            yield from listed_routes(parse_json(text))
        else:
            with strict_yaml.reading(text) as reader:
                yield from _walk(reader)
    except DocumentError as error:
        raise ContractError([("", _placed(error))]) from None


def _placed(error: DocumentError) -> str:
    """`line 3, column 4: PROBLEM`."""
    place = ", ".join(f"{what} {at}" for what, at in (("line", error.line), ("column", error.column)) if at)
    return f"{place}: {error.problem}" if place else error.problem


def _walk(reader: Any) -> Iterator[object]:
    reader.get_event()
    if ended(reader):
        yield from listed_routes(None)
    reader.get_event()
    if not reader.check_event(MappingStartEvent):
        yield from listed_routes(value(reader))
    reader.get_event()
    found = False
    problems: list[tuple[str, str]] = []
    while not reader.check_event(MappingEndEvent):
        name = value(reader)
        if name != "routes":
            value(reader)
            problems.append((name[:80] if isinstance(name, str) else type(name).__name__, "unknown field"))
        elif not reader.check_event(SequenceStartEvent):
            value(reader)
        elif found:
            raise ContractError([("routes", "stands twice")])
        else:
            found = True
            reader.get_event()
            while not reader.check_event(SequenceEndEvent):
                yield value(reader)
            reader.get_event()
    reader.get_event()
    reader.get_event()
    if not ended(reader):
        problems.append(("", "holds more than one document"))
    if not found:
        problems.append(("routes", "is required and must be a list"))
    if problems:
        raise ContractError(problems)


def events(path: Path, workload: str) -> Iterator[bytes]:
    """The file as a route watch of one workload, as bytes. Never raises for what is in the file."""
    total = 0
    piece: list[dict[str, Any]] = []
    try:
        for route in decode_routes(items(read_file(path))):
            total += 1
            if route.workload == workload:
                piece.append(encode_route(route))
            if len(piece) == SNAPSHOT_ROUTES:
                yield _event(SNAPSHOT, {"routes": piece})
                piece = []
    except ContractError as error:
        problems = error.problems[:MAX_PROBLEMS]
        if len(error.problems) > MAX_PROBLEMS:
            problems.append(("", f"and {len(error.problems) - MAX_PROBLEMS} problems more"))
        yield _event(REFUSED, {"problems": problems})
    except MemoryError:
        yield _event(REFUSED, {"problems": [("", "does not fit into memory")]})
    else:
        yield _event(SNAPSHOT, {"routes": piece})
        yield _event(SYNCED, {"total": total})


def _event(name: str, data: object) -> bytes:
    return encode_event(Event(name, json.dumps(data, separators=(",", ":"))))


def main(path: str, workload: str) -> None:
    """The reading process: nothing it makes is cyclic, and the requests have precedence."""
    gc.disable()
    os.nice(10)
    for event in events(Path(path), workload):
        sys.stdout.buffer.write(event)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])

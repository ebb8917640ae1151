"""A routes file as bytes: JSON or YAML by content, read route by route.

PyYAML's C part builds the whole tree with the interpreter lock held: 100,000 routes, 7 MB of YAML, take 9 s and
400 MB (measured). Here the tree is made of one route at a time: 4 s and 35 MB. That is still too much beside
requests, lock or not, so anything but a small file is read in a process of its own
(`python -m proxy.feed.document FILE WORKLOAD`). It writes a route watch to its standard output: `snapshot` pieces
with the routes of one workload, then `synced`, or `refused` with the problems. The sidecar reads that as it reads
a registry.

Stricter than YAML: a key that stands twice in one mapping is an error, since either value could win, and so is
the merge key `<<`, with which a small file can grow beyond every memory.
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

import yaml
from yaml.composer import Composer
from yaml.constructor import ConstructorError, SafeConstructor
from yaml.events import MappingEndEvent, MappingStartEvent, SequenceEndEvent, SequenceStartEvent, StreamEndEvent
from yaml.nodes import MappingNode
from yaml.resolver import Resolver

from proxy.contract.routes import decode_routes, encode_route, listed_routes
from proxy.contract.watch import SNAPSHOT, SNAPSHOT_ROUTES, SYNCED, Event, encode_event
from proxy.errors import ContractError

MAX_FILE_BYTES = 64 << 20
"""870,000 of the shortest routes: a larger file is another file by mistake."""

MAX_PROBLEMS = 50
"""Of one file; more do not help whoever repairs it."""

REFUSED = "refused"
"""The event in place of `synced` when the file is bad. Data: {"problems": [[path, message], ...]}."""

_MERGE = "tag:yaml.org,2002:merge"


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
    """The entries of `routes`, for `decode_routes`. Raises ContractError, with line and column for bad syntax.

    What begins with a brace and a quote is JSON; everything else is YAML, of which JSON is not quite a part.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ContractError([("", f"line {line}: is not UTF-8")]) from None
    start = text.lstrip()[:256]
    if start.startswith("{") and start[1:].lstrip().startswith(('"', "}")):
        return listed_routes(_json(text))
    return _yaml(text)


def _json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ContractError([("", f"line {error.lineno}, column {error.colno}: {error.msg}")]) from None
    except RecursionError:
        raise ContractError([("", "is nested too deeply")]) from None
    except ContractError:
        raise
    except ValueError as error:  # a number of more than 4,300 digits
        raise ContractError([("", str(error))]) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ContractError([("", f"{twice[:80]!r} stands twice in one object")])
    return found


class _Constructor(SafeConstructor):
    """Plain values only; every key once, no merge keys."""

    def flatten_mapping(self, node: MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == _MERGE:
                raise ConstructorError(None, None, "the merge key << is not allowed", key.start_mark)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(found) != len(node.value):
            raise ConstructorError(None, None, "a key stands twice in one mapping", node.start_mark)
        return found


class PureLoader(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, Composer, _Constructor, Resolver):
    """For a PyYAML that was built without libyaml: the same, ten times slower."""

    def __init__(self, stream: str) -> None:
        yaml.reader.Reader.__init__(self, stream)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        Composer.__init__(self)
        _Constructor.__init__(self)
        Resolver.__init__(self)


Loader: type[Any] = PureLoader
if yaml.__with_libyaml__:
    from yaml._yaml import CParser

    class FastLoader(Composer, CParser, _Constructor, Resolver):
        """libyaml's events, but our own tree, made of one route at a time."""

        def __init__(self, stream: str) -> None:
            CParser.__init__(self, stream)
            Composer.__init__(self)
            _Constructor.__init__(self)
            Resolver.__init__(self)

    Loader = FastLoader


def _yaml(text: str) -> Iterator[object]:
    loader = None
    try:
        loader = Loader(text)
        yield from _walk(loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ContractError([("", where + ", ".join(filter(None, (error.problem, error.context))))]) from None
    except yaml.reader.ReaderError as error:
        raise ContractError([("", f"character {error.position}: {error.reason}")]) from None
    except RecursionError:
        raise ContractError([("", "is nested too deeply")]) from None
    except ContractError:
        raise
    except ValueError as error:  # a date in month 13, a number of more than 4,300 digits
        raise ContractError([("", str(error))]) from None
    finally:
        if loader is not None:
            loader.dispose()


def _walk(loader: Any) -> Iterator[object]:
    def value() -> object:
        return loader.construct_document(loader.compose_node(None, None))

    loader.get_event()
    if loader.check_event(StreamEndEvent):
        yield from listed_routes(None)
    loader.get_event()
    if not loader.check_event(MappingStartEvent):
        yield from listed_routes(value())
    loader.get_event()
    found = False
    problems: list[tuple[str, str]] = []
    while not loader.check_event(MappingEndEvent):
        name = value()
        if name != "routes":
            value()
            problems.append((name[:80] if isinstance(name, str) else type(name).__name__, "unknown field"))
        elif not loader.check_event(SequenceStartEvent):
            value()
        elif found:
            raise ContractError([("routes", "stands twice")])
        else:
            found = True
            loader.get_event()
            while not loader.check_event(SequenceEndEvent):
                yield value()
            loader.get_event()
    loader.get_event()
    loader.get_event()
    if not loader.check_event(StreamEndEvent):
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

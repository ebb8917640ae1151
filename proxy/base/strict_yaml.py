"""Strict YAML: the part of it that every reader understands in the same way, which is JSON in another notation.

YAML 1.1 (PyYAML, Go's yaml.v2, most of Kubernetes' past) and YAML 1.2 (everybody else's future) read one text
differently, and readers of one version differ among themselves. What they read differently is refused, with its place
and what to write instead:

- the merge key `<<`. PyYAML 6.0.4 silently drops a later `<<` that overrides, 6.0.3 does not; YAML 1.2 has none.
- a key that stands twice in one mapping: the first may win, or the last.
- a key that is not text: JSON has no others, and `on:` is one.
- plain scalars that are text to one and a number, a truth value or a date to another: `yes`, `010`, `1_000`, `12:30`,
  `1e3`, `2026-01-31`.
- tags but !!str, !!map and !!seq; line ends that only YAML 1.1 has; an alias inside what it stands for.

Anchors and aliases are plain YAML, but a few lines of them can stand for more than any memory: they are counted.

PyYAML builds the whole tree with the interpreter lock held: 100,000 routes, 7 MB, take 9 s and 400 MB (measured).
`Reader` takes libyaml's events and makes the tree piece by piece, as its user asks: 4 s and 35 MB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any, NoReturn

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.events import AliasEvent, StreamEndEvent
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode
from yaml.resolver import BaseResolver

from proxy.base.strict import DocumentError, decode, looks_like_json, parse_json

MAX_ALIASED = 100_000
"""Values that all aliases of one document stand for: a hundred times what anybody writes, and 10 MB."""

_SHOWN = 80
_TEXT = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_MAP = "tag:yaml.org,2002:map"
_SEQ = "tag:yaml.org,2002:seq"
_TAGS = {None, _TEXT, _MAP, _SEQ}

# Core schema (YAML 1.2.2 section 10.3.2), as far as YAML 1.1's types (yaml.org/type) agree with it.
_SAME = (
    (_NULL, re.compile(r"(?:~|null|Null|NULL|)")),
    (_BOOL, re.compile(r"(?:true|True|TRUE|false|False|FALSE)")),
    (_INT, re.compile(r"(?:[-+]?(?:0|[1-9][0-9]*)|0x[0-9A-Fa-f]+)")),
    (_FLOAT, re.compile(r"(?:[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?|\.[0-9]+)")),
)

_TRUTH = re.compile(r"(?:y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF)")

_UNSURE = re.compile(
    r"""
      [-+]?0b[01_]+ | [-+]?0o?[0-9_]+ | [-+]?0x[0-9A-Fa-f_]+       # bases; octal with and without a letter
    | [-+]?[0-9][0-9_]*                                            # thousands
    | [-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?             # sixties
    | [-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)?  # exponents, signs
    | [-+]?\.(?:inf|Inf|INF) | \.(?:nan|NaN|NAN)                   # no JSON
    | [0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt\ \t].*)?                # dates
    | =                                                            # the default value of YAML 1.1
    """,
    re.VERBOSE,
)

_START = frozenset("0123456789+-.=yYnNoO")
"""What is unsure begins with one of these."""

_LINE_ENDS = re.compile("[\x85\u2028\u2029]")


def _int(constructor: SafeConstructor, node: ScalarNode) -> int:
    try:
        return int(SafeConstructor.construct_yaml_int(constructor, node))
    except ValueError as error:  # more than 4,300 digits
        _refuse(str(error), node.start_mark)


def _float(constructor: SafeConstructor, node: ScalarNode) -> float:
    number = float(SafeConstructor.construct_yaml_float(constructor, node))
    if not isfinite(number):
        _refuse(f"{node.value[:_SHOWN]} is beyond what a number can be", node.start_mark)
    return number


class _Constructor(SafeConstructor):
    """Plain values only. What is not in this table is refused before it comes here."""

    yaml_constructors = {
        tag: SafeConstructor.yaml_constructors[tag] for tag in (_TEXT, _NULL, _BOOL, _MAP, _SEQ, None)
    } | {_INT: _int, _FLOAT: _float}

    def flatten_mapping(self, node: MappingNode) -> None:
        """There is nothing to merge."""


class _Composer(Composer):
    """Makes nodes of events, and refuses what two readers may understand differently."""

    anchors: dict[str, Node]
    peek_event: Callable[[], Any]  # of the parser beside it

    def __init__(self) -> None:
        super().__init__()
        self._open: set[str] = set()
        self._weights: dict[Node, int] = {}
        self._aliased = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()
        if isinstance(event, AliasEvent):
            self._count(event)
        elif event.tag not in _TAGS:
            _refuse(f"the tag {event.tag[:_SHOWN]!r} is not allowed: write the value itself", event.start_mark)
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: Any) -> Any:
        event = self.peek_event()
        value = event.value
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                _refuse("half of a surrogate pair is no character", event.start_mark)
        if event.implicit[0] and event.tag is None:
            _check_plain(value, event.start_mark)
        return super().compose_scalar_node(anchor)

    def compose_sequence_node(self, anchor: Any) -> SequenceNode:
        with self._inside(anchor):
            return super().compose_sequence_node(anchor)

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        with self._inside(anchor):
            node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                _refuse("a key must be text", key.start_mark)
            if key.tag != _TEXT:
                _refuse(f"the key {key.value[:_SHOWN]!r} is not text: put it in quotes", key.start_mark)
            if key.value in seen:
                _refuse(f"{key.value[:_SHOWN]!r} stands twice in one mapping", key.start_mark)
            seen.add(key.value)
        return node

    @contextmanager
    def _inside(self, anchor: str | None) -> Iterator[None]:
        if anchor is None:
            yield
            return
        self._open.add(anchor)
        yield
        self._open.discard(anchor)

    def _count(self, event: Any) -> None:
        if event.anchor in self._open:
            _refuse(f"*{event.anchor[:_SHOWN]} stands inside of what it stands for", event.start_mark)
        node = self.anchors.get(event.anchor)
        if node is not None:
            self._aliased += self._weight(node)
            if self._aliased > MAX_ALIASED:
                _refuse(f"the aliases stand for more than {MAX_ALIASED} values: write fewer", event.start_mark)

    def _weight(self, node: Node) -> int:
        """How many values a node stands for, those of its aliases each time anew."""
        found = self._weights.get(node)
        if found is None:
            found = 1
            if isinstance(node, MappingNode):
                found += sum(self._weight(key) + self._weight(value) for key, value in node.value)
            elif isinstance(node, CollectionNode):
                found += sum(map(self._weight, node.value))
            self._weights[node] = found
        return found


class _Resolver(BaseResolver):
    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        if kind is not ScalarNode:
            return _MAP if kind is MappingNode else _SEQ
        if implicit[0]:
            for tag, pattern in _SAME:
                if pattern.fullmatch(value):
                    return tag
        return _TEXT


def _check_plain(value: str, mark: yaml.Mark) -> None:
    if value == "<<":
        _refuse("the merge key << is not allowed: write out what it would merge", mark)
    if value[:1] not in _START:
        return
    if _TRUTH.fullmatch(value):
        _refuse(f"{value!r} is text to some readers of YAML: write true or false, or put it in quotes", mark)
    if _UNSURE.fullmatch(value) and not any(pattern.fullmatch(value) for _, pattern in _SAME):
        shown = repr(value[:_SHOWN])
        _refuse(f"{shown} is not the same to all readers of YAML: put it in quotes, or write a plain number", mark)


def _refuse(problem: str, mark: yaml.Mark) -> NoReturn:
    raise DocumentError(problem, mark.line + 1, mark.column + 1)


class PureReader(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, _Composer, _Constructor, _Resolver):
    """For a PyYAML that was built without libyaml: the same, ten times slower."""

    def __init__(self, stream: str) -> None:
        yaml.reader.Reader.__init__(self, stream)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        _Composer.__init__(self)
        _Constructor.__init__(self)
        _Resolver.__init__(self)


Reader: type[Any] = PureReader
if yaml.__with_libyaml__:
    from yaml._yaml import CParser

    class FastReader(_Composer, CParser, _Constructor, _Resolver):
        """libyaml's events, but our own tree."""

        def __init__(self, stream: str) -> None:
            CParser.__init__(self, stream)
            _Composer.__init__(self)
            _Constructor.__init__(self)
            _Resolver.__init__(self)

    Reader = FastReader


@contextmanager
def reading(text: str) -> Iterator[Any]:
    """A reader of `text`; what goes wrong while it is used is a DocumentError."""
    reader = None
    try:
        if ends := _LINE_ENDS.search(text):
            raise DocumentError(
                f"{ends[0]!a} is a line end to some readers of YAML: write it as an escape, in double quotes",
                text.count("\n", 0, ends.start()) + 1, ends.start() - text.rfind("\n", 0, ends.start()),
            )  # fmt: skip
        reader = Reader(text)
        yield reader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(filter(None, (error.problem, error.context)))
        raise DocumentError(problem, *((mark.line + 1, mark.column + 1) if mark else ())) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DocumentError(f"is not text: {error.reason}", line) from None
    except RecursionError:
        raise DocumentError("is nested too deeply") from None
    finally:
        if reader is not None:
            reader.dispose()


def parse_documents(data: bytes) -> list[Any]:
    """All documents in `data`, which is JSON or YAML by its looks. Raises DocumentError."""
    text = decode(data)
    if looks_like_json(text):
        return [parse_json(text)]
    documents = []
    with reading(text) as reader:
        while reader.check_node():
            documents.append(reader.get_data())
    return documents


def value(reader: Any) -> Any:
    """The next value of the document that `reader` is in. Raises what `reading` translates."""
    return reader.construct_document(reader.compose_node(None, None))


def ended(reader: Any) -> bool:
    """There is no further document."""
    return bool(reader.check_event(StreamEndEvent))

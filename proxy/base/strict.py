"""Strict JSON, and what all strict readers say when they refuse.

Python's JSON parser takes more than JSON is: NaN, repeated fields, half of a surrogate pair. Of each, two readers would
see two documents.
"""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any, NoReturn

_SURROGATE = re.compile(r"\\u[dD][89A-Fa-f]")
_SHOWN = 80


class DocumentError(ValueError):
    """Text that is no document, or one that two readers may understand differently.

    problem:      what is wrong, and the next step where it is not plain.
    line, column: where, from 1; 0 when that is unknown.
    """

    def __init__(self, problem: str, line: int = 0, column: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column

    def at(self, name: str) -> str:
        """`NAME:LINE:COLUMN: PROBLEM`, the form that editors and terminals know how to open."""
        return f"{':'.join([name, *(str(number) for number in (self.line, self.column) if number)])}: {self.problem}"


def decode(data: bytes) -> str:
    """UTF-8, with or without a byte order mark. Raises DocumentError."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DocumentError("is not UTF-8", line) from None


def looks_like_json(text: str) -> bool:
    """It begins with a brace and a quote. Everything else is YAML, of which JSON is not quite a part."""
    start = text.lstrip()[:256]
    return start.startswith("{") and start[1:].lstrip().startswith(('"', "}"))


def parse_json(text: str) -> Any:
    """The one document in `text`. Raises DocumentError."""
    try:
        document = _DECODER.decode(text)
        if _SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise DocumentError(error.msg, error.lineno, error.colno) from None
    except UnicodeEncodeError:
        raise DocumentError("holds half of a surrogate pair, which is no character") from None
    except RecursionError:
        raise DocumentError("is nested too deeply") from None
    except DocumentError:
        raise
    except ValueError as error:  # a number of more than 4,300 digits
        raise DocumentError(str(error)) from None
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DocumentError(f"{twice[:_SHOWN]!r} stands twice in one object")
    return document


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise DocumentError(f"{text[:_SHOWN]} is beyond what a number can be")
    return number


def _constant(text: str) -> NoReturn:
    raise DocumentError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)

"""What is wrong, where: problem documents (RFC 9457) and the list of paths inside them.

A document that does not fit is answered with *all* its problems at once, each with the path of the field,
written as a person would write it: `spec.forks[0].endpoints[1]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxy.contract.names import DNS_LABEL, ROUTING_KEY, WORKLOAD

MAX_PROBLEMS = 100
"""Reported for one document. A body of a megabyte could hold 100,000 misspelt fields; nobody reads those."""

MAX_PATH = 200
"""Characters of one path: a field's name is the sender's choice."""


class FieldProblem(BaseModel):
    """One thing that is wrong with a document. `path` is empty when it concerns the whole."""

    path: str
    message: str


class Problem(BaseModel):
    """An error as the registry answers it: `application/problem+json`, RFC 9457.

    code:     stable, lower case: what a program compares.
    hint:     what to do next, or absent.
    problems: one per field that is wrong, for 409 and 422.
    """

    model_config = ConfigDict(extra="ignore")

    type: str = Field(description="a URN made from the code: it names the problem without promising a page")
    title: str
    status: int
    detail: str = ""
    code: str
    hint: str | None = None
    problems: list[FieldProblem] | None = None


class DocumentError(ValueError):
    """A document that does not fit its model.

    problems: every one, or the first of them and a line that says how many more there are.
    more:     so many.
    """

    def __init__(self, problems: Sequence[FieldProblem], more: int = 0) -> None:
        if more:
            problems = [*problems, FieldProblem(path="", message=f"and {more} more problems")]
        self.count = len(problems) + max(0, more - 1)
        super().__init__("; ".join(f"{item.path}: {item.message}" if item.path else item.message for item in problems))
        self.problems = list(problems)


class Grammar(NamedTuple):
    """A named pattern and the words that stand for it in a message."""

    pattern: str
    words: str


NAME = Grammar(DNS_LABEL, "a DNS label (1 to 63 characters of a-z, 0-9 and -, none of them - at an end)")
WORKLOAD_NAME = Grammar(WORKLOAD.pattern, "NAMESPACE/NAME, each a DNS label")
KEY = Grammar(ROUTING_KEY.pattern, "1 to 63 characters of A-Za-z0-9._-")
TTL = Grammar(r"[1-9][0-9]{0,8}[smhd]", "a number with a unit: 90s, 30m, 4h or 7d")
LABEL = Grammar(
    r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?",
    "the name of a label (1 to 63 characters of A-Za-z0-9._/-, which begin and end with a letter or digit)",
)
ENV_NAME = Grammar(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")
SIDECAR_ID = Grammar(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,191}", "1 to 192 characters of A-Za-z0-9._:@/-")
DIGEST = Grammar(r"[0-9a-f]{64}", "a SHA-256 digest (64 hexadecimal digits)")
SCHEME = Grammar(r"[a-z][a-z0-9+.-]*", "the scheme of a URL, such as http or redis, or none for HOST:PORT")
AGO = Grammar(r"[1-9][0-9]{0,5}[smh]", "how long ago: 30s, 10m, 2h")
_PCHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"  # RFC 3986 section 3.3
ABSOLUTE_PATH = Grammar(
    rf"/(?:{_PCHAR}+(?:/|{_PCHAR})*)?(?:\?(?:[/?]|{_PCHAR})*)?",
    "a path of a URL that begins with one /, other characters written as %XX, and perhaps a query",
)

_WORDS = {
    f"^{grammar.pattern}$": grammar.words
    for grammar in (NAME, WORKLOAD_NAME, KEY, TTL, LABEL, ENV_NAME, SIDECAR_ID, AGO, DIGEST, SCHEME, ABSOLUTE_PATH)
}


def anchored(grammar: Grammar) -> str:
    """The pattern as JSON Schema needs it: those search, they do not match the whole by themselves."""
    return f"^{grammar.pattern}$"


def invalid(path: str, message: str) -> DocumentError:
    """The error of exactly one problem."""
    return DocumentError([FieldProblem(path=path, message=message)])


_Model = TypeVar("_Model", bound=BaseModel)


def validated(model: type[_Model], document: object) -> _Model:
    """A document as its model, by the names that are spoken outside. Raises DocumentError with every problem."""
    try:
        return model.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        raise refused(error) from None


Meant = Callable[[Sequence[int | str]], str]
Said = Callable[[FieldProblem], FieldProblem]


def _nothing(location: Sequence[int | str]) -> str:
    return ""


def _as_it_is(problem: FieldProblem) -> FieldProblem:
    return problem


class Problems:
    """What is wrong with one document: the first MAX_PROBLEMS, without repetitions, in the order found.

    The others are counted and no more, since a megabyte of wrong values has more of them than anybody reads: words
    and paths are made for those that are told.
    """

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], FieldProblem] = {}
        self._more = 0

    def add(self, problems: Iterable[FieldProblem]) -> None:
        for problem in problems:
            key = (problem.path, problem.message)
            if len(self._told) < MAX_PROBLEMS:
                self._told.setdefault(key, problem)
            elif key not in self._told:
                self._more += 1

    def found(self, error: ValidationError, meant: Meant = _nothing, said: Said = _as_it_is) -> None:
        """Add everything that pydantic found, in our words and with our paths.

        meant: what to say behind "unknown field" of the one at this location, or "".
        said:  a problem in the words of this kind of document.
        """
        for item in error.errors(include_url=False):
            if _follows_from_another(item):
                continue
            if len(self._told) == MAX_PROBLEMS:
                self._more += 1
                continue
            message = _message(item)
            if item["type"] == "extra_forbidden":
                message += meant(item["loc"])
            self.add([said(FieldProblem(path=written_path(item["loc"]), message=message))])

    def __len__(self) -> int:
        return len(self._told) + self._more

    def error(self) -> DocumentError:
        """All of it."""
        return DocumentError(list(self._told.values()), self._more)


def bounded(problems: Iterable[FieldProblem]) -> DocumentError:
    """Problems that were found one by one, as the error of a document."""
    found = Problems()
    found.add(problems)
    return found.error()


def refused(error: ValidationError, meant: Meant = _nothing) -> DocumentError:
    """What pydantic found, as the error of a document."""
    problems = Problems()
    problems.found(error, meant)
    return problems.error()


def written_path(location: Iterable[int | str]) -> str:
    """`("spec", "forks", 0, "command")` as `spec.forks[0].command`."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step == "[key]":  # pydantic's mark for "the key itself is wrong"
            continue
        elif re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_$-]*", step):
            path += f".{step}" if path else step
        else:
            path += f"[{show(step)}]"
    return path if len(path) <= MAX_PATH else path[: MAX_PATH - 3] + "..."


def show(value: object) -> str:
    """A value as it may stand in a message: bounded, with no line break."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _follows_from_another(item: Any) -> bool:
    """A list whose every item is wrong is reported as too short as well, which helps nobody."""
    return bool(item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"])


def _message(item: Any) -> str:
    context: dict[str, Any] = item.get("ctx") or {}
    plain: dict[str, Callable[[], str]] = {
        "extra_forbidden": lambda: "unknown field",
        "missing": lambda: "is required",
        "string_type": lambda: f"must be text, not {_kind(item['input'])}",
        "model_type": lambda: f"must be an object, not {_kind(item['input'])}",
        "model_attributes_type": lambda: f"must be an object, not {_kind(item['input'])}",
        "dict_type": lambda: f"must be an object, not {_kind(item['input'])}",
        "tuple_type": lambda: f"must be a list, not {_kind(item['input'])}",
        "list_type": lambda: f"must be a list, not {_kind(item['input'])}",
        "enum": lambda: f"{show(item['input'])} is none of {context['expected']}",
        "literal_error": lambda: f"{show(item['input'])} is not {context['expected']}",
        "value_error": lambda: str(context["error"]),
        "too_long": lambda: f"has more than {context['max_length']} entries",
        "too_short": lambda: f"must have at least {context['min_length']} of them",
        "string_too_long": lambda: f"has more than {context['max_length']} characters",
        "string_too_short": lambda: "must not be empty",
        "string_pattern_mismatch": lambda: f"{show(item['input'])} is not {words(context['pattern'])}",
    }
    found = plain.get(item["type"])
    return found() if found else f"{item['msg'][0].lower()}{item['msg'][1:]}"


def says(pattern: str) -> bool:
    """Whether there are words for it."""
    return pattern in _WORDS


def words(pattern: str) -> str:
    """A pattern as a person would say it."""
    return _WORDS.get(pattern, f"of the form {pattern}")


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)

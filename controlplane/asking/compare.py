"""How two answers differ: status, header fields, and JSON bodies field by field. What already differs between two
answers of the baseline is noise (times, ids, the order of a set), and no statement about the shadow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.model.diff import Change, Difference

MAX_DIFFERENCES = 50
"""Of one answer; after so many it is another answer."""

SHOWN = 200
"""Characters of a value that are told."""

_EVERY_ANSWER = frozenset({
    "date", "age", "connection", "keep-alive", "transfer-encoding", "content-length", "etag", "expires",
    "server-timing",
    "traceparent", "tracestate", "x-request-id", "vary", "cache-control", "set-cookie", "via", "trailer",
})  # fmt: skip
"""Fields that are about this answer and not about what it says, that follow from the body, or that a sidecar sets."""

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer. headers: names in lower case; of several with one name the values in their order, joined."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def compare(baseline: Answered, again: Answered, shadow: Answered) -> tuple[list[Difference], list[str]]:
    """What the shadow has otherwise, the most telling first, and the paths that are noise.

    baseline, again: two answers of the baseline to the same request.
    """
    noise = {difference.path for difference in differences(baseline, again)}
    found = [each for each in differences(baseline, shadow) if not _within(each.path, noise)]
    order = list(Change)
    found.sort(key=lambda each: (order.index(each.change), each.path != "status"))
    return found[:MAX_DIFFERENCES], sorted(noise)


def differences(first: Answered, second: Answered) -> Iterator[Difference]:
    """In the order status, header fields, body."""
    if first.status != second.status:
        yield Difference(path="status", change=Change.VALUE, baseline=first.status, shadow=second.status)
    for name in sorted({*first.headers, *second.headers}):
        if name not in _EVERY_ANSWER and not name.startswith("skycap-"):
            yield from _one(f"headers.{name}", first.headers.get(name, _MISSING), second.headers.get(name, _MISSING))
    one, other = _document(first), _document(second)
    if one is _MISSING or other is _MISSING:
        if first.body != second.body:
            yield from _one("body", _text(first.body), _text(second.body))
    else:
        yield from _one("body", one, other)


def _one(path: str, first: Any, second: Any) -> Iterator[Difference]:
    waiting = [(path, first, second)]
    while waiting:
        path, first, second = waiting.pop()
        if isinstance(first, dict) and isinstance(second, dict):
            names = [*first, *(name for name in second if name not in first)]
            waiting += [
                (f"{path}.{name}", first.get(name, _MISSING), second.get(name, _MISSING)) for name in reversed(names)
            ]
        elif isinstance(first, list) and isinstance(second, list):
            length = max(len(first), len(second))
            waiting += [(f"{path}[{at}]", _item(first, at), _item(second, at)) for at in reversed(range(length))]
        elif first is _MISSING:
            yield Difference(path=path, change=Change.ADDED, shadow=_bounded(second))
        elif second is _MISSING:
            yield Difference(path=path, change=Change.REMOVED, baseline=_bounded(first))
        elif kind(first) != kind(second):
            yield Difference(path=path, change=Change.TYPE, baseline=_bounded(first), shadow=_bounded(second))
        elif first != second:
            yield Difference(path=path, change=Change.VALUE, baseline=_bounded(first), shadow=_bounded(second))


def _item(items: list[Any], at: int) -> Any:
    return items[at] if at < len(items) else _MISSING


def _within(path: str, noise: Iterable[str]) -> bool:
    return any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in noise)


def _document(answer: Answered) -> Any:
    """Of a JSON body; _MISSING of any other."""
    media = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (media.endswith("json") or not media):
        return _MISSING
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return _MISSING


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def _bounded(value: Any) -> Any:
    """A value as it may be told: short ones as they are, others as the beginning of their JSON."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= SHOWN:
        return value
    return (value if isinstance(value, str) else text)[: SHOWN - 3] + "..."


def kind(value: Any) -> str:
    """The type of a JSON value, as a person would say it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def in_words(differs: Iterable[Difference], named: int = 2) -> str:
    """To stand behind "answered ... with 200": what the shadow's answer lacks, or has otherwise; "" for nothing."""
    parts = [_words(each) for each in list(differs)[:named]]
    return " and ".join(parts)


def _words(one: Difference) -> str:
    name = f"`{one.path.removeprefix('body.')}`"
    if one.change is Change.REMOVED:
        return f"without {name}, which the baseline sends"
    if one.change is Change.ADDED:
        return f"with {name}, which the baseline does not send"
    if one.change is Change.TYPE:
        return f"with {kind(one.shadow)} as {name}, where the baseline sends {kind(one.baseline)}"
    return f"with {json.dumps(one.shadow, ensure_ascii=False)} as {name}, where the baseline sends " + json.dumps(
        one.baseline, ensure_ascii=False
    )

"""How much a document may hold, looked at before anything in it is validated.

Validation costs some 10 us for every value and more for every one that is wrong, so a megabyte of wrong values is
seconds. Counting them is a tenth of that, and ends at the limit.
"""

from __future__ import annotations

from typing import Any

from controlplane.model.problem import DocumentError, invalid, written_path

MAX_ENTRIES = 512
"""Of one list or object: twice what the largest legal one has."""

MAX_VALUES = 20_000
"""Of a document: 32 forks with 256 arguments and 256 variables each are 17,000."""


def check_size(document: Any, entries: int = MAX_ENTRIES) -> None:
    """Raises DocumentError with the first list or object that is too large, or when all together are.

    entries: of one list or object.
    """
    left: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    count = 0
    while left:
        path, value = left.pop()
        if not isinstance(value, dict | list):
            continue
        if len(value) > entries:
            raise invalid(written_path(path), f"has more than {entries} entries")
        count += len(value)
        if count > MAX_VALUES:
            raise _too_many()
        items = value.items() if isinstance(value, dict) else enumerate(value)
        left += [((*path, step), item) for step, item in items if isinstance(item, dict | list)]


def _too_many() -> DocumentError:
    return invalid("", f"holds more than {MAX_VALUES} values")

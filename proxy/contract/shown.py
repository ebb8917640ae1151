"""How what stands in a document is shown to whoever wrote it: never longer than a line."""

from __future__ import annotations


def show(value: object) -> str:
    """A value of a document, for a sentence about it."""
    # Only what is small by its type is written out: the repr of a nested value can be larger than the memory.
    if isinstance(value, str):
        return repr(value) if len(value) <= 80 else f"{value[:77]!r}..."
    if isinstance(value, int | float) and abs(value) < 2**64:
        return str(value)
    return kind(value)


def named(name: object) -> str:
    """A field's name, for a path."""
    return name if isinstance(name, str) and len(name) <= 80 else show(name)


_KINDS: dict[type, str] = {
    bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list", str: "text",
}  # fmt: skip


def kind(value: object) -> str:
    """What a value is, for a sentence about it."""
    return "nothing" if value is None else _KINDS.get(type(value), f"a {type(value).__name__}")

"""The fields of a head, whatever protocol it came by: what carriers of keys and readers of traces ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

Field = tuple[bytes, bytes]
"""A name in lower case and its value."""


class Fields(Protocol):
    """Implemented by the heads of each protocol."""

    def values(self, name: bytes, /) -> Sequence[bytes]:
        """The values of a field in their order, without surrounding white space. name: in lower case."""
        ...

    def among(self, names: frozenset[bytes], /) -> Mapping[bytes, Sequence[bytes]]:
        """The values of all fields that have one of these names, by name; no entry where there is none. To be asked for
        few different sets of names, which somebody may make a pattern of."""
        ...


class FieldValues:
    """Fields by their names."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[bytes, Sequence[bytes]]) -> None:
        self._values = values

    def values(self, name: bytes, /) -> Sequence[bytes]:
        return self._values.get(name, ())

    def among(self, names: frozenset[bytes], /) -> Mapping[bytes, Sequence[bytes]]:
        return {name: values for name, values in self._values.items() if name in names}

"""What PyYAML does with a person's file, and what it becomes: an object, or one line."""

from __future__ import annotations

import io

import pytest

from controlplane.documents import parse_documents
from proxy.errors import ConfigurationError


def test_a_merged_key_may_be_overridden_where_that_is_merged_again() -> None:
    text = b"base: &a {x: 1}\nwrap: {inner: &i {<<: *a, x: 2}}\nc: {<<: *i}\n"
    (document,) = parse_documents(io.BytesIO(text), "f")
    assert document == {"base": {"x": 1}, "wrap": {"inner": {"x": 2}}, "c": {"x": 2}}


@pytest.mark.parametrize("text", [b"{a: 1, a: 2}", b"x: {a: 1, b: 2,\n  a: 1}", b"x: &i {a: 1, a: 2}\ny: *i\n"])
def test_a_key_that_stands_twice(text: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"^f:[12]:[0-9]+: 'a' stands twice$"):
        parse_documents(io.BytesIO(text), "f")


@pytest.mark.parametrize("text", [b"a: !!bool x", b"a: !!int ''", b"a: !!timestamp x", b"!!float ''", b"!!int x"])
def test_a_value_that_does_not_fit_its_tag(text: bytes) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_documents(io.BytesIO(text), "f")
    (line,) = raised.value.problems
    assert line.startswith("f: ")


def test_a_file_that_cannot_be_read() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(ConfigurationError, match=r"^f: cannot be read: Input/output error$"):
        parse_documents(Broken(), "f")

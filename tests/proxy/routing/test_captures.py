"""Of which answers messages are kept: the default needs to be told of by nobody."""

from __future__ import annotations

from proxy.routing.captures import ALL, ERRORS, NONE, Captures


def test_the_default_is_nothing_special() -> None:
    captures = Captures()
    assert (captures.special, captures.floor("a")) == (False, ERRORS)
    captures.change(["a"], ERRORS)
    assert not captures.special


def test_changes_and_a_whole_table() -> None:
    captures = Captures()
    captures.change(["a", "b"], ALL)
    captures.change(["c"], NONE)
    captures.change(["a"], ERRORS)
    assert (captures.special, [captures.floor(key) for key in "abc"]) == (True, [ERRORS, ALL, NONE])
    captures.replace({"d": ALL})
    assert (repr(captures), captures.floor("b"), captures.floor("d")) == ("<Captures 1>", ERRORS, ALL)
    captures.replace({})
    assert not captures.special

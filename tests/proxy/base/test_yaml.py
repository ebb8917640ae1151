"""One strict reader: what every reader of YAML understands in the same way, and a line and column for the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from proxy.base import strict_yaml
from proxy.base.strict import DocumentError
from proxy.base.strict_yaml import FastReader, PureReader, parse_documents


@pytest.fixture(autouse=True, params=[FastReader, PureReader])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test with libyaml and without it."""
    monkeypatch.setattr(strict_yaml, "Reader", request.param)


def refused(text: str | bytes) -> str:
    with pytest.raises(DocumentError) as raised:
        parse_documents(text.encode() if isinstance(text, str) else text)
    return raised.value.at("f")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: ~", None), ("a: null", None), ("a:", None), ("a: true", True), ("a: False", False), ("a: 0", 0),
        ("a: -7", -7), ("a: 0x1F", 31), ("a: 1.5", 1.5), ("a: .5", 0.5), ("a: 1.5e+3", 1500.0), ("a: 'yes'", "yes"),
        ('a: "010"', "010"), ("a: !!str 010", "010"), ("a: 127.0.0.1:8080", "127.0.0.1:8080"), ("a: 4h", "4h"),
        ("a: 1.2.3", "1.2.3"), ("a: --flag", "--flag"), ("a: yesterday", "yesterday"),
        ("a: |\n  x\n  y\n", "x\ny\n"), ("a: [1, {b: c}]", [1, {"b": "c"}]), ("x: &x [1]\na: *x", [1]),
        ("'<<': 1\na: b", "b"), ('a: "\\u2028"', "\u2028"), ('{"a": "\\ud83d\\ude00"}', "\U0001f600"),
        ("a: \u00e9\U0001f600", "\u00e9\U0001f600"), ("\ufeffa: b", "b"),
    ],
)  # fmt: skip
def test_what_is_read(text: str, value: Any) -> None:
    (document,) = parse_documents(text.encode())
    assert document["a"] == value
    assert type(document["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # The merge key, wherever it stands: 6.0.4 of PyYAML drops the second x of this one, 6.0.3 does not.
        ("base: &a {x: 1}\nwrap: {inner: &i {<<: *a, x: 2}}\nc: {<<: *i}\n", "f:2:19: the merge key << is not allowed"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n", "f:3:3: the merge key << is not allowed: write out what it would merge"),
        ("b:\n- <<: [{x: 1}, {x: 2}]\n", "f:2:3: the merge key << is not allowed"),
        ("? <<\n: {x: 1}\n", "f:1:3: the merge key << is not allowed"),
        ("a: <<", "f:1:4: the merge key << is not allowed"),
        # Keys.
        ("{a: 1, a: 2}", "f:1:8: 'a' stands twice in one mapping"),
        ("x: {a: 1, b: 2,\n  a: 1}", "f:2:3: 'a' stands twice in one mapping"),
        ("x: &i {a: 1, 'a': 1}\ny: *i\n", "f:1:14: 'a' stands twice in one mapping"),
        ("1: x", "f:1:1: the key '1' is not text: put it in quotes"),
        ("~: x", "f:1:1: the key '~' is not text: put it in quotes"),
        ("on: x", "f:1:1: 'on' is text to some readers of YAML: write true or false, or put it in quotes"),
        ("? [a]\n: x", "f:1:3: a key must be text"),
        ("? {a: b}\n: x", "f:1:3: a key must be text"),
        # Scalars.
        *[(f"a: [b, {text}]", f"f:1:8: '{text}' is text to some readers of YAML: write true or false, or put it in")
          for text in ("y", "N", "yes", "NO", "on", "Off")],
        *[(f"a: {text}", f"f:1:4: '{text}' is not the same to all readers of YAML: put it in quotes, or write")
          for text in ("010", "00", "-010", "0o10", "0b1", "1_000", "0x_f", "-0x1", "12:30", "1:30:00.5", "1e3",
                       "1.5e3", "-.5", ".inf", "-.INF", ".NaN", "1_0.5", "=", "2026-01-31", "2026-01-31T12:00:00Z")],
        ("a: 1" + "0" * 5000, "f:1:4: Exceeds the limit"),
        ("a: 1.5e+999", "f:1:4: 1.5e+999 is beyond what a number can be"),
        # Tags.
        *[(f"a: {tag} x", f"f:1:4: the tag {tag.replace('!!', 'tag:yaml.org,2002:')!r} is not allowed: write the value")
          for tag in ("!!bool", "!!int", "!!binary", "!!timestamp", "!!set", "!x", "!!python/object:os.system")],
        ("a: !!set {x}", "f:1:4: the tag 'tag:yaml.org,2002:set' is not allowed"),
        # Aliases.
        ("a: *nowhere", "f:1:4: found undefined alias 'nowhere'"),
        ("a: &x [1, *x]", "f:1:11: *x stands inside of what it stands for"),
        ("&x a: {b: &y {c: *y}}", "f:1:18: *y stands inside of what it stands for"),
        # Characters.
        ("a: b\n# x\u2028c: d", "f:2:4: '\\u2028' is a line end to some readers of YAML: write it as an escape"),
        ("a: b\x85c: d", "f:1:5: '\\x85' is a line end to some readers of YAML"),
        ("a: \0", "f:1: is not text: "),
        (b"a: b\nc: \xff", "f:2: is not UTF-8"),
        ("a: b".encode("utf-16"), "f:1: is not UTF-8"),
        ('a: "\\ud800"', "f:1:"),
        # Syntax.
        ("a: b: c\n", "f:1:5: mapping values are not allowed"),
        ("a: [1\n", "f:2:1: "),
        ("[" * 600, "f: is nested too deeply"),
        # JSON by its looks.
        ('{"a": 1, "a": 2}', "f: 'a' stands twice in one object"),
        ('{"a": NaN}', "f: NaN is not JSON"),
        ('{"a": 1e999}', "f: 1e999 is beyond what a number can be"),
        ('{"a": -Infinity}', "f: -Infinity is not JSON"),
        ('{"a": "\\ud800"}', "f: holds half of a surrogate pair, which is no character"),
        ('{"a": 1\n"b": 2}', "f:2:1: Expecting ',' delimiter"),
        ('{"a": ' + "[" * 200_000, "f: is nested too deeply"),
        ('{"a": 1' + "0" * 5000 + "}", "f: Exceeds the limit"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str | bytes, problem: str) -> None:
    found = refused(text)
    assert found.startswith(problem)
    assert "\n" not in found
    assert len(found) < 250


def test_documents() -> None:
    assert parse_documents(b"") == []
    assert parse_documents(b"# nothing\n") == []
    assert parse_documents(b"---\na: 1\n---\n- b\n...\n") == [{"a": 1}, ["b"]]


def test_an_alias_of_one_document_is_none_of_the_next() -> None:
    assert refused("a: &x 1\n---\nb: *x\n") == "f:3:4: found undefined alias 'x'"


def test_few_lines_do_not_stand_for_more_than_the_memory() -> None:
    levels = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"l{n}: &l{n} {{{', '.join(f'k{i}: *l{n - 1}' for i in range(10))}}}" for n in range(1, 30)]
    assert "the aliases stand for more than 100000 values: write fewer" in refused("\n".join(levels))


def test_what_it_reads_is_what_everybody_reads() -> None:
    document: dict[str, Any] = {"a": [1, 2.5, None, True, "text", {"b": []}], "c": {}, "d": "yes", "e": "010"}
    for text in (yaml.safe_dump(document), yaml.safe_dump(document, default_flow_style=True), json.dumps(document)):
        assert parse_documents(text.encode()) == [document]

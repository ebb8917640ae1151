from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from controlplane.model.problem import (
    MAX_PATH,
    MAX_PROBLEMS,
    DocumentError,
    FieldProblem,
    Problems,
    refused,
    show,
    written_path,
)


@pytest.mark.parametrize(
    ("location", "written"),
    [
        ((), ""),
        (("spec",), "spec"),
        (("spec", "forks", 0, "endpoints", 1), "spec.forks[0].endpoints[1]"),
        (("spec", "env", "A B", "[key]"), "spec.env['A B']"),
        (("spec", "a\nb"), "spec['a\\nb']"),
        (("", "x"), "[''].x"),
        ((0, "x"), "[0].x"),
    ],
)
def test_a_path_is_written_as_a_person_would(location: tuple[int | str, ...], written: str) -> None:
    assert written_path(location) == written


def test_a_path_is_bounded() -> None:
    path = written_path(("a" * 10_000, "b"))
    assert len(path) == MAX_PATH
    assert path.endswith("...")


def test_a_value_in_a_message_is_bounded_and_one_line() -> None:
    assert show("x" * 1000) == "'" + "x" * 76 + "..."
    assert "\n" not in show("a\nb")


def test_repeated_problems_are_told_once_and_the_rest_is_counted() -> None:
    same = FieldProblem(path="a", message="wrong")
    found = Problems()
    found.add([same, same])
    assert found.error().problems == [same]
    many = [FieldProblem(path=f"f{index}", message="unknown field") for index in range(MAX_PROBLEMS + 7)]
    found.add(many[:-1])
    told = found.error().problems
    assert told[:-1] == [same, *many[: MAX_PROBLEMS - 1]]
    assert told[-1].message == "and 7 more problems"


def test_no_words_are_made_for_what_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """17,000 wrong values in one document were 17,000 messages and paths."""
    made: list[object] = []

    def written(location: tuple[int | str, ...]) -> str:
        made.append(location)
        return written_path(location)

    monkeypatch.setattr("controlplane.model.problem.written_path", written)
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate({"inner": {"number": 1}, "items": ["x"] * 17_000, "names": [], "table": {}, "text": ""})
    error = refused(raised.value)
    assert len(made) == MAX_PROBLEMS
    assert error.problems[-1].message == f"and {17_000 - MAX_PROBLEMS} more problems"


def test_the_error_of_a_document_tells_all_in_one_line() -> None:
    error = DocumentError([FieldProblem(path="a.b", message="is required"), FieldProblem(path="", message="is odd")])
    assert str(error) == "a.b: is required; is odd"


class Inner(BaseModel):
    number: int


class Outer(BaseModel):
    inner: Inner
    items: tuple[int, ...]
    names: list[str]
    table: dict[str, str]
    text: str


def test_the_commonest_problems_have_words_of_ours() -> None:
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate({"inner": 3, "items": "x", "names": {}, "table": [], "text": None})
    assert [(item.path, item.message) for item in refused(raised.value).problems] == [
        ("inner", "must be an object, not a number"),
        ("items", "must be a list, not text"),
        ("names", "must be a list, not an object"),
        ("table", "must be an object, not a list"),
        ("text", "must be text, not nothing"),
    ]


def test_a_problem_without_words_of_ours_keeps_those_of_pydantic() -> None:
    with pytest.raises(ValidationError) as raised:
        Inner.model_validate({"number": "many"})
    (problem,) = refused(raised.value).problems
    assert problem.path == "number"
    assert problem.message.startswith("input should be a valid integer")

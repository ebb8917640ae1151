from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from controlplane.model.problem import (
    MAX_PATH,
    MAX_PROBLEMS,
    DocumentError,
    FieldProblem,
    bounded,
    field_problems,
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
    assert bounded([same, same]) == [same]
    many = [FieldProblem(path=f"f{index}", message="unknown field") for index in range(MAX_PROBLEMS + 7)]
    told = bounded(many)
    assert told[:-1] == many[:MAX_PROBLEMS]
    assert told[-1].message == "and 7 more problems"


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
    assert [(item.path, item.message) for item in field_problems(raised.value)] == [
        ("inner", "must be an object, not a number"),
        ("items", "must be a list, not text"),
        ("names", "must be a list, not an object"),
        ("table", "must be an object, not a list"),
        ("text", "must be text, not nothing"),
    ]


def test_a_problem_without_words_of_ours_keeps_those_of_pydantic() -> None:
    with pytest.raises(ValidationError) as raised:
        Inner.model_validate({"number": "many"})
    (problem,) = field_problems(raised.value)
    assert problem.path == "number"
    assert problem.message.startswith("input should be a valid integer")

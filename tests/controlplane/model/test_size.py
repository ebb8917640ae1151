"""What a document may hold: counted before it is validated, so that wrong values cost no more than right ones."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.model.problem import DocumentError
from controlplane.model.sandbox import parse_sandbox
from controlplane.model.size import MAX_ENTRIES, MAX_VALUES, check_size
from controlplane.model.whole import MAX_FORKS
from controlplane.model.workload import MAX_ARGUMENTS, MAX_VARIABLES
from tests.controlplane.sandboxes import document


def problems(given: Any) -> dict[str, str]:
    with pytest.raises(DocumentError) as raised:
        check_size(given)
    return {item.path: item.message for item in raised.value.problems}


def test_the_largest_legal_sandbox_is_not_too_large() -> None:
    fork = {"command": ["x"] * MAX_ARGUMENTS, "env": {f"V{number}": "" for number in range(MAX_VARIABLES)}}
    given = document("a", *({"workload": f"shop/s{number}", **fork} for number in range(MAX_FORKS)))
    check_size(given)
    parse_sandbox(given)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"spec": {"forks": [{}] * 340_000}}, "spec.forks"),
        ({"spec": {"forks": [{"endpoints": ["x"] * 250_000}]}}, "spec.forks[0].endpoints"),
        ({f"k{number}": 1 for number in range(85_000)}, ""),
        ({"spec": {"forks": [{"env": {f"={number}": 1 for number in range(85_000)}}]}}, "spec.forks[0].env"),
        ([0] * (MAX_ENTRIES + 1), ""),
    ],
)
def test_a_list_or_an_object_that_is_too_large_is_named(given: Any, path: str) -> None:
    assert problems(given) == {path: f"has more than {MAX_ENTRIES} entries"}


def test_many_that_are_not_too_large_by_themselves() -> None:
    assert problems([[0] * 100] * 300) == {"": f"holds more than {MAX_VALUES} values"}
    check_size([[0] * 50] * 300)


@pytest.mark.parametrize("given", [None, 1, "x", True, {}, [], "x" * 1_000_000])
def test_what_holds_nothing(given: Any) -> None:
    check_size(given)

"""How two answers differ, without what differs between two answers of one copy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.asking.compare import Answered, compare, in_words
from controlplane.model.diff import Change, Difference

JSON = "application/json"


def answer(body: Any, status: int = 200, **headers: str) -> Answered:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    media = {} if isinstance(body, bytes) else {"content-type": JSON}
    return Answered(status, {**media, **{name.replace("_", "-"): value for name, value in headers.items()}}, text)


def found(baseline: Answered, shadow: Answered, again: Answered | None = None) -> list[tuple[str, str]]:
    differs, _ = compare(baseline, again or baseline, shadow)
    return [(each.path, each.change.value) for each in differs]


def test_fields_that_are_missing_come_first_then_new_ones_other_types_and_other_values() -> None:
    baseline = answer({"id": 1, "price": "12.00", "tags": ["a", "b"], "cents": 100, "deep": {"x": [{"y": 1}]}})
    shadow = answer({"id": 2, "price": 12, "tags": ["a"], "new": None, "deep": {"x": [{"y": 2}]}})
    assert found(baseline, shadow) == [
        ("body.tags[1]", "removed"), ("body.cents", "removed"), ("body.new", "added"), ("body.price", "type"),
        ("body.id", "value"), ("body.deep.x[0].y", "value"),
    ]  # fmt: skip


def test_what_two_answers_of_the_baseline_do_not_agree_on_is_noise() -> None:
    first = answer({"time": 1, "id": "a", "list": [1, 2], "name": "Ada"})
    second = answer({"time": 2, "id": "b", "list": [2, 1], "name": "Ada"})
    differs, noise = compare(first, second, answer({"time": 3, "id": "c", "list": [1, {"x": 9}], "name": "Bob"}))
    assert [each.path for each in differs] == ["body.name"]
    assert noise == ["body.id", "body.list[0]", "body.list[1]", "body.time"]


def test_a_value_below_noise_is_noise() -> None:
    first, second = answer({"at": {"s": 1}}), answer({"at": None})
    assert found(first, answer({"at": {"s": 2}}), second) == []


@pytest.mark.parametrize(
    ("shadow", "differs"),
    [
        (answer({}, 404), [("status", "value")]),
        (answer({}, location="/x"), [("headers.location", "added")]),
        (answer({}, date="now", x_request_id="a", skycap_served_by="b", content_length="9"), []),
        (answer(b"no json", content_type="text/plain"), [("headers.content-type", "value"), ("body", "value")]),
        (answer(b"{", content_type=JSON), [("body", "value")]),
    ],
)
def test_status_fields_and_bodies_that_are_no_json(shadow: Answered, differs: list[tuple[str, str]]) -> None:
    assert sorted(found(answer({}), shadow)) == sorted(differs)


def test_a_value_is_told_as_far_as_anybody_reads_it() -> None:
    (one,), _ = compare(answer({"a": "x"}), answer({"a": "x"}), answer({"a": ["y" * 1000]}))
    assert (one.baseline, len(one.shadow)) == ("x", 200)


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Difference(path="body.cents", change=Change.REMOVED), "without `cents`, which the baseline sends"),
        (Difference(path="body.a", change=Change.ADDED), "with `a`, which the baseline does not send"),
        (
            Difference(path="body.a", change=Change.TYPE, baseline=True, shadow=None),
            "with null as `a`, where the baseline sends true or false",
        ),
        (
            Difference(path="body.a", change=Change.TYPE, baseline=1, shadow={}),
            "with an object as `a`, where the baseline sends a number",
        ),
        (
            Difference(path="status", change=Change.VALUE, baseline=200, shadow=404),
            "with 404 as `status`, where the baseline sends 200",
        ),
    ],
)
def test_in_words(difference: Difference, words: str) -> None:
    assert in_words([difference]) == words
    assert in_words([difference] * 3) == f"{words} and {words}"
    assert in_words([]) == ""

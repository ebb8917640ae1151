"""Rules as they are told: what comes back, and what of a newer registry is left out."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.contract.rules import MAX_RULES, Rule, decode_rules, encode_rule
from proxy.errors import ContractError

RULE = Rule(
    name="no-stock", effect="respond", workload="shop/catalog", method="GET", path="/items/*",
    headers=(("x-tenant", "blue"),), status=503, fields=(("content-type", "text/plain"), ("x-a", "")), body="none\n",
    delay_ms=250, percent=50, times=3,
)  # fmt: skip


def decoded(*rules: object) -> list[Rule]:
    key, found = decode_rules({"key": "agent-42", "rules": list(rules)})
    assert key == "agent-42"
    return list(found)


def test_a_rule_comes_back_as_it_was_told() -> None:
    other = Rule(name="slow", effect="delay", host="api.example.com:8443", delay_ms=1000)
    assert decoded(encode_rule(RULE), encode_rule(other)) == [RULE, other]


def test_what_a_newer_registry_says_is_left_out() -> None:
    newer = encode_rule(RULE) | {"weight": 7}
    assert decoded(newer, newer | {"effect": "corrupt"}) == [RULE]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": 7}, {"workload": "users"}, {"workload": ""}, {"host": "a.b"}, {"match": 7},
        {"match": {"method": "get it"}}, {"match": {"path": "items"}}, {"match": {"headers": {"a b": "c"}}},
        {"match": {"headers": {"a": "\n"}}}, {"status": 99}, {"status": True}, {"status": "200"},
        {"headers": [["a"]]}, {"headers": [["a", "b"]] * 33}, {"headers": [7]}, {"body": 7}, {"body": "x" * 20_000},
        {"delayMs": -1}, {"percent": 0}, {"percent": 101}, {"times": -1},
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_left_out(wrong: dict[str, Any]) -> None:
    assert decoded(encode_rule(RULE) | wrong) == []
    assert decoded(7) == []


@pytest.mark.parametrize(
    "event",
    [
        7, {}, {"key": "a b", "rules": []}, {"key": "a"}, {"key": "a", "rules": {}},
        {"key": "a", "rules": [7] * (MAX_RULES + 1)},
    ],
)  # fmt: skip
def test_what_is_no_event_of_rules_is_refused(event: object) -> None:
    with pytest.raises(ContractError):
        decode_rules(event)

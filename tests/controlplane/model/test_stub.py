"""Stubs as people say them, and as sidecars are told them."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.model.problem import DocumentError
from controlplane.model.sandbox import parse_sandbox
from controlplane.model.stub import rules_of, rules_of_hosts
from proxy.contract.rules import Rule, decode_rules, encode_rule
from tests.controlplane.sandboxes import document


def stub(name: str = "s", **fields: Any) -> dict[str, Any]:
    return {"name": name, "workload": "shop/catalog", "fault": "reset"} | fields


def rules(*stubs: dict[str, Any]) -> list[Rule]:
    return list(rules_of(parse_sandbox(document("a", stubs=list(stubs))).spec.stubs))


def refused(*stubs: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(DocumentError) as caught:
        rules(*stubs)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_each_kind_is_told_as_a_rule() -> None:
    answer = {"status": 404, "headers": {"Content-Type": "a/b"}, "body": "none", "delay": "250ms"}
    match = {"method": "GET", "path": "/items/*", "headers": {"X-Tenant": "*"}}
    told = rules(
        stub("answers", match=match, respond=answer, fault=None, times=3),
        stub("resets", match={"path": "/a"}),
        stub("silent", fault="timeout", match={"path": "/b"}),
        stub("slow", fault={"delay": "2s", "percent": 50}),
        {"name": "fails", "host": "API.example.com:80", "fault": {"status": 502}},
    )
    assert told == [
        Rule("answers", "respond", "shop/catalog", "", "GET", "/items/*", (("x-tenant", "*"),), 404,
             (("content-type", "a/b"),), "none", 250, 100, 3),
        Rule("resets", "reset", "shop/catalog", path="/a", status=503),
        Rule("silent", "timeout", "shop/catalog", path="/b", status=503),
        Rule("slow", "delay", "shop/catalog", status=503, delay_ms=2000, percent=50),
        Rule("fails", "status", host="api.example.com", status=502),
    ]  # fmt: skip
    assert decode_rules({"key": "a", "rules": [encode_rule(rule) for rule in told]}) == ("a", tuple(told))


def test_a_shadow_s_own_sidecar_is_told_those_of_hosts() -> None:
    spec = parse_sandbox(document("a", stubs=[stub(), {"name": "h", "host": "h", "fault": "reset"}])).spec
    assert [rule.name for rule in rules_of_hosts(spec.stubs)] == ["h"]
    assert rules_of(None) == rules_of_hosts(None) == ()


@pytest.mark.parametrize(
    ("wrong", "path", "said"),
    [
        ({"host": "h"}, "", "stub s: say either workload or host"),
        ({"workload": None}, "", "stub s: say either workload or host"),
        ({"fault": None}, "", "stub s: say either respond or fault"),
        ({"respond": {}}, "", "stub s: say either respond or fault"),
        ({"match": {"path": "items"}}, ".match.path", "no request can match it"),
        ({"match": {"path": "/a?b=c"}}, ".match.path", "has a query"),
        ({"match": {"method": "get"}}, ".match.method", "is no method"),
        ({"match": {"headers": {"a b": "c"}}}, ".match.headers", "is no name of a header"),
        ({"match": {"headers": {"a": "b\n"}}}, ".match.headers", "cannot be the value"),
        ({"workload": None, "host": "https://a"}, ".host", "without scheme and path"),
        ({"workload": None, "host": "a:443"}, ".host", "is reached by TLS"),
        ({"times": 0}, ".times", "greater than or equal to 1"),
        ({"fault": None, "respond": {"status": 99}}, ".respond.status", "greater than or equal to 200"),
        ({"fault": None, "respond": {"delay": "5m"}}, ".respond.delay", "is not a time like 250ms"),
        ({"fault": None, "respond": {"delay": "121s"}}, ".respond.delay", "is longer than 120s"),
        ({"fault": None, "respond": {"headers": {"Content-Length": "1"}}}, ".respond.headers", "the sidecar's to say"),
        ({"fault": None, "respond": {"headers": {"skycap-error": "1"}}}, ".respond.headers", "the sidecar's to say"),
    ],
)
def test_a_stub_that_cannot_be_meant_is_refused_where_it_stands(wrong: dict[str, Any], path: str, said: str) -> None:
    problems = refused(stub(**wrong))
    assert said in problems[f"spec.stubs[0]{path}"]


def test_a_fault_is_one_thing() -> None:
    assert any("say either delay or status" in said for said in refused(stub(fault={"percent": 5})).values())


@pytest.mark.parametrize(
    ("first", "second", "dead"),
    [
        ({}, {"match": {"path": "/a"}}, True),
        ({"match": {"path": "/a"}}, {"match": {"path": "/a", "method": "GET"}}, True),
        ({"match": {"path": "/a"}}, {"match": {"path": "/b"}}, False),
        ({"match": {"headers": {"a": "b"}}}, {}, False),
        ({"times": 1}, {}, False),
        ({"fault": {"delay": "1s", "percent": 50}}, {}, False),
        ({"workload": "shop/other"}, {}, False),
    ],
)
def test_a_stub_behind_one_that_takes_all_of_its_requests_is_refused_by_name(
    first: dict[str, Any], second: dict[str, Any], dead: bool
) -> None:
    given = stub("first", **first), stub("second", **second)
    if dead:
        assert refused(*given) == {
            "spec.stubs": "stub second can never match: first before it takes all of its requests"
        }
    else:
        assert len(rules(*given)) == 2


def test_a_name_stands_once() -> None:
    assert refused(stub("a", match={"path": "/a"}), stub("a")) == {
        "spec.stubs": "stub a stands twice: each has a name of its own"
    }


def test_what_a_stub_does_is_told_to_a_person() -> None:
    spec = parse_sandbox(document("a", stubs=[stub("slow", fault={"delay": "2s", "percent": 50}, times=3)])).spec
    assert spec.stubs is not None
    assert spec.stubs[0].told() == "slow: any method any path: lets it wait after 2000 ms, 50 % of them, 3 times"

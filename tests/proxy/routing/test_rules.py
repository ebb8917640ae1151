"""Which rule is applied to a request, and which keys have any."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from proxy.contract.rules import Rule
from proxy.routing.rules import Applied, Rules, RuleTable, path_of

USERS = "shop/users"


def rule(name: str = "a", **fields: object) -> Rule:
    return Rule(name=name, effect="respond", **({"workload": USERS} | fields))  # type: ignore[arg-type]


def values(**fields: str) -> object:
    def of(name: bytes) -> Sequence[bytes]:
        found = fields.get(name.decode().replace("-", "_"))
        return [found.encode()] if found is not None else []

    return of


def takes(applied: Applied, method: str = "GET", path: str = "/", **fields: str) -> bool:
    return applied.takes(method.encode(), path.encode(), values(**fields))  # type: ignore[arg-type]


def test_everything_that_a_rule_says_has_to_match() -> None:
    applied = Applied(rule(method="POST", path="/items/*/stock", headers=(("x-tenant", "blue"), ("x-any", "*"))))
    good = {"x_tenant": "blue", "x_any": "7"}
    assert takes(applied, "POST", "/items/1/2/stock", **good)
    assert not takes(applied, "GET", "/items/1/stock", **good)
    assert not takes(applied, "POST", "/items/1/stocks", **good)
    assert not takes(applied, "POST", "/items/1/stock", x_tenant="red", x_any="7")
    assert not takes(applied, "POST", "/items/1/stock", x_tenant="blue")
    assert takes(Applied(rule()), "DELETE", "/whatever")
    assert not takes(Applied(rule(path="/a.c")), path="/abc")


def test_a_rule_is_spent_after_so_many_times() -> None:
    applied = Applied(rule(times=2, path="/a"))
    assert [takes(applied, path=path) for path in ("/a", "/b", "/a", "/a")] == [True, False, True, False]
    assert repr(applied) == "<Applied a seen=2 used=2>"


@pytest.mark.parametrize(
    ("percent", "share"), [(100, "1111111111"), (50, "1010101010"), (30, "1001001000"), (10, "1000000000")]
)
def test_a_share_of_the_requests_is_concerned_evenly_the_first_included(percent: int, share: str) -> None:
    applied = Applied(rule(percent=percent))
    assert "".join(str(int(takes(applied))) for _ in range(10)) == share


def test_a_host_may_have_to_be_named_by_the_request() -> None:
    applied = Applied(rule(workload="", host="api.example.com"), by_host=True)
    assert takes(applied, host="API.example.com")
    assert takes(applied, host="api.example.com:80")
    assert not takes(applied, host="api.example.com:8080")
    assert not takes(applied)


def test_the_first_rule_that_matches_and_is_not_spent_is_the_one() -> None:
    rules = Rules([rule("a", times=1), rule("b", path="/b"), rule("c")])
    assert [rules.first(b"GET", target, values()) for target in (b"/b", b"/b?x=1", b"/c")] == [0, 1, 2]  # type: ignore[arg-type]
    assert Rules([rule(path="/b")]).first(b"GET", b"/c", values()) == -1  # type: ignore[arg-type]
    assert repr(rules).startswith("<Rules [<Applied a")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a/b?c=/d", b"/a/b"),
        (b"http://users:80/a/b?c", b"/a/b"),
        (b"http://users", b"/"),
        (b"*", b"*"),
        (b"users:443", b"users:443"),
    ],
)
def test_the_path_of_every_form_of_a_target(target: bytes, path: bytes) -> None:
    assert path_of(target) == path


def test_a_table_keeps_what_concerns_its_sidecar() -> None:
    table = RuleTable(USERS)
    host = rule("h", workload="", host="api.example.com")
    port = rule("p", workload="", host="api.example.com:8080")
    assert table.put("k", [rule("a"), rule("b", workload="shop/other"), host, port])
    own = table.of_workload("k")
    assert own is not None
    assert [applied.rule.name for applied in own.applied] == ["a"]
    calls = table.of_host("k", "API.example.com", 80)
    assert calls is not None
    assert [applied.rule.name for applied in calls.applied] == ["h"]
    exact = table.of_host("k", "api.example.com", 8080)
    assert exact is not None
    assert [applied.rule.name for applied in exact.applied] == ["p"]
    every = table.of_any_host("k")
    assert every is not None
    assert [applied.rule.name for applied in every.applied] == ["h", "p"]
    assert table.of_host("k", "elsewhere", 80) is None
    assert table.of_workload("other") is None
    assert table.of_host("other", "api.example.com", 80) is None
    assert table.of_any_host("other") is None
    assert repr(table) == "<RuleTable shop/users 1 keys>"


def test_rules_that_stay_go_on_where_they_are() -> None:
    table = RuleTable(USERS)
    table.put("k", [rule(times=1)])
    own = table.of_workload("k")
    assert not table.put("k", [rule(times=1), rule("b", workload="shop/other")])
    assert not table.replace({"k": [rule(times=1)]})
    assert table.of_workload("k") is own
    assert table.version == 1
    assert not table.put("none", [])


def test_all_are_replaced_at_once() -> None:
    table = RuleTable(USERS)
    table.put("a", [rule()])
    table.put("b", [rule("x", workload="", host="h")])
    assert table.replace({"c": [rule()]})
    assert table.of_workload("a") is None
    assert table.of_host("b", "h", 80) is None
    assert table.of_any_host("b") is None
    assert table.of_workload("c") is not None
    assert table.replace({})
    assert not table.replace({})

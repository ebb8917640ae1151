from __future__ import annotations

from typing import Any

import pytest

from controlplane.model.problem import DocumentError
from controlplane.model.workload import parse_workload

USERS: dict[str, Any] = {
    "workload": "shop/users",
    "address": "127.0.0.1:18081",
    "command": ["python", "users.py", "--port", "${PORT}"],
    "cwd": "/srv/shop",
    "env": {"LOG": "debug"},
    "upstreams": [{"name": "payments", "workload": "shop/payments", "address": "127.0.0.1:18082", "scheme": "http"}],
    "readiness": {"path": "/health", "timeout": 5},
}


def problems(given: object, name: str | None = None) -> dict[str, str]:
    with pytest.raises(DocumentError) as raised:
        parse_workload(given, name)
    return {item.path: item.message for item in raised.value.problems}


def test_a_definition_reads_back_as_it_was() -> None:
    workload = parse_workload(USERS, "shop/users")
    assert workload.model_dump(mode="json") == {**USERS, "log": ""}
    assert parse_workload(workload.model_dump(mode="json")) == workload


def test_the_least() -> None:
    workload = parse_workload({"workload": "shop/users", "address": "127.0.0.1:1"})
    assert workload.command == ()
    assert workload.readiness.timeout == 30


def test_every_problem_at_once() -> None:
    given = {
        "workload": "users",
        "address": "127.0.0.1",
        "command": [""],
        "cwd": "a\0b",
        "env": {"1": "x"},
        "upstreams": [{"name": "P", "workload": "shop/payments", "address": "169.254.0.1:80", "port": 3}],
        "readiness": {"path": "health", "timeout": 0},
        "replicas": 2,
    }
    assert list(problems(given)) == [
        "workload",
        "address",
        "command",
        "cwd",
        "env['1']",
        "upstreams[0].name",
        "upstreams[0].address",
        "upstreams[0].port",
        "readiness.path",
        "readiness.timeout",
        "replicas",
    ]


def test_the_name_must_be_the_one_of_the_path() -> None:
    assert problems(USERS, "shop/cart") == {"workload": "'shop/users' is not 'shop/cart', as the path says"}


def test_an_argument_may_be_empty() -> None:
    assert parse_workload({**USERS, "command": ["run", "--prefix", ""]}).command == ("run", "--prefix", "")
    assert parse_workload({**USERS, "command": []}).command == ()


@pytest.mark.parametrize(
    "path",
    [
        "/\u20ac", "/\x00", "/\x1b[2J", "/a b", "/\u2028", "//evil", "/a#b", "/%zz", "/%4", "/a\r\nx: y", "/a\\b", '/"',
        "/\x7f", "/<a>", "/?a b", "/?#", "/\n", "", "a", "http://evil/",
    ],
)  # fmt: skip
def test_a_readiness_path_is_the_path_of_a_url(path: str) -> None:
    assert list(problems(USERS | {"readiness": {"path": path}})) == ["readiness.path"]


@pytest.mark.parametrize(
    "path", ["/", "/health", "/a/b/", "/a//b", "/%E2%82%AC", "/a;v=1?x=/y?z&w=%20", "/?", "/~a/@b:c"]
)
def test_paths_that_are_asked_for(path: str) -> None:
    assert parse_workload(USERS | {"readiness": {"path": path}}).readiness.path == path

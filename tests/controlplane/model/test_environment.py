from __future__ import annotations

import copy
from typing import Any

import pytest

from controlplane.model.environment import EnvironmentFile, parse_environment, split_listen
from controlplane.model.problem import DocumentError

SHOP: dict[str, Any] = {
    "apiVersion": "skycap.dev/v1alpha1",
    "kind": "Environment",
    "metadata": {"name": "shop"},
    "spec": {
        "registry": {"listen": "127.0.0.1:7171"},
        "services": [
            {
                "name": "frontend",
                "command": ["python", "frontend.py"],
                "port": 18080,
                "appPort": 18081,
                "env": {"LOG_LEVEL": "debug"},
                "cwd": "services",
                "upstreams": [
                    {"name": "users", "port": 18082},
                    {"name": "mail", "workload": "infra/mail", "address": "10.0.0.7:80"},
                ],
                "readiness": {"path": "/health", "timeout": 5},
            },
            {"name": "users", "command": ["python", "users.py", "${PORT}"]},
        ],
    },
}


def shop(*path: str | int, **fields: object) -> dict[str, Any]:
    """The shop with other fields at a place; a field that is None is left out."""
    document = copy.deepcopy(SHOP)
    place: Any = document
    for step in path:
        place = place[step]
    for name, value in fields.items():
        place[name] = value
        if value is None:
            del place[name]
    return document


OUTSIDE = "one outside of it needs workload and address"
FRONTEND = ("spec", "services", 0)
USERS = ("spec", "services", 1)


def problems(document: object) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        parse_environment(document)
    return [f"{item.path}: {item.message}" if item.path else item.message for item in caught.value.problems]


def test_a_whole_environment() -> None:
    file = parse_environment(SHOP)
    assert (file.name, file.namespace, file.workload("users")) == ("shop", "shop", "shop/users")
    frontend, users = file.spec.services
    assert (frontend.port, frontend.app_port, frontend.cwd) == (18080, 18081, "services")
    assert [upstream.name for upstream in frontend.upstreams] == ["users", "mail"]
    assert (users.port, users.app_port, users.cwd, users.upstreams) == (None, None, ".", ())
    assert users.readiness.path is None


def test_the_least_that_there_must_be() -> None:
    services = [{"name": "users", "command": ["users"]}]
    document = {**SHOP, "spec": {"services": services}}
    assert parse_environment(document).spec.registry.listen == "127.0.0.1:7070"
    assert parse_environment(shop("spec", namespace="team")).workload("users") == "team/users"


def test_its_fields_are_those_of_the_file_only() -> None:
    """Python's own names are no second spelling."""
    assert problems(shop(*FRONTEND, app_port=18083)) == [
        "spec.services[0].app_port: unknown field (did you mean 'appPort'?)"
    ]
    assert "api_version: unknown field (did you mean 'apiVersion'?)" in problems(
        {**SHOP, "api_version": "skycap.dev/v1alpha1"}
    )


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (None, ["must be an object, not nothing"]),
        ([], ["must be an object, not a list"]),
        (
            {"kind": "Sandbox"},
            [
                "apiVersion: is required",
                "kind: 'Sandbox' is not 'Environment'",
                "metadata: is required",
                "spec: is required",
            ],
        ),
        (shop("spec", services=[]), ["spec.services: must have at least 1 of them"]),
        (shop("spec", services="users"), ["spec.services: must be a list, not text"]),
        (shop(*USERS, command=[]), ["spec.services[1].command: must have at least 1 of them"]),
        (shop(*USERS, command="python users.py"), ["spec.services[1].command: must be a list, not text"]),
        (shop(*USERS, prot=80), ["spec.services[1].prot: unknown field (did you mean 'port'?)"]),
        (shop(*USERS, env={"A": 1}), ["spec.services[1].env.A: must be text, not a number: put it in quotes"]),
        (shop(*USERS, env={"A": True}), ["spec.services[1].env.A: must be text, not true or false: put it in quotes"]),
    ],
)
def test_what_a_field_must_be(document: object, expected: list[str]) -> None:
    assert problems(document) == expected


@pytest.mark.parametrize("port", [0, 65536, -1, "80", True, 80.5])
def test_a_port_is_a_number_that_a_port_can_be(port: object) -> None:
    (problem,) = problems(shop(*USERS, port=port))
    assert problem.startswith("spec.services[1].port: ")


def test_a_name_is_given_once() -> None:
    assert problems(shop(*USERS, name="frontend")) == [
        "spec.services[1].name: repeats 'frontend' of spec.services[0].name",
        f"spec.services[0].upstreams[0].name: no service of this file is called 'users'; {OUTSIDE}",
    ]
    assert problems(shop(*FRONTEND, upstreams=[{"name": "users"}, {"name": "users"}])) == [
        "spec.services[0].upstreams[1].name: repeats 'users' of spec.services[0].upstreams[0].name"
    ]


def test_the_registry_keeps_its_name() -> None:
    assert "spec.services[1].name: 'registry' is what skycap calls its own registry" in problems(
        shop(*USERS, name="registry")
    )


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        (
            {"name": "user"},
            f"name: no service of this file is called 'user' (did you mean 'users'?); {OUTSIDE}",
        ),
        (
            {"name": "billing"},
            f"name: no service of this file is called 'billing'; {OUTSIDE}",
        ),
        (
            {"name": "billing", "workload": "shop/billing"},
            "address: is required: 'billing' is no service of this file",
        ),
        (
            {"name": "billing", "address": "127.0.0.1:9000"},
            "workload: is required: 'billing' is no service of this file",
        ),
        (
            {"name": "users", "workload": "shop/users", "address": "127.0.0.1:9000"},
            "name: 'users' is a service of this file: leave out workload and address, or choose another name",
        ),
    ],
)
def test_whom_an_upstream_can_mean(upstream: dict[str, str], expected: str) -> None:
    assert problems(shop(*FRONTEND, upstreams=[upstream])) == [f"spec.services[0].upstreams[0].{expected}"]


def test_a_port_has_one_listener() -> None:
    document = shop(*USERS, port=18080, appPort=7171, upstreams=[{"name": "frontend", "port": 18082}])
    assert problems(document) == [
        "spec.services[1].port: repeats 18080 of spec.services[0].port",
        "spec.services[1].appPort: repeats 7171 of spec.registry.listen",
        "spec.services[1].upstreams[0].port: repeats 18082 of spec.services[0].upstreams[0].port",
    ]


def test_the_registry_has_its_port_even_if_the_file_does_not_say_so() -> None:
    document = shop(*USERS, port=7070)
    del document["spec"]["registry"]
    assert problems(document) == ["spec.services[1].port: repeats 7070 of spec.registry.listen"]


def test_what_a_copy_gets_by_itself_cannot_be_set() -> None:
    env = {"PORT": "80", "SKYCAP_SANDBOX": "a", "SKYCAP_ROUTING_KEY": "b", "USERS_URL": "http://${USERS_HOST}"}
    assert problems(shop(*FRONTEND, env=env)) == [
        "spec.services[0].env.PORT: is set by skycap: it is the port to listen on",
        "spec.services[0].env.SKYCAP_SANDBOX: is set by skycap: it is the sandbox of a shadow",
        "spec.services[0].env.SKYCAP_ROUTING_KEY: is set by skycap: it is the routing key of a shadow",
    ]


@pytest.mark.parametrize("scheme", ["redis", "postgresql+asyncpg", "none", "amqp"])
def test_the_schemes_of_an_upstream(scheme: str) -> None:
    file = parse_environment(shop(*FRONTEND, upstreams=[{"name": "users", "scheme": scheme}]))
    assert file.spec.services[0].upstreams[0].scheme == scheme


@pytest.mark.parametrize(
    ("scheme", "said"),
    [("redis://", "'redis://' is not the scheme of a URL"), ("", "'' is not the scheme"), (None, "must be text, not")],
)
def test_what_is_no_scheme(scheme: object, said: str) -> None:
    (problem,) = problems(shop(*FRONTEND, upstreams=[{"name": "users", "scheme": scheme}]))
    assert problem.startswith(f"spec.services[0].upstreams[0].scheme: {said}")


def test_all_problems_at_once_whatever_their_kind() -> None:
    document = shop(*USERS, name="frontend", command=[], prot=1, port=18080)
    document["spec"]["services"].append("not an object")
    assert problems(document) == [
        "spec.services[1].command: must have at least 1 of them",
        "spec.services[1].prot: unknown field (did you mean 'port'?)",
        "spec.services[2]: must be an object, not text",
        "spec.services[1].name: repeats 'frontend' of spec.services[0].name",
        "spec.services[1].port: repeats 18080 of spec.services[0].port",
        f"spec.services[0].upstreams[0].name: no service of this file is called 'users'; {OUTSIDE}",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:7070", ("127.0.0.1", 7070)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("127.9.9.9:1", ("127.9.9.9", 1)),
        ("localhost:7070", ("127.0.0.1", 7070)),
        ("[::1]:7070", ("::1", 7070)),
    ],
)
def test_where_a_registry_may_listen(text: str, expected: tuple[str, int]) -> None:
    assert split_listen(text) == expected


@pytest.mark.parametrize("text", ["0.0.0.0:7070", "[::]:7070", "10.0.0.7:7070", "registry.example:7070"])
def test_where_it_may_not(text: str) -> None:
    expected = f"spec.registry.listen: {text!r} is not on the loopback interface: an environment belongs to one machine"
    assert problems(shop("spec", registry={"listen": text})) == [expected]


@pytest.mark.parametrize("text", ["7070", ":0", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "::1:7070"])
def test_what_is_no_address(text: str) -> None:
    (problem,) = problems(shop("spec", registry={"listen": text}))
    assert problem.startswith("spec.registry.listen: ")


def test_the_parsed_file_cannot_be_changed() -> None:
    file = parse_environment(SHOP)
    assert isinstance(file, EnvironmentFile)
    with pytest.raises(ValueError, match="frozen"):
        file.spec.services[0].name = "other"  # type: ignore[misc]

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from controlplane.launch.plan import CopyPorts
from controlplane.local.layout import (
    Layout,
    callers_first,
    explicit_ports,
    gateway_command,
    lay_out,
    registry_command,
)
from controlplane.local.state import StateFolder
from proxy.base.programs import program
from tests.controlplane.local.files import environment, service

FOLDER = Path("/srv/shop")


def counting() -> Callable[[int | None], int]:
    """Hands out 20000, 20001, ... and whatever is preferred."""
    free = count(20_000)
    return lambda preferred: preferred or next(free)


def layout(*services: dict[str, object], remembered: dict[str, int] | None = None, **spec: object) -> Layout:
    environ = {"A": "1", "SKYCAP_REGISTRY": "http://elsewhere"}
    return lay_out(environment(*services, **spec), FOLDER, environ, counting(), remembered or {})


def test_what_the_file_leaves_open_is_chosen() -> None:
    laid = layout(service("frontend", "users"), service("users"))
    frontend, users = laid.services
    assert laid.registry_url == "http://127.0.0.1:20000"
    assert frontend.ports == CopyPorts(20001, 20002, (20003,))
    assert users.ports == CopyPorts(20004, 20005)
    assert (frontend.admin, users.admin) == (20006, 20007)
    assert laid.ports == {
        "registry": 20000,
        "frontend": 20001,
        "frontend app": 20002,
        "frontend to users": 20003,
        "frontend admin": 20006,
        "users": 20004,
        "users app": 20005,
        "users admin": 20007,
        "gateway": 20008,
    }
    assert (laid.gateway_listen, laid.gateway_url) == ("127.0.0.1:20008", "http://localhost:20008")


def test_what_the_file_says_is_kept() -> None:
    laid = layout(
        service("frontend", port=18080, appPort=18081, upstreams=[{"name": "users", "port": 18082}]),
        service("users"),
        registry={"listen": "[::1]:7171"},
        gateway={"port": 7080},
    )
    assert laid.gateway_listen == "[::1]:7080"
    assert laid.registry_url == "http://[::1]:7171"
    assert laid.services[0].ports == CopyPorts(18080, 18081, (18082,))


def test_ports_are_remembered() -> None:
    first = layout(service("frontend", "users"), service("users"))
    again = layout(service("extra"), service("frontend", "users"), service("users"), remembered=first.ports)
    assert again.services[1].ports == first.services[0].ports
    assert again.registry_url == first.registry_url


def test_the_registry_is_told_how_a_copy_is_run() -> None:
    laid = layout(
        service(
            "frontend",
            env={"MARK": "x"},
            cwd="services",
            readiness={"timeout": 5},
            upstreams=[{"name": "users"}, {"name": "mail", "workload": "infra/mail", "address": "10.0.0.7:80"}],
        ),
        service("users"),
        namespace="team",
    )
    definition = laid.services[0].definition
    assert definition.workload == "team/frontend"
    assert definition.address == laid.services[0].address == "127.0.0.1:20001"
    assert definition.cwd == "/srv/shop/services"
    assert definition.env == {"MARK": "x"}
    assert definition.readiness.timeout == 5
    assert [(upstream.workload, upstream.address) for upstream in definition.upstreams] == [
        ("team/users", laid.services[1].address),
        ("infra/mail", "10.0.0.7:80"),
    ]


def test_what_is_run() -> None:
    laid = layout(service("frontend", "users"), service("users"))
    frontend, users = laid.services
    assert frontend.app.cwd == str(FOLDER)
    assert frontend.app.env["USERS_URL"] == f"http://127.0.0.1:{frontend.ports.outbound[0]}"
    assert frontend.app.env["PORT"] == str(frontend.ports.app)
    argv = " ".join(frontend.sidecar.argv)
    assert f"--outbound 127.0.0.1:{frontend.ports.outbound[0]}={users.address}" in argv
    assert f"--registry {laid.registry_url}" in argv
    assert f"--admin 127.0.0.1:{frontend.admin}" in argv
    assert frontend.sidecar.env == {"A": "1"}

    registry = registry_command(laid, StateFolder(Path("/state/shop")), {"A": "1", "SKYCAP_STATE_DIR": "/x"})
    assert registry.argv == (
        *(*program("controlplane"), "--listen", "127.0.0.1:20000"),
        *("--store", "/state/shop/registry.db", "--state-dir", "/state/shop/shadows"),
        *("--gateway", laid.gateway_url),
    )
    assert registry.env == {"A": "1"}

    gateway = gateway_command(laid, StateFolder(Path("/state/shop")), {"A": "1"})
    assert gateway.argv == (
        *(*program("proxy"), "--workload", "skycap/gateway", "--gateway", laid.gateway_listen),
        *("--registry", laid.registry_url, "--log-level", "warning"),
    )


def test_an_upstream_that_speaks_another_protocol_and_a_service_that_says_more_of_it() -> None:
    outside = {"workload": "infra/db", "address": "10.0.0.7:5432"}
    laid = layout(
        service(
            "app",
            command=["run", "${DB_URL}", "${CACHE_URL}"],
            env={"DB_URL": "postgresql://u:p@${DB_HOST}:${DB_PORT}/x"},
            upstreams=[
                {"name": "db", "scheme": "postgresql", **outside},
                {"name": "cache", "scheme": "none", **outside},
            ],
        )
    )
    (app,) = laid.services
    db, cache = app.ports.outbound
    assert app.app.argv == ("run", f"postgresql://u:p@127.0.0.1:{db}/x", f"127.0.0.1:{cache}")
    assert app.app.env["DB_URL"] == app.app.argv[1]
    assert [upstream.scheme for upstream in app.definition.upstreams] == ["postgresql", "none"]
    assert app.definition.env == {"DB_URL": "postgresql://u:p@${DB_HOST}:${DB_PORT}/x"}  # each copy has its own ports


def test_the_ports_that_the_file_names() -> None:
    file = environment(
        service("frontend", port=18080, upstreams=[{"name": "users", "port": 18082}]),
        service("users", appPort=18083),
        registry={"listen": "[::1]:7171"},
        gateway={"port": 7080},
    )
    assert explicit_ports(file) == {
        "spec.registry.listen": (("::1",), 7171),
        "spec.gateway.port": (("::1",), 7080),
        "spec.services[0].port": (("127.0.0.1",), 18080),
        "spec.services[0].upstreams[0].port": (("127.0.0.1",), 18082),
        "spec.services[1].appPort": (("127.0.0.1", "::1"), 18083),
    }
    assert explicit_ports(environment(service("users"))) == {}


@pytest.mark.parametrize(
    ("services", "entry"),
    [
        ((service("users"), service("frontend", "users")), "frontend"),
        ((service("one", "two"), service("two", "one")), "one"),
        ((service("itself", "itself"), service("other")), "itself"),
    ],
)
def test_where_requests_enter(services: tuple[dict[str, object], ...], entry: str) -> None:
    assert layout(*services).entry.name == entry


@pytest.mark.parametrize(
    ("services", "before"),
    [
        (
            (service("payments"), service("users", "payments"), service("frontend", "users", "payments")),
            {"frontend": set(), "users": {"frontend"}, "payments": {"users", "frontend"}},
        ),
        (
            (service("one", "two"), service("two", "three"), service("three", "one"), service("four", "one")),
            {"four": set(), "one": {"four"}, "two": {"one"}, "three": {"two"}},
        ),
        ((service("itself", "itself"),), {"itself": set()}),
    ],
)
def test_callers_stop_first(services: tuple[dict[str, object], ...], before: dict[str, set[str]]) -> None:
    found = callers_first(layout(*services).services)
    assert {name: set(callers) for name, callers in found.items()} == before
    assert list(found) == list(before)

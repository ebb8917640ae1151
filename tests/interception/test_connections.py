"""Connections of real hosts, redirected to a sidecar that neither end knows of."""

from __future__ import annotations

import socket

import pytest

from tests.interception.street import (
    ADMIN,
    APP,
    CLIENT,
    EXCLUDED,
    GREETING,
    HOUSE,
    LOOPBACK,
    MAIL,
    NEAR,
    NOBODY,
    OWN,
    PAY,
    PAYMENTS,
    Street,
    fetch,
    is_reset,
    line,
)
from tests.postgres import postgres, query

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


# -- inbound ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [APP, NEAR, OWN], ids=["everywhere", "loopback", "own address"])
def test_requests_reach_the_application_wherever_it_listens(intercepted: Street, version: int, port: int) -> None:
    before = intercepted.figure("requests_total", direction="inbound", decision="baseline", status="2xx")
    answer = fetch(intercepted.client, HOUSE[version], port)
    assert answer.status == 200
    assert answer.said["by"] == "users"
    assert answer.said["from"] == (HOUSE if port == OWN else LOOPBACK)[version], "it meets the sidecar, not the client"
    assert "skycap-served-by" not in answer.headers, "unkeyed traffic is left alone"
    after = intercepted.figure("requests_total", direction="inbound", decision="baseline", status="2xx")
    assert after == before + 1


def test_a_keyed_request_goes_to_the_shadow(intercepted: Street, version: int) -> None:
    key = {4: "agent-42", 6: "agent-6"}[version]
    answer = fetch(intercepted.client, HOUSE[version], APP, baggage=f"routing-key={key}")
    assert answer.said["by"] == "shadow"
    assert answer.headers["skycap-served-by"] == f"shop/users;sandbox={key};rev=1"


def test_an_application_that_is_not_there_is_told_of(intercepted: Street, version: int) -> None:
    answer = fetch(intercepted.client, HOUSE[version], NOBODY)
    assert answer.status == 502
    assert answer.headers["skycap-error"] == "app-unreachable"
    assert is_reset(intercepted.client, HOUSE[version], NOBODY)


def test_a_server_that_speaks_first_is_heard(intercepted: Street, version: int) -> None:
    with intercepted.client.connect(HOUSE[version], MAIL) as connection:
        assert line(connection) == GREETING
        connection.sendall(b"ehlo shop\r\n")
        assert line(connection) == b"EHLO SHOP\r\n"
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert intercepted.figure("opaque_connections_total", direction="inbound", protocol="server-first") >= 1


def test_an_excluded_port_meets_its_client(intercepted: Street, version: int) -> None:
    with intercepted.client.connect(HOUSE[version], EXCLUDED) as connection:
        assert line(connection) == CLIENT[version].encode() + b"\n"


def test_probes_reach_the_sidecar_and_the_application(intercepted: Street) -> None:
    accepted = intercepted.figure("connections_accepted_total", direction="inbound")
    assert fetch(intercepted.client, HOUSE[4], ADMIN, "/live", host=HOUSE[4]).said == {"live": True}
    assert intercepted.figure("connections_accepted_total", direction="inbound") == accepted, "it is not redirected"
    assert fetch(intercepted.client, HOUSE[4], APP, "/healthz").status == 200


def test_loopback_is_the_applications_own(intercepted: Street, version: int) -> None:
    accepted = intercepted.figure("connections_accepted_total", direction="outbound")
    assert fetch(intercepted.house, LOOPBACK[version], APP).said["from"] == LOOPBACK[version]
    assert fetch(intercepted.house, HOUSE[version], APP).said["from"] == HOUSE[version]
    assert intercepted.figure("connections_accepted_total", direction="outbound") == accepted


# -- outbound ---------------------------------------------------------------------------------------------------------


def test_the_key_crosses_an_application_that_forwards_only_the_trace(intercepted: Street, version: int) -> None:
    answer = fetch(
        intercepted.client, HOUSE[version], APP, f"/call/{PAYMENTS[version]}",
        baggage="routing-key=agent-7,user=ada", traceparent=TRACE,
    )  # fmt: skip
    assert answer.said["by"] == "users", "there is no shadow for this key"
    seen = answer.said["payments"]
    assert (seen["status"], seen["by"]) == (200, "payments")
    assert seen["headers"]["baggage"] == "routing-key=agent-7"
    assert seen["headers"]["traceparent"] == TRACE
    assert answer.headers["skycap-served-by"] == "shop/users;baseline"


def test_without_a_key_a_call_passes_as_it_is(intercepted: Street, version: int) -> None:
    path = f"/call/{PAYMENTS[version]}"
    answer = fetch(intercepted.client, HOUSE[version], APP, path, traceparent=TRACE.replace("a3ce", "a3cf"))
    assert set(answer.said["payments"]["headers"]) == {"host", "traceparent"}


def test_a_call_reaches_whom_it_names_and_nobody_else(intercepted: Street, version: int) -> None:
    before = intercepted.figure("requests_total", direction="outbound", decision="forward", status="2xx")
    assert fetch(intercepted.house, PAYMENTS[version], PAY).said["by"] == "payments"
    assert intercepted.figure("requests_total", direction="outbound", decision="forward", status="2xx") == before + 1


def test_a_call_to_nobody_is_told_of(intercepted: Street, version: int) -> None:
    answer = fetch(intercepted.house, PAYMENTS[version], NOBODY)
    assert answer.status == 502
    assert answer.headers["skycap-error"] == "app-unreachable"


def test_a_call_to_a_server_that_speaks_first(intercepted: Street, version: int) -> None:
    for _ in range(2):
        with intercepted.house.connect(PAYMENTS[version], MAIL) as connection:
            assert line(connection) == GREETING
            connection.sendall(b"quit\r\n")
            assert line(connection) == b"QUIT\r\n"
    assert intercepted.figure("opaque_connections_total", direction="outbound", protocol="server-first") >= 2


def test_a_call_to_postgresql(intercepted: Street, version: int) -> None:
    inside = intercepted.house.command()
    before = intercepted.figure("opaque_connections_total", direction="outbound", protocol="other")
    with postgres(PAYMENTS[version], 5432, intercepted.payments.command()):
        assert query(PAYMENTS[version], 5432, "select 6 * 7", inside) == "42"
        assert query(PAYMENTS[version], 5432, "select length(repeat('x', 3000000))", inside) == "3000000"
    assert intercepted.figure("opaque_connections_total", direction="outbound", protocol="other") == before + 2


def test_an_excluded_port_is_called_directly(intercepted: Street, version: int) -> None:
    accepted = intercepted.figure("connections_accepted_total", direction="outbound")
    with intercepted.house.connect(PAYMENTS[version], EXCLUDED) as connection:
        assert line(connection).startswith((b"10.71.2.2", b"fd00:71:2::2"))
        assert intercepted.figure("connections_accepted_total", direction="outbound") == accepted


# -- no way round in circles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [15001, 15006])
@pytest.mark.parametrize("near", [True, False], ids=["from the house", "from outside"])
def test_a_connection_straight_to_the_sidecar_is_refused(
    intercepted: Street, version: int, port: int, near: bool
) -> None:
    host, address = (intercepted.house, LOOPBACK) if near else (intercepted.client, HOUSE)
    # From outside, 15001 is a port of the application like any other: nobody listens.
    assert is_reset(host, address[version], port)
    assert fetch(intercepted.client, HOUSE[version], APP).status == 200

"""Interception comes and goes; the sidecar comes and goes; nothing else does."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interception.street import (
    APP,
    CLIENT,
    EXCLUDED,
    GREETING,
    HOUSE,
    LOOPBACK,
    MAIL,
    PAY,
    PAYMENTS,
    Street,
    descriptors,
    fetch,
    is_reset,
    line,
)

VERSIONS = (4, 6)

OTHER_TABLE = (
    "table inet other {\n\tchain filter {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n}\n"
)


def _nft(street: Street, rules: str) -> None:
    done = subprocess.run(
        street.house.command("nft", "-f", "-"), input=rules, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _meets_the_sidecar(street: Street) -> bool:
    """The client does. Else it meets the application itself, which then sees who calls."""
    seen = [fetch(street.client, HOUSE[version], APP).said["from"] for version in VERSIONS]
    assert seen in ([LOOPBACK[version] for version in VERSIONS], [CLIENT[version] for version in VERSIONS])
    return bool(seen[0] == LOOPBACK[4])


def _calls(street: Street) -> list[int]:
    """What the application's calls to payments are answered."""
    return [fetch(street.house, PAYMENTS[version], PAY).status for version in VERSIONS]


def test_installing_twice_is_installing_once_and_removing_leaves_no_trace(street: Street) -> None:
    _nft(street, OTHER_TABLE)
    before = street.rules()
    first = street.skycap("intercept", "install")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "installed the interception: inbound to port 15006, outbound to port 15001\n"
    installed = street.rules()
    assert installed.startswith(before)
    second = street.skycap("intercept", "install", "--output", "json")
    assert json.loads(second.stdout)["replaced"] is True
    assert street.rules() == installed
    removed = street.skycap("intercept", "remove")
    assert (removed.returncode, removed.stdout) == (0, "removed the interception\n")
    assert street.rules() == before
    again = street.skycap("intercept", "remove", "--output", "json")
    assert (again.returncode, json.loads(again.stdout)) == (0, {"removed": False})
    assert street.rules() == before


def test_rules_that_cannot_be_put_in_force_leave_those_that_are(street: Street) -> None:
    """The transaction deletes the table before it declares it anew: all of that, or nothing."""
    with street.intercepted():
        before = street.rules()
        text = street.skycap("intercept", "show").stdout.replace("redirect to :15001", "redirect to :nowhere")
        done = subprocess.run(
            street.house.command("nft", "-f", "-"), input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert street.rules() == before


def test_what_is_shown_is_what_is_installed(street: Street) -> None:
    flags = ["--exclude-inbound-ports", "22,8000-8100", "--exclude-outbound-cidrs", "10.9.0.0/16,fd09::/16"]
    variables = {"SKYCAP_PROXY_UID": "4242", "SKYCAP_TRANSPARENT_OUTBOUND": "25001"}
    done = street.skycap("intercept", "install", *flags, **variables)
    assert done.returncode == 0, done.stderr
    installed = street.rules()
    _nft(street, street.skycap("intercept", "show", *flags, **variables).stdout)
    assert street.rules() == installed
    assert "meta skuid 4242 return" in installed
    assert "redirect to :25001" in installed
    assert "22, 8000-8100, 9901" in installed


def test_connections_that_were_open_go_on(street: Street) -> None:
    with contextlib.ExitStack() as crowd:
        connections = [
            crowd.enter_context(host.connect(address[version], EXCLUDED))
            for version in VERSIONS
            for host, address in ((street.client, HOUSE), (street.house, PAYMENTS))
        ]
        assert all(map(line, connections))
        with street.sidecar(), street.intercepted():
            assert _meets_the_sidecar(street)
            for connection in connections:
                connection.sendall(b"still there\n")
                assert line(connection) == b"still there\n"
        for connection in connections:
            connection.sendall(b"and after\n")
            assert line(connection) == b"and after\n"


def test_removed_everybody_meets_whom_they_call(street: Street) -> None:
    with street.sidecar():
        assert not _meets_the_sidecar(street)
        with street.intercepted():
            assert _meets_the_sidecar(street)
            assert _calls(street) == [200, 200]
            assert street.figure("connections_accepted_total", direction="outbound") == 2
        assert not _meets_the_sidecar(street)
        assert _calls(street) == [200, 200]
        assert street.figure("connections_accepted_total", direction="outbound") == 2


def test_what_was_redirected_ends_with_the_rules(street: Street, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody translates its addresses any more. The sidecar gives up on it when it drains."""
    with street.sidecar(), contextlib.ExitStack() as crowd:
        with street.intercepted():
            connections = [
                crowd.enter_context(street.client.connect(HOUSE[4], MAIL)),
                crowd.enter_context(street.house.connect(PAYMENTS[4], MAIL)),
            ]
            assert [line(connection) for connection in connections] == [GREETING, GREETING]
        for connection in connections:
            connection.sendall(b"still there?\r\n")
            with pytest.raises(ConnectionResetError):
                line(connection)
    said = capfd.readouterr().err
    assert " connections cut" in said
    assert "Traceback" not in said
    assert " error " not in said


def test_the_sidecar_comes_back(street: Street) -> None:
    with street.intercepted():
        with street.sidecar() as process:
            assert _meets_the_sidecar(street)
            process.kill()
            process.wait()
        for version in VERSIONS:
            with pytest.raises(ConnectionRefusedError):
                street.client.connect(HOUSE[version], APP)
            with pytest.raises(ConnectionRefusedError):
                street.house.connect(PAYMENTS[version], PAY)
        with street.sidecar():
            assert _meets_the_sidecar(street)
            assert _calls(street) == [200, 200]


def test_a_drain_finishes_what_was_redirected(street: Street) -> None:
    with street.intercepted(), street.sidecar() as process:
        with street.client.connect(HOUSE[4], MAIL) as connection:
            assert line(connection) == GREETING
            process.send_signal(signal.SIGTERM)
            connection.sendall(b"quit\r\n")
            assert line(connection) == b"QUIT\r\n"
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
        assert process.wait(20) == 0


# -- what is redirected -----------------------------------------------------------------------------------------------


def test_only_the_ports_that_are_named(street: Street) -> None:
    with street.sidecar(), street.intercepted("--include-inbound-ports", f"{APP},9000-9100"):
        assert _meets_the_sidecar(street)
        for version in VERSIONS:
            with street.client.connect(HOUSE[version], EXCLUDED) as connection:
                assert line(connection) == CLIENT[version].encode() + b"\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_networks_that_are_called_directly(street: Street, version: int) -> None:
    with street.sidecar(), street.intercepted("--exclude-outbound-cidrs", f"{PAYMENTS[version]},10.200.0.0/16"):
        assert _calls(street) == [200, 200]
        assert street.figure("connections_accepted_total", direction="outbound") == 1


def test_other_ports_of_the_sidecar_and_another_user(street: Street) -> None:
    flags = ["--transparent-inbound", "25006", "--transparent-outbound", "25001"]
    with street.sidecar(*flags, user=4242), street.intercepted(*flags, "--proxy-uid", "4242", "--proxy-gid", "4242"):
        assert _meets_the_sidecar(street)
        assert _calls(street) == [200, 200]
        assert street.figure("connections_accepted_total", direction="outbound") == 2


def test_a_listener_of_ours_is_served_beside(street: Street) -> None:
    """Redirected or not, what was sent to it is for the application behind it."""
    with street.sidecar("--inbound", f"0.0.0.0:8070=127.0.0.1:{APP}", "--inbound", f"[::]:8070=[::1]:{APP}"):
        expected = [LOOPBACK[version] for version in VERSIONS]
        assert [fetch(street.client, HOUSE[version], 8070).said["from"] for version in VERSIONS] == expected
        with street.intercepted():
            assert [fetch(street.client, HOUSE[version], 8070).said["from"] for version in VERSIONS] == expected
            assert _meets_the_sidecar(street)


def test_a_destination_port_can_be_declared(street: Street) -> None:
    with street.sidecar("--opaque", str(MAIL), "--sniff-delay", "1h"), street.intercepted():
        for version in VERSIONS:
            with street.client.connect(HOUSE[version], MAIL) as connection:
                assert line(connection) == GREETING
            with street.house.connect(PAYMENTS[version], MAIL) as connection:
                assert line(connection) == GREETING
        for direction in ("inbound", "outbound"):
            assert street.figure("opaque_connections_total", direction=direction, protocol="declared") == 2


# -- what must not happen ---------------------------------------------------------------------------------------------


def test_a_sidecar_whose_own_calls_come_back_says_so_and_stops(
    street: Street, capfd: pytest.CaptureFixture[str]
) -> None:
    """It runs as root, and 1337 is spared: each call that it makes is redirected to itself."""
    with street.sidecar(user=0) as process, street.intercepted():
        assert _meets_the_sidecar(street), "loopback is never redirected"
        before = descriptors(process)
        for version in VERSIONS:
            assert fetch(street.house, PAYMENTS[version], PAY).status in (502, 508)
            assert is_reset(street.house, PAYMENTS[version], EXCLUDED)
        # Four calls, each of which came back at most once.
        assert street.figure("connections_accepted_total", direction="outbound") <= 8
        assert street.figure("failures_total", direction="outbound", code="loop") >= 4
        assert descriptors(process) <= before + 2
        assert _meets_the_sidecar(street)
    assert capfd.readouterr().err.count("a connection of our own came back to us: the sidecar runs as user 0") == 1


def test_a_stranger_who_dials_every_port_leaves_nothing_behind(street: Street) -> None:
    with street.sidecar() as process, street.intercepted():
        assert _meets_the_sidecar(street)
        before = descriptors(process)
        for port in range(20000, 20300):
            street.client.connect(HOUSE[4], port).close()
        assert _meets_the_sidecar(street)
        assert descriptors(process) <= before + 5


# -- verify -----------------------------------------------------------------------------------------------------------


def _checks(street: Street) -> tuple[int, dict[str, tuple[bool, str]]]:
    done = street.skycap("intercept", "verify", "--output", "json")
    document = json.loads(done.stdout)
    assert document["ok"] == all(check["ok"] for check in document["checks"]) == (done.returncode == 0)
    return done.returncode, {check["subject"]: (check["ok"], check["found"]) for check in document["checks"]}


def test_verify_really_connects(street: Street) -> None:
    code, checks = _checks(street)
    assert (code, checks) == (1, {"rules": (False, "they are not installed")})
    with street.intercepted():
        code, checks = _checks(street)
        assert code == 1
        assert checks["inbound sidecar"] == (False, "nobody listens on port 15006 (IPv4, IPv6)")
        refused = "is redirected to port 15001, and then: connection refused"
        assert checks["a call by IPv4"] == checks["a call by IPv6"] == (False, refused)
        with street.sidecar():
            assert fetch(street.client, HOUSE[4], APP).status == 200
            code, checks = _checks(street)
            assert code == 0, checks
            assert checks["inbound rules"] == (True, "redirected to port 15006, 1 connections so far")
            assert checks["outbound sidecar"] == (True, "listens on port 15001, and refuses what was not redirected")
            redirected = (True, "is redirected to port 15001")
            assert checks["a call by IPv4"] == checks["a call by IPv6"] == redirected
            text = street.skycap("intercept", "verify").stdout
            assert text.count("ok    ") == len(checks) == len(text.splitlines())


def test_verify_finds_what_is_excluded_and_who_sits_on_the_port(street: Street) -> None:
    # A router that says so when it does not know the way, so that nobody has to wait.
    assert street.payments.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward").returncode == 0
    street.payments.ip("route", "add", "unreachable", "192.0.2.0/24")
    street.house.ip("route", "del", "default", "via", PAYMENTS[6])
    with street.intercepted("--exclude-outbound-cidrs", "192.0.2.0/24"), street.house.listen("127.0.0.1", 15006):
        code, checks = _checks(street)
        assert code == 1
        assert checks["inbound sidecar"] == (False, "what listens on port 15006 is no sidecar with --transparent")
        assert checks["a call by IPv4"] == (False, "is not redirected: no route to host")
        assert checks["a call by IPv6"] == (True, "there is no route, so nothing to redirect")


def test_verify_sees_that_rules_were_tampered_with(street: Street) -> None:
    with street.intercepted():
        assert street.house.run("nft", "flush", "chain", "inet", "skycap", "outbound").returncode == 0
        _, checks = _checks(street)
        assert checks["outbound rules"] == (False, "no rule redirects anything")
        assert "a call by IPv4" not in checks


def test_the_sidecars_own_user_cannot_verify(street: Street) -> None:
    with street.intercepted("--proxy-uid", "0"):
        _, checks = _checks(street)
        assert checks["a call"] == (False, "cannot be tried by the sidecar's own user, who is spared")


# -- who may not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["install", "remove", "verify"])
def test_without_net_admin_it_is_one_clear_line(street: Street, command: str) -> None:
    skycap = Path(sys.executable).parent / "skycap"
    done = street.house.run(
        "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", str(skycap), "intercept", command
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "skycap: this process may not change how connections go (run it as root or with CAP_NET_ADMIN; without it, "
        "use --inbound and --outbound of skycap proxy)\n"
    )

"""HTTP/2 between real hosts: gRPC that is redirected on its way in and on its way out, and peers that vanish."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.wire.h2.frames import END_STREAM, PREFACE, header_frames
from proxy.wire.h2.settings import SETTINGS_ACK, settings_frame
from tests.interception.conftest import GRPC_SHADOW
from tests.interception.hosts import Host
from tests.interception.street import HOUSE, PAYMENTS, ROOT, Street
from tests.tools import require

USERS, PAY = 50_051, 50_052
PATIENCE = 20.0


@contextlib.contextmanager
def program(at: Host, *arguments: str) -> Iterator[None]:
    """A server of `tests.interception.calls`, that accepts."""
    address, _, port = arguments[1].rpartition(":")
    command = at.command(sys.executable, "-m", "tests.interception.calls", *arguments)
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError):
                at.connect(address.strip("[]"), int(port)).close()
                break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(20)


def ask(street: Street, address: str, key: str = "") -> str:
    command = street.client.command(sys.executable, "-m", "tests.interception.calls", "call", address, key)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.timeout(180)
def test_grpc_carries_its_key_in_and_out(intercepted: Street, version: int) -> None:
    def on(address: str, port: int) -> str:
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    pay, users = on(PAYMENTS[version], PAY), on(HOUSE[version], USERS)
    shadow = on(PAYMENTS[4], GRPC_SHADOW)
    with (
        program(intercepted.payments, "serve", pay, "pay"),
        program(intercepted.payments, "serve", shadow, "shadow"),
        program(intercepted.house, "serve", users, "users", pay),
    ):
        assert ask(intercepted, users) == "users() pay()|"
        assert ask(intercepted, users, "agent-9") == "users(agent-9) pay(agent-9)|shop/users;baseline"
        assert ask(intercepted, users, "grpc-1") == "shadow(grpc-1)|shop/users;sandbox=grpc-1;rev=1"


# -- peers that vanish -----------------------------------------------------------------------------------------------

HELLO = PREFACE + settings_frame(()) + SETTINGS_ACK


def test_a_client_that_vanishes_is_asked_after_by_the_kernel(intercepted: Street, version: int) -> None:
    """Nothing is owed to it: only TCP keep-alive can tell, after two minutes. Both connections have it."""
    require("ss")
    with intercepted.client.connect(HOUSE[version], USERS) as quiet:
        quiet.sendall(HELLO)
        deadline = time.monotonic() + PATIENCE
        while True:
            shown = intercepted.house.run("ss", "-tnoH", "state", "established", "sport", "=", ":15006").stdout
            ours = [line for line in shown.splitlines() if f":{quiet.getsockname()[1]} " in line + " "]
            if ours and "timer:(keepalive," in ours[0]:
                break
            assert time.monotonic() < deadline, shown
            time.sleep(0.02)


def test_a_client_that_vanishes_has_the_time_of_idle_ones(street: Street, routes: Path) -> None:
    """All that it sends and is sent is dropped, without a FIN."""
    flags = ("--routes", str(routes), "--idle-timeout", "500ms", "--sniff-delay", "0")
    with street.sidecar(*flags), street.intercepted(), street.client.connect(HOUSE[4], USERS) as gone:
        gone.sendall(HELLO)
        assert gone.recv(9), "SETTINGS"
        assert street.figure("connections_open", direction="inbound") == 1
        _drop_all(street.client)
        deadline = time.monotonic() + PATIENCE
        while street.figure("connections_open", direction="inbound"):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _drop_all(host: Host) -> None:
    chain = "chain {0} {{\n type filter hook {0} priority 0; policy drop;\n}}\n"
    rules = "table inet gone {\n" + chain.format("input") + chain.format("output") + "}\n"
    command = host.command("nft", "-f", "-")
    subprocess.run(command, input=rules, text=True, check=True, timeout=30)


def test_an_upstream_that_vanishes_is_waited_for_as_long_as_was_said(street: Street, routes: Path) -> None:
    flags = ("--routes", str(routes), "--response-timeout", "500ms", "--connect-timeout", "500ms")
    with street.sidecar(*flags), street.intercepted():
        listening = street.payments.listen(PAYMENTS[4], PAY)
        with listening, street.house.connect(PAYMENTS[4], PAY) as calling:
            calling.sendall(HELLO + header_frames(1, END_STREAM, b"\x82\x86\x84"))
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.recv(65_536).startswith(PREFACE)
                _drop_all(street.payments)
                calling.settimeout(PATIENCE)
                heard = b""
                while not re.search(b"app-timeout", heard):
                    heard += calling.recv(65_536)

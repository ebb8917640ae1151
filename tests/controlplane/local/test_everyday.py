"""An environment in the background, and what is done with it: as people type it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
import yaml

from controlplane.local.everyday import _after
from controlplane.local.running import ask_restart, asked_restarts, holder, state_folder
from proxy.base.problems import ConfigurationError
from proxy.base.programs import program
from tests.controlplane.local.files import document, service
from tests.controlplane.process.marked import Marked

Skycap = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def skycap(tmp_path: Path, marked: Marked) -> Skycap:
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(document(service("users"), service("orders", "users"))))
    environ = {name: value for name, value in marked.environ.items() if not name.startswith("SKYCAP_")}

    def skycap(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*program("controlplane/cli"), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=50)

    return skycap


def test_up_in_the_background_and_down_again(skycap: Skycap, tmp_path: Path, marked: Marked) -> None:
    up = skycap("up", "shop.yaml", "--detach", "-o", "json")
    assert (up.returncode, up.stderr) == (0, "")
    assert json.loads(up.stdout)["problems"] == []
    assert (tmp_path / ".skycap" / ".gitignore").read_text() == "*\n"
    table = (tmp_path / ".skycap" / "shop" / "up.log").read_text()
    found = re.search(r"^users +(http://\S+)", table, re.MULTILINE)
    assert found
    first = requests.get(f"{found[1]}/who", timeout=10).json()["pid"]

    twice = skycap("up", "shop.yaml", "--detach")
    assert (twice.returncode, "the environment shop is up already, process" in twice.stderr) == (2, True)
    assert "Ctrl-C stops everything." in (tmp_path / ".skycap" / "shop" / "up.log").read_text()

    assert "GET /who HTTP/1.1" in skycap("logs", "users").stdout
    assert "GET /who" not in skycap("logs", "users", "--lines", "1", "--since", "0s").stdout
    assert json.loads(skycap("logs", "registry", "-o", "json").stdout)["service"] == "registry"
    wrong = skycap("logs", "cart")
    assert (wrong.returncode, "(there are orders, orders/sidecar, registry, users" in wrong.stderr) == (3, True)

    assert skycap("restart", "users").stdout == "users is started anew\n"
    deadline = time.monotonic() + 20
    second = first
    while second == first:
        assert time.monotonic() < deadline
        answer = requests.get(f"{found[1]}/who", timeout=10)
        second = answer.json()["pid"] if answer.ok else first
    assert skycap("restart", "cart").stderr == "skycap: shop runs no service 'cart' (there are users, orders)\n"

    down = skycap("down")
    assert (down.returncode, down.stdout) == (0, "shop is stopped\n")
    assert marked.alive() == {}
    assert skycap("down", "shop.yaml").returncode == 3
    assert "GET /who HTTP/1.1" in skycap("logs", "users", "-f", "shop.yaml").stdout  # what it wrote is kept


def test_what_cannot_be_started_in_the_background_is_said(skycap: Skycap, tmp_path: Path, marked: Marked) -> None:
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(document(service("users", command=["no-such-program"]))))
    up = skycap("up", "shop.yaml", "--detach")
    assert (up.returncode, up.stdout) == (2, "")
    assert "spec.services[0].command: there is no program 'no-such-program' in PATH\n" in up.stderr
    assert marked.alive() == {}


def test_what_is_not_ready_is_said_and_goes_on(skycap: Skycap, tmp_path: Path, marked: Marked) -> None:
    sick = service("users", readiness={"path": "/exit/3", "timeout": 1})
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(document(sick)))
    up = skycap("up", "shop.yaml", "--detach")
    assert (up.returncode, "not ready: users: " in up.stdout) == (1, True)
    assert skycap("down").returncode == 0
    assert marked.alive() == {}


def test_which_environment_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    with pytest.raises(ConfigurationError, match="no environment is up here"):
        state_folder(None, None)
    locks = []
    for name in ("one", "two"):
        folder = tmp_path / ".skycap" / name
        folder.mkdir(parents=True)
        locks.append(os.open(folder / "lock", os.O_RDWR | os.O_CREAT))
        fcntl.flock(locks[-1], fcntl.LOCK_EX)
        os.write(locks[-1], b"4711")
        assert holder(folder) == 4711
        if name == "one":
            assert state_folder(None, None) == folder
    with pytest.raises(ConfigurationError, match="several environments are up here: one, two: say the FILE of one"):
        state_folder(None, None)
    assert state_folder(None, Path("x")) == below / "x"
    for lock in locks:
        os.close(lock)
    assert holder(tmp_path / ".skycap" / "one") is None
    assert holder(tmp_path / "nowhere") is None


def test_what_is_asked_for_is_asked_once(tmp_path: Path) -> None:
    ask_restart(tmp_path, "users")
    ask_restart(tmp_path, "orders")
    assert asked_restarts(tmp_path) == ["users", "orders"]
    assert asked_restarts(tmp_path) == []
    (tmp_path / "restart.json").write_text("damaged")
    assert asked_restarts(tmp_path) == []


def test_what_follows() -> None:
    assert _after(["a", "b", "c"], "b") == ["c"]
    assert _after(["a", "b", "a", "c"], "a") == ["c"]
    assert _after(["x", "y"], "gone") == ["x", "y"]


def test_logs_go_on_with_what_comes(skycap: Skycap, tmp_path: Path, marked: Marked) -> None:
    logs = tmp_path / ".skycap" / "shop" / "logs"
    logs.mkdir(parents=True)
    (logs / "users.log").write_text("2026-01-01T00:00:00.000Z one\n")
    command = [sys.executable, "-u", *program("controlplane/cli")[1:], "logs", "users", "-f", "shop.yaml"]
    with subprocess.Popen(
        [*command, "--follow"], cwd=tmp_path, env=marked.environ, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith("one\n")
        with (logs / "users.log").open("a") as log:
            log.write("2026-01-01T00:00:01.000Z two\x1b[2J\n")
        assert process.stdout.readline().endswith("two\\x1b[2J\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.local.events import Service, Up
from controlplane.local.next_steps import invocation, next_steps

CWD = str(Path.cwd())

FRONTEND = Service(
    "frontend", "shop/frontend", ("python", "f.py"), CWD, "127.0.0.1:18080", "127.0.0.1:20001", "127.0.0.1:20002",
    ("users",), ready=True, copyable=True, readiness_path="/health",
)  # fmt: skip
USERS = Service(
    "users", "shop/users", ("python", "a b.py"), CWD, "127.0.0.1:20003", "127.0.0.1:20004", "127.0.0.1:20005",
    (), ready=True, copyable=True, readiness_path="/up?a&b",
)  # fmt: skip


def steps(*services: Service, problems: tuple[str, ...] = (), registry: str = "http://127.0.0.1:7070") -> list[str]:
    return next_steps(Up("shop", registry, "http://localhost:7080", services[0].name, services, problems), "skycap")


def test_a_service_that_others_call() -> None:
    assert steps(FRONTEND, USERS) == [
        "Next, a second copy of users for the routing key my-change; put the command of your changed one:",
        "  skycap sandbox apply my-change --fork shop/users --command 'python '\"'\"'a b.py'\"'\"''",
        "  skycap sandbox wait my-change",
        "  skycap request my-change 'http://127.0.0.1:20003/up?a&b'",
        "It is reached by whatever request to http://127.0.0.1:18080 leads to users, with the header",
        "  baggage: routing-key=my-change",
    ]


def test_a_registry_where_nobody_looks_for_it_needs_a_flag() -> None:
    lines = [line for line in steps(FRONTEND, registry="http://127.0.0.1:7171") if " sandbox " in line]
    assert len(lines) == 2
    assert all(" --registry http://127.0.0.1:7171" in line for line in lines)


def test_who_stands_elsewhere_is_told_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = [line for line in steps(replace(FRONTEND, cwd="/srv/a b")) if " apply " in line]
    assert line.endswith(" --cwd '/srv/a b'")
    monkeypatch.chdir(tmp_path)
    (line,) = [line for line in steps(replace(FRONTEND, cwd=str(tmp_path / "services"))) if " apply " in line]
    assert line.endswith(" --cwd services")


def test_without_a_path_no_request_is_certain_to_be_answered() -> None:
    lines = steps(FRONTEND, replace(USERS, readiness_path=""))
    assert any("--fork shop/users" in line for line in lines)
    assert not any("skycap request" in line for line in lines)


def test_where_nothing_is_certain_nothing_is_said() -> None:
    assert steps(replace(USERS, copyable=False)) == []
    assert steps(replace(USERS, ready=False)) == []
    assert steps(USERS, problems=("registry: does not answer",)) == []


def test_another_service_where_the_called_one_cannot_be_copied() -> None:
    assert any("--fork shop/frontend" in line for line in steps(FRONTEND, replace(USERS, copyable=False)))


def test_the_program_is_named_so_that_the_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / ".venv" / "bin" / "skycap"
    place.parent.mkdir(parents=True)
    place.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(place)])
    monkeypatch.setenv("PATH", str(place.parent))
    assert invocation() == "skycap"
    monkeypatch.setenv("PATH", "/nowhere")
    assert invocation() == str(place)
    monkeypatch.chdir(tmp_path)
    assert invocation() == ".venv/bin/skycap"

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.local.state import StateFolder
from controlplane.process.identity import identify
from proxy.base.problems import ConfigurationError


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    state = StateFolder(tmp_path / "deep" / "shop")
    state.lock("shop")
    return state


def refusal(state: StateFolder) -> str:
    with pytest.raises(ConfigurationError) as caught:
        state.lock("shop")
    (problem,) = caught.value.problems
    return problem


def test_only_one_has_the_lock(state: StateFolder) -> None:
    assert repr(state) == f"<StateFolder {state.path} locked>"
    second = StateFolder(state.path)
    assert refusal(second) == (
        f"the environment shop is up already, process {os.getpid()}: stop that one first (its folder is {state.path})"
    )
    state.unlock()
    state.unlock()
    second.lock("shop")
    second.unlock()
    assert repr(second) == f"<StateFolder {state.path} unlocked>"


def test_a_killed_process_lets_go_of_the_lock(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from controlplane.local.state import StateFolder\n"
        "StateFolder(Path(sys.argv[1])).lock('shop'); print('locked', flush=True); input()"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        state = StateFolder(tmp_path)
        assert f"process {holder.pid}" in refusal(state)
        holder.kill()
    state.lock("shop")
    state.unlock()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state = StateFolder(tmp_path / "file" / "shop")
    assert refusal(state) == f"the state folder {state.path} cannot be used: Not a directory"


def test_nobody_else_may_look(state: StateFolder) -> None:
    assert state.path.stat().st_mode & 0o777 == 0o700


def test_ports_are_remembered(state: StateFolder) -> None:
    assert state.remembered_ports() == {}
    state.remember_ports({"registry": 7070, "users": 20001})
    assert StateFolder(state.path).remembered_ports() == {"registry": 7070, "users": 20001}


def test_processes_are_remembered(state: StateFolder) -> None:
    me = identify(os.getpid())
    assert me is not None
    assert state.processes() == {}
    state.write_processes({"users": me})
    assert StateFolder(state.path).processes() == {"users": me}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"users": 0, "a": "x", "b": 65536, "c": [1]}'])
def test_damaged_files_are_as_good_as_none(state: StateFolder, text: str) -> None:
    for name in ("ports.json", "processes.json"):
        (state.path / name).write_text(text)
    assert state.remembered_ports() == {}
    assert state.processes() == {}

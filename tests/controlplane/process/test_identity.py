from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.process import identity
from controlplane.process.identity import Identity, decode_identity, group_runs, identify, identify_child
from tests.controlplane.process.marked import Marked


def test_a_running_process_is_itself() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert me.alive()
    assert me == identify(os.getpid())


def test_a_pid_alone_is_not_enough() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert not Identity(me.pid, me.started + "0").alive()
    assert not Identity(me.pid, "").alive()


def test_a_zombie_is_gone_but_still_tells_when_it_started() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        running = identify(process.pid)
        assert running is not None
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not group_runs(process.pid)
        assert identify(process.pid) is None
        assert not running.alive()
        assert identify_child(process.pid) == running
    assert identify_child(process.pid).started == ""


def test_a_command_name_with_parentheses_and_spaces(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/cat")
    with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
        found = identify(process.pid)
        assert found is not None
        assert found.alive()
        assert process.stdin is not None
        process.stdin.close()


def test_a_group_runs_while_any_of_it_does(marked: Marked) -> None:
    with marked.stranger("sh", "-c", "sleep 60 & echo started; exec sleep 60") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert group_runs(process.pid)
        os.killpg(process.pid, signal.SIGKILL)


def test_it_survives_its_json_form() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert decode_identity(me.encode()) == me


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "1234",
        {},
        {"pid": 1234},
        {"pid": "1234", "started": "x"},
        {"pid": True, "started": "x"},
        {"pid": 0, "started": "x"},
        {"pid": 1, "started": "x"},
        {"pid": -1234, "started": "x"},
        {"pid": 1234, "started": 5},
    ],
)
def test_a_damaged_record_is_nobody(document: object) -> None:
    assert decode_identity(document) is None


def test_without_proc_ps_tells_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not Path("/bin/ps").exists():
        pytest.skip("this machine has no ps")
    monkeypatch.setattr(identity, "_BOOT_ID", tmp_path / "none")
    me = identify(os.getpid())
    assert me is not None
    assert me.alive()
    assert "@" not in me.started
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert identify(process.pid) is None
    assert identify(process.pid) is None
    assert group_runs(os.getpgid(0))
    assert not group_runs(process.pid)

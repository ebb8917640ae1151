"""Control groups: with real ones where this machine allows them, and with what it says where it does not."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from pathlib import Path

import pytest

from controlplane.process.child import Child, Kept, spawn
from controlplane.process.command import Command
from controlplane.process.limits import ControlGroups, Limits, control_groups
from controlplane.process.stamped import lines_of
from tests.controlplane.process.marked import Marked

GREEDY = "held = []\nfor _ in range(64): held.append(bytearray(b'x') * (8 << 20))\nprint('had half a gigabyte')"


def start(tmp_path: Path, marked: Marked, groups: tuple[str, ...]) -> Child:
    reader, writer = os.pipe()
    try:
        command = Command((sys.executable, "-c", GREEDY), marked.environ, "")
        return spawn(command, writer, str(tmp_path), Kept(reader, tmp_path / "log", groups))
    finally:
        os.close(reader)
        os.close(writer)


async def test_a_program_that_takes_too_much_is_ended_where_there_are_control_groups(
    tmp_path: Path, marked: Marked
) -> None:
    groups = ControlGroups(Limits(memory=64 << 20, cpus=1.0), f"skycap-test-{uuid.uuid4().hex[:8]}")
    child = start(tmp_path, marked, groups.make("greedy"))
    status = await asyncio.wait_for(asyncio.shield(child.exited), 60)
    groups.remove("greedy")
    groups.close()
    if groups.why_not:
        assert (status, groups.make("greedy")) == (0, ()), "nothing limits it, and who asks is told why"
    else:
        assert status == -9
        assert not any("gigabyte" in line for line in lines_of(tmp_path / "log"))
        assert not any(map(os.path.exists, [place for place, _ in groups._places])), "no group is left behind"


def test_a_machine_without_any(tmp_path: Path) -> None:
    groups = ControlGroups(Limits(memory=1 << 30), "skycap-test", tmp_path / "none")
    assert groups.why_not == f"{tmp_path}/none/memory: No such file or directory"
    assert groups.make("a") == ()
    groups.remove("a")
    groups.close()


def test_version_2_hands_its_controllers_down(tmp_path: Path) -> None:
    """Files in place of the kernel's."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    (tmp_path / "cgroup.subtree_control").write_text("memory")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "cgroup.subtree_control").write_text("")
    groups = ControlGroups(Limits(memory=64 << 20, cpus=0.5), "ours", tmp_path)
    assert groups.why_not == ""
    assert groups.make("a") == (f"{tmp_path}/ours/a/cgroup.procs",)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory"
    group = tmp_path / "ours" / "a"
    assert ((group / "memory.max").read_text(), (group / "cpu.max").read_text()) == ("67108864", "50000 100000")


async def test_without_the_limits_that_were_asked_for_nothing_is_started(tmp_path: Path, marked: Marked) -> None:
    child = start(tmp_path, marked, (str(tmp_path / "gone" / "cgroup.procs"),))
    assert await child.exited == 127


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(), ""),
        (Limits(512 << 20), "512m of memory"),
        (Limits(1 << 30, 0.5), "1024m of memory and 0.5 processors"),
    ],
)
def test_how_they_are_called(limits: Limits, told: str) -> None:
    assert limits.told() == told
    assert bool(limits) is bool(told)


def test_a_registry_finds_its_own_again(tmp_path: Path) -> None:
    assert repr(control_groups(Limits(), tmp_path)) == repr(control_groups(Limits(), tmp_path))

"""`skycap up` as a person or a program runs it: a process of its own, seen from outside."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from controlplane.local.supervised import Lines
from controlplane.process.listeners import holder
from controlplane.process.ports import PortPool
from controlplane.process.readiness import Readiness, answers
from proxy.base.programs import PACKAGES, program
from tests.controlplane.local.files import APP, document, service
from tests.controlplane.process.marked import Marked, eventually

SKYCAP = (*program("controlplane/cli"), "up")
_PATIENT = f"""
import sys
sys.path.insert(0, {str(PACKAGES)!r})
import controlplane.cli, controlplane.local.environment
controlplane.local.environment.GRACE_SECONDS = 600.0
controlplane.cli.main()
"""
PATIENT = (sys.executable, "-c", _PATIENT, "up")
"""One that gives a deaf application ten minutes."""


class Up:
    """A running `skycap up`. lines: of its output so far."""

    def __init__(self, process: asyncio.subprocess.Process, output: int) -> None:
        self.process = process
        self.lines: list[str] = []
        self._output = Lines(output, self.lines.append)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Of `--output json`: those with these names."""
        return [event for event in map(json.loads, self.lines) if event["event"] in names]

    async def until(self, check: Callable[[], object]) -> None:
        """Wait until `check` holds; its end before that, with all that it said, is a failure."""
        await eventually(lambda: check() or self.process.returncode is not None)
        assert check(), self.text

    def close(self) -> None:
        """Read no more, as `head` does."""
        self._output.finish()

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await self.wait()

    async def wait(self) -> int:
        async with asyncio.timeout(30):
            code = await self.process.wait()
        self._output.finish()
        return code


Start = Callable[..., Awaitable[Up]]


def write(file: Path, *services: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(document(*services)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    write(path, service("frontend", "users"), service("users"))
    return path


async def launch(
    marked: Marked, output: int, *arguments: str, program: tuple[str, ...] = SKYCAP
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *program, *arguments, env=marked.environ, stdout=output, stderr=subprocess.STDOUT
    )


@pytest.fixture
def up(file: Path, marked: Marked) -> Start:
    async def up(*arguments: str, program: tuple[str, ...] = SKYCAP) -> Up:
        reader, writer = os.pipe()
        try:
            process = await launch(marked, writer, *(arguments or (str(file),)), program=program)
        finally:
            os.close(writer)
        return Up(process, reader)

    return up


async def test_a_run_from_the_table_to_ctrl_c(up: Start, file: Path, marked: Marked) -> None:
    running = await up()
    await running.until(lambda: "Ctrl-C stops everything." in running.text)
    columns = [line.split() for line in running.lines if "http://" in line and "ready" in line]
    assert [(row[0], row[3], row[4]) for row in columns] == [
        ("frontend", "users", "ready"),
        ("users", "-", "ready"),
        ("registry", "-", "ready"),
    ]
    frontend = next(line.split()[1] for line in running.lines if line.startswith("frontend  http"))
    async with aiohttp.ClientSession() as session, session.get(f"{frontend}/call/users/who") as answer:
        users = (await answer.json())["pid"]
    assert "\x1b" not in running.text

    os.kill(users, signal.SIGKILL)
    await running.until(lambda: "users was ended by SIGKILL, starts again in 0." in running.text)
    await running.until(lambda: "users is ready after" in running.text)

    assert await running.end(signal.SIGINT) == 0
    assert running.lines[-1].split() == ["skycap", "|", "stopped"]
    assert marked.alive() == {}
    assert (file.parent / ".skycap" / "shop" / "registry.db").exists()


async def test_a_run_that_was_killed_is_cleaned_up_by_the_next(up: Start, file: Path, marked: Marked) -> None:
    first = await up(str(file), "--output", "json")
    await first.until(lambda: first.events("up"))
    before = {event["process"]: event["pid"] for event in first.events("started")}

    second = await up()
    assert await second.wait() == 2
    (refusal,) = second.lines
    assert refusal.startswith(f"skycap: {file}: the environment shop is up already, process {first.process.pid}: ")

    assert await first.end(signal.SIGKILL) == -signal.SIGKILL
    assert set(marked.alive()) == set(before.values())
    third = await up(str(file), "--output", "json")
    await third.until(lambda: third.events("up"))
    assert {event["process"]: event["pid"] for event in third.events("leftover")} == before
    assert [(service["name"], service["address"]) for service in third.events("up")[0]["services"]] == [
        (service["name"], service["address"]) for service in first.events("up")[0]["services"]
    ]
    assert len(marked.alive()) == 7  # itself and its six
    assert await third.end() == 0
    assert [event["event"] for event in third.events("stopping", "stopped")] == ["stopping", "stopped"]
    assert marked.alive() == {}


async def test_what_it_says_to_try_works(up: Start, marked: Marked, tmp_path: Path) -> None:
    """Typed as it stands there, line for line."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "skycap").write_text(f'#!/bin/sh\nexec {shlex.join(SKYCAP[:-1])} "$@"\n')
    (programs / "skycap").chmod(0o755)
    marked.environ["PATH"] = f"{programs}:{marked.environ['PATH']}"
    running = await up()
    await running.until(lambda: "Ctrl-C stops everything." in running.text)
    steps = [line for line in running.lines if line.startswith("  skycap ")]
    assert [" ".join(line.split()[1:3]) for line in steps] == ["sandbox apply", "sandbox wait", "request my-change"]
    for line in steps:
        typed = await asyncio.create_subprocess_shell(
            line, env=marked.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await typed.communicate()
        assert typed.returncode == 0, said.decode()
    assert b"sandbox my-change, revision 1" in said
    assert await running.end() == 0
    assert marked.alive() == {}


async def test_everything_wrong_is_a_line_and_nothing_is_started(up: Start, file: Path, marked: Marked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        mine = holder(port)
        write(file, service("frontend", "users", port=port), service("users", command=["no-such-program"]))
        running = await up()
        assert await running.wait() == 2
    assert running.lines == [
        f"skycap: {file}: spec.services[0].port: port {port} is in use by {mine}",
        f"skycap: {file}: spec.services[1].command: there is no program 'no-such-program' in PATH",
    ]
    assert marked.alive() == {}


async def test_a_damaged_state_is_said_once_and_everything_is_stopped(up: Start, file: Path, marked: Marked) -> None:
    database = file.parent / ".skycap" / "shop" / "registry.db"
    database.parent.mkdir(parents=True)
    database.write_text("this is no database, and to try again makes it none " * 40)
    running = await up()
    assert await running.wait() == 2
    assert running.lines[-1] == (
        f"skycap: {file}: the registry cannot be started: --store: {database} cannot be opened: "
        "file is not a database: move it away to begin without sandboxes"
    )
    assert running.text.count("registry ended with exit code 2") == 1
    assert marked.alive() == {}


async def test_a_service_in_the_background_of_a_run_that_was_killed_is_ended_by_the_next(
    up: Start, file: Path, marked: Marked
) -> None:
    leaver = "import os, sys, subprocess, runpy; subprocess.Popen(['sleep', '63'], start_new_session=True);"
    leaver += f"runpy.run_path({APP!r}, run_name='__main__')"
    write(file, service("users", command=[sys.executable, "-c", leaver]))
    running = await up()
    await running.until(lambda: "Ctrl-C stops everything." in running.text)
    assert "sleep 63" in marked.alive().values()
    for pid, command in marked.alive().items():
        if command != "sleep 63":
            os.kill(pid, signal.SIGKILL)
    await running.wait()
    again = await up()
    await again.until(lambda: "Ctrl-C stops everything." in again.text)
    assert re.search(r"process [0-9]+ \(sleep 63\) was left over from a run that was killed", again.text)
    assert list(marked.alive().values()).count("sleep 63") == 1
    assert await again.end(signal.SIGINT) == 0
    assert marked.alive() == {}


async def test_the_second_ctrl_c_insists(up: Start, file: Path, marked: Marked) -> None:
    deaf = f"import signal, runpy; signal.signal(15, signal.SIG_IGN); runpy.run_path({APP!r}, run_name='__main__')"
    write(file, service("users", command=[sys.executable, "-c", deaf]))
    running = await up(str(file), "--state-dir", str(file.parent / "elsewhere"), program=PATIENT)
    await running.until(lambda: "Ctrl-C stops everything." in running.text)
    running.process.send_signal(signal.SIGINT)
    await running.until(lambda: "drained in" in running.text)
    assert await running.end(signal.SIGINT) == 0  # its grace is longer than anybody waits here
    assert marked.alive() == {}
    assert (file.parent / "elsewhere" / "registry.db").exists()
    assert not (file.parent / ".skycap").exists()


async def test_a_reader_that_has_seen_enough_ends_it(up: Start, marked: Marked) -> None:
    running = await up()
    await running.until(lambda: running.lines)
    running.close()
    assert await running.wait() == 141
    assert marked.alive() == {}


async def test_a_reader_that_has_stopped_reading_holds_up_nothing(file: Path, marked: Marked) -> None:
    """Neither the services, whose output is still taken, nor the end."""
    loud = f"import runpy\nfor _ in range(20000): print('x' * 100)\nrunpy.run_path({APP!r}, run_name='__main__')"
    port = PortPool().take()
    write(file, service("users", command=[sys.executable, "-c", loud], port=port))
    reader, writer = os.pipe()
    process = await launch(marked, writer, str(file))
    os.close(writer)
    missing = await Readiness().until(answers(port, "/who", "silent"), 30.0)
    assert missing == ""
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        assert await process.wait() == 0
    os.close(reader)
    assert marked.alive() == {}

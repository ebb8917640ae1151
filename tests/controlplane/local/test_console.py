from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import IO

import pytest

from controlplane.local import console
from controlplane.local.console import JsonConsole, TextConsole, Writer
from controlplane.local.events import (
    Ended,
    Event,
    Leftover,
    NotReady,
    Output,
    Ready,
    Service,
    Started,
    Stopped,
    Stopping,
    Up,
    Warned,
)

CWD = str(Path.cwd())

FRONTEND = Service(
    "frontend", "shop/frontend", ("python", "f.py"), CWD, "127.0.0.1:18080", "127.0.0.1:20001", "127.0.0.1:20002",
    ("users",), ready=True, copyable=True, readiness_path="/health",
)  # fmt: skip
USERS = Service(
    "users", "shop/users", ("python", "users.py"), CWD, "127.0.0.1:20003", "127.0.0.1:20004", "127.0.0.1:20005",
    (), ready=False, copyable=True, readiness_path="",
)  # fmt: skip
GATEWAY_URL = "http://localhost:7080"
UP = Up(
    "shop", "http://127.0.0.1:7171", GATEWAY_URL, "frontend", (FRONTEND, USERS), ("users: GET /health answers 503",)
)


class Screen:
    """What a writer has written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.writer = Writer(file.fileno())

    def close(self) -> str:
        self.writer.close()
        self._file.seek(0)
        return self._file.read().decode()


@pytest.fixture(autouse=True)
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `skycap` where the shell finds it."""
    (tmp_path / "skycap").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def text(*events: Event, colour: bool = False) -> str:
    with tempfile.TemporaryFile() as file:
        screen = Screen(file)
        show = TextConsole(screen.writer, ["registry", "users", "users/sidecar"], colour=colour)
        for event in events:
            show(event)
        return screen.close()


def test_every_line_stands_behind_the_name_of_its_process() -> None:
    assert text(Output("users", "hello"), Output("users/sidecar", "listens"), Output("registry", "")) == (
        "users         | hello\n"
        "users/sidecar | listens\n"
        "registry      |\n"
    )  # fmt: skip


def test_a_service_cannot_drive_the_terminal() -> None:
    """Titles, the clipboard and the lines of others are not its own; what only looks like them is written out."""
    shown = text(
        Output("users", "\x1b[31mred\x1b[0m \x1b]0;a title\x07\x1b]52;c;ZXZpbA==\x1b\\\x9b2Jend"),
        Output("users", "over\rwritten \u202egnp.exe \x1b"),
        Ended("users", "ended", ("\x1b[2Jgone",), 0.5),
        NotReady("users", "\x1b[1;1Hhome"),
    )
    assert shown == (
        "users         | red end\n"
        "users         | over\\rwritten \\u202egnp.exe \\x1b\n"
        "skycap        | users ended, starts again in 0.5 s\n"
        "skycap        |   gone\n"
        "skycap        | users is not ready: home\n"
    )


def test_an_object_cannot_drive_the_terminal_either() -> None:
    with tempfile.TemporaryFile() as file:
        screen = Screen(file)
        JsonConsole(screen.writer)(Output("users", "a\x9b2J\u202eb\x7f\U000e0041c"))
        written = screen.close()
    assert written.isascii()
    assert json.loads(written)["line"] == "a\x9b2J\u202eb\x7f\U000e0041c"


def test_a_death_is_told_with_the_last_lines() -> None:
    assert text(Ended("users", "ended with exit code 3", ("Traceback", "  boom"), 0.441)) == (
        "skycap        | users ended with exit code 3, starts again in 0.4 s\n"
        "skycap        |   Traceback\n"
        "skycap        |     boom\n"
    )


def test_a_start_is_a_word_only_when_it_is_one_again() -> None:
    ready = Ready("users", 0.2345)
    assert text(Started("users", 7), ready) == ""
    assert text(UP, ready).endswith("\n\nskycap        | users is ready after 0.23 s\n")


def test_the_other_events() -> None:
    warned = Warned("users", "env.DB_URL leads past its sidecar")
    assert text(NotReady("users", "GET /health answers 503"), warned, Leftover("users", 7), Stopping(), Stopped()) == (
        "skycap        | users is not ready: GET /health answers 503\n"
        "skycap        | users: env.DB_URL leads past its sidecar\n"
        "skycap        | users was left over from a run that was killed (process 7): ended\n"
        "skycap        | stopping; Ctrl-C again ends everything at once\n"
        "skycap        | stopped\n"
    )


def test_where_everything_is_and_what_to_try() -> None:
    assert (
        text(UP)
        == """
SERVICE   ADDRESS                 APPLICATION      CALLS  STATE
frontend  http://127.0.0.1:18080  127.0.0.1:20001  users  ready
users     http://127.0.0.1:20003  127.0.0.1:20004  -      not ready
registry  http://127.0.0.1:7171   -                -      ready
users: GET /health answers 503

Next, a second copy of frontend for the routing key my-change; put the command of your changed one:
  skycap sandbox apply my-change --registry http://127.0.0.1:7171 --fork shop/frontend --command 'python f.py'
  skycap sandbox wait my-change --registry http://127.0.0.1:7171
  skycap request my-change http://127.0.0.1:18080/health
The page is at http://127.0.0.1:7171/; `skycap page` prints a link that signs you in.
Preview links begin with http://localhost:7080; `skycap sandbox link NAME` makes one.
Ctrl-C stops everything.

"""
    )


def test_without_anything_to_try_the_end_is_told() -> None:
    up = Up("shop", "http://127.0.0.1:7070", GATEWAY_URL, "users", (USERS,), ("registry: is not ready",))
    page = "The page is at http://127.0.0.1:7070/; `skycap page` prints a link that signs you in.\n"
    link = "Preview links begin with http://localhost:7080; `skycap sandbox link NAME` makes one.\n"
    assert text(up).endswith(f"registry: is not ready\n\n{page}{link}Ctrl-C stops everything.\n\n")
    assert "registry  http://127.0.0.1:7070   -                -      not ready\n" in text(up)


def test_a_service_and_its_sidecar_share_a_colour() -> None:
    lines = text(Output("users", "a"), Output("users/sidecar", "b"), Output("other", "c"), colour=True).splitlines()
    assert lines[0] == "\x1b[36musers         |\x1b[0m a"
    assert lines[1] == "\x1b[36musers/sidecar |\x1b[0m b"
    assert lines[2] == "\x1b[33mother         |\x1b[0m c"
    assert "\x1b[31m" in text(Ended("users", "ended", (), 1.0), colour=True)


def test_every_event_is_an_object() -> None:
    events: list[Event] = [
        Started("users", 7), Output("users", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"), Ready("users", 0.2),
        Ended("users", "ended", ("last", "lines"), 0.5), NotReady("users", "why"), Leftover("users", 7), UP,
        Stopping(), Stopped(),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as file:
        screen = Screen(file)
        show = JsonConsole(screen.writer, lambda: 1234.56789)
        for event in events:
            show(event)
        found = [json.loads(line) for line in screen.close().splitlines()]
    assert [document["event"] for document in found] == [
        "started", "output", "ready", "ended", "notReady", "leftover", "up", "stopping", "stopped",
    ]  # fmt: skip
    assert found[3] == {
        "event": "ended",
        "time": 1234.568,
        "process": "users",
        "how": "ended",
        "lastLines": ["last", "lines"],
        "restartAfter": 0.5,
    }
    assert found[6]["services"][0]["workload"] == "shop/frontend"
    assert found[6]["problems"] == ["users: GET /health answers 503"]


def test_who_does_not_read_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PENDING_LINES", 100)
    reader, pipe = os.pipe()
    writer = Writer(pipe)
    total = 5_000
    for number in range(total):  # 500 KB, far more than a pipe holds
        writer.write(f"{number:0100}")
    found: list[str] = []

    def read() -> None:
        with os.fdopen(reader) as lines:
            found.extend(line.rstrip("\n") for line in lines)

    reading = threading.Thread(target=read)
    reading.start()
    writer.close()
    os.close(pipe)
    reading.join()
    numbers = [int(line) for line in found if line.isdigit()]
    told = [re.fullmatch(r"\.\.\. ([0-9]+) lines were dropped: nobody read them in time", line) for line in found]
    dropped = [int(match[1]) for match in told if match]
    assert numbers == sorted(numbers)
    assert len(numbers) + sum(dropped) == total
    assert len(found) == len(numbers) + len(dropped)
    assert dropped


def test_closing_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "CLOSE_SECONDS", 0.05)
    reader, pipe = os.pipe()
    gone = threading.Event()
    writer = Writer(pipe, gone.set)
    for _ in range(2_000):
        writer.write("x" * 100)
    writer.close()
    assert not gone.is_set()  # it is still stuck in the pipe
    os.close(reader)
    assert gone.wait(10)
    os.close(pipe)


def test_a_reader_that_goes_away_is_told_of() -> None:
    reader, pipe = os.pipe()
    os.close(reader)
    gone = threading.Event()
    writer = Writer(pipe, gone.set)
    writer.write("anybody?")
    assert gone.wait(10)
    writer.write("nobody")
    writer.close()
    os.close(pipe)

"""`skycap demo` for real: six services, their sidecars, the registry and three shadows, as processes."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from proxy.base.programs import program

SKYCAP = [*program("controlplane/cli")]

CHECK_SECONDS = 60
"""The most that `skycap demo --check` may take."""

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """For a demo whose folder is below `tmp_path`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SKYCAP_", "NO_COLOR"))}
    return {**kept, "TMPDIR": str(tmp_path), "TERM": "xterm-256color"}


def left_behind(folder: Path) -> list[str]:
    """Files of a demo below `folder`, and processes that were started for it: they have inherited its TMPDIR."""
    found = [str(path) for path in folder.iterdir()]
    mark = f"TMPDIR={folder}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.mark.timeout(CHECK_SECONDS + 30)
def test_check(environment: dict[str, str], tmp_path: Path) -> None:
    ended = subprocess.run(
        [*SKYCAP, "demo", "--check"], env=environment, capture_output=True, text=True, timeout=CHECK_SECONDS
    )
    lines = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert len(lines) == 14
    assert all(re.fullmatch(r"ok {6}\S.* \d+\.\d\d s", line) for line in lines), ended.stdout
    assert left_behind(tmp_path) == []


class Terminal:
    """A program on a terminal of 80 columns, and what it has shown so far."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self._main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
        self.process = subprocess.Popen(
            argv, stdin=side, stdout=side, stderr=side, env=environment, preexec_fn=self._own, close_fds=True
        )
        os.close(side)
        self.shown = ""

    @staticmethod
    def _own() -> None:
        """Make the terminal the process's own, so that a Ctrl-C typed there reaches it."""
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def read_until(self, text: str, seconds: float) -> None:
        """Read on until `text` has been shown; with "" until the program ends."""
        deadline = time.monotonic() + seconds
        while not text or text not in self.shown:
            assert time.monotonic() < deadline, f"{text!r} was not shown in {seconds} s:\n{self.shown}"
            try:
                data = os.read(self._main, 65536)
            except OSError:  # how a terminal tells that nobody has it open any more
                data = b""
            if not data:
                assert not text, f"it ended before {text!r}:\n{self.shown}"
                return
            self.shown += data.decode()

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.read_until("", 30)
        self.process.wait(30)
        os.close(self._main)


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Terminal]:
    terminal = Terminal([*SKYCAP, "demo"], environment)
    yield terminal
    terminal.close()


@pytest.mark.timeout(CHECK_SECONDS + 30)
def test_the_story_and_what_it_tells_to_try(terminal: Terminal, environment: dict[str, str], tmp_path: Path) -> None:
    terminal.read_until("Ctrl-C stops everything.", CHECK_SECONDS)
    story = ESCAPE.sub("", terminal.shown.rpartition("\x1b[?25h")[2]).replace("\r\n", "\n")
    assert max(len(line) for line in story.splitlines() if "http://" not in line) <= 80, story
    assert "NOT AS IT SHOULD BE" not in story
    for row in (
        r"hop +no key +key loyalty +key currencies",
        r"    users +- +loyalty rev 1 +currencies rev 1",
        r"      payments +- +baseline +baseline +only B3",
        r"        rates +- +baseline +baseline +\(called by gRPC\)",
        r"        users +- +loyalty rev 1 +currencies rev 1",
        r'    \+    "ada": \{"name": "Ada Lovelace", "tier": "gold"\},',
        r"  status +200 +200 +400",
        r"  charged +12\.00 EUR +10\.80 EUR +refused",
        r'    "error": "ada\'s currency must be one of EUR, CHF, GBP, not \[\'CHF\', \'EUR\'\]"',
        r"What feedback makes of it\n\n  shop/payments failed \(400\) right after your shop/users revision 1",
        r"The proof\n\n  \S.*",
        r"A link for the reviewer\n\n  http://\S+",
        r"        users +currencies rev 2 +loyalty rev 1",
        r"  charged +11\.28 CHF +10\.80 EUR",
    ):
        assert re.search(row, story), f"{row}\n{story}"
    assert "\x1b[1;35mloyalty rev 1\x1b[0m" in terminal.shown, "in colour"

    _, _, told = story.partition("It is all still running: try it\n")
    commands = told.partition("Ctrl-C")[0].replace("\\\n", "").strip().splitlines()
    assert len(commands) == 5
    charged = []
    for command in commands:
        argv = shlex.split(command)
        if argv[0] == "curl":
            headers = dict(value.split(": ", 1) for option, value in pairwise(argv) if option == "-H")
            charged.append(requests.post(argv[-1], headers=headers, timeout=10).json()["charged"])
        else:
            tried = subprocess.run([*SKYCAP, *argv[1:]], env=environment, capture_output=True, text=True, timeout=20)
            assert tried.returncode == 0, tried.stderr
            charged += re.findall(r'"charged": "(.*?)"', tried.stdout)
    assert charged == ["12.00 EUR", "10.80 EUR", "11.28 CHF"]

    assert len(left_behind(tmp_path)) > 15, "what must be gone afterwards is found while it runs"
    terminal.type("\x03")
    terminal.read_until("", 30)
    assert "Nothing is left running." in terminal.shown
    assert terminal.process.wait(10) == 0
    assert left_behind(tmp_path) == []

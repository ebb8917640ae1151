"""How `skycap` ends: one line for every error, whatever its reader does, and never a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import click
import pytest

from controlplane.cli import program
from proxy.errors import ConfigurationError
from tests.controlplane.cli.conftest import Skycap

PROGRAM = [sys.executable, "-c", "from controlplane.cli import main; main()"]


def test_version(skycap: Skycap) -> None:
    assert skycap("version").out.startswith("skycap 0.")
    assert '"skycap": "0.' in skycap("version", "--output", "json").out


def test_every_command_is_there_and_documents_its_exit_codes(skycap: Skycap) -> None:
    for name in program.COMMANDS:
        if name == "proxy":
            continue
        ended = skycap(name, "--help")
        assert ended.code == 0, ended.err
        assert "Exit codes:" in ended.out, name


def test_help_fits_a_terminal(skycap: Skycap) -> None:
    out = skycap("--help").out
    assert all(name in out for name in program.COMMANDS)
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in out.partition("Commands:")[2], "what a command is for is told whole"


@pytest.mark.parametrize("arguments", [(), ("sandbox",)])
def test_no_command_shows_the_help(skycap: Skycap, arguments: tuple[str, ...]) -> None:
    ended = skycap(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"Usage: {' '.join(('skycap', *arguments))} [OPTIONS] COMMAND")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonsense",), "skycap: No such command 'nonsense' (see skycap --help)\n"),
        (("version", "--nonsense"), "skycap: No such option '--nonsense' (see skycap version --help)\n"),
        (("version", "-o", "xml"), "skycap: Invalid value for '-o' / '--output' (env var: 'SKYCAP_OUTPUT'): 'xml'"),
    ],
)
def test_wrong_usage_is_one_line(skycap: Skycap, arguments: tuple[str, ...], said: str) -> None:
    ended = skycap(*arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(said)


def _failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(program.LazyGroup, "get_command", lambda *_: broken)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigurationError(["a: wrong", "b: wrong too"]), 2, "skycap: a: wrong\nskycap: b: wrong too\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (SystemExit(7), 7, ""),
        (
            RuntimeError("no\x1b[0m"), 1,
            "skycap: this is a defect of skycap: RuntimeError: no\\x1b[0m (SKYCAP_DEBUG=1 shows where)\n",
        ),
        (AssertionError(), 1, "skycap: this is a defect of skycap: AssertionError (SKYCAP_DEBUG=1 shows where)\n"),
    ],
)  # fmt: skip
def test_every_end(skycap: Skycap, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str) -> None:
    _failing(monkeypatch, error)
    ended = skycap("any")
    assert (ended.code, ended.err) == (code, said)


def test_a_traceback_is_for_who_asks(skycap: Skycap, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, RuntimeError("no"))
    monkeypatch.setenv("SKYCAP_DEBUG", "1")
    assert "Traceback" in skycap("any").err


@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["version", "-o", "json"]])
def test_a_reader_that_goes_away_is_no_error(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run([*PROGRAM, *arguments], stdout=write, stderr=subprocess.PIPE, timeout=20)
    finally:
        os.close(write)
    assert ended.stderr == b""
    assert ended.returncode == 141


def test_control_c_is_quiet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen([*PROGRAM, "request", "k", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        silent.settimeout(20)
        connection, _ = silent.accept()  # now it waits for the answer
        with connection:
            connection.recv(65536)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.strip()) == (130, b"", b"")


def test_options_come_from_the_environment(skycap: Skycap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYCAP_OUTPUT", "json")
    monkeypatch.setenv("SKYCAP_REQUEST_TIMEOUT", "nonsense")
    assert skycap("version").out.startswith("{")
    assert "Invalid value for '--timeout'" in skycap("request", "k", "http://127.0.0.1:1").err

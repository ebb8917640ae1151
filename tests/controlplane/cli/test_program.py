"""How `skycap` ends: one line for every error, whatever its reader does, and never a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator

import click
import pytest

from controlplane.cli import program
from proxy.base import programs
from proxy.base.problems import ConfigurationError
from tests.controlplane.cli.conftest import Skycap, documented

PROGRAM = programs.program("controlplane/cli")


def test_version(skycap: Skycap) -> None:
    assert skycap("version").out.startswith("skycap 0.")
    assert '"skycap": "0.' in skycap("version", "--output", "json").out


def test_the_version_is_an_option_too(skycap: Skycap, monkeypatch: pytest.MonkeyPatch) -> None:
    assert skycap("--version") == skycap("version")
    monkeypatch.setenv("SKYCAP_OUTPUT", "json")
    assert json.loads(skycap("--version").out)["skycap"].startswith("0.")


def test_what_a_file_may_say(skycap: Skycap) -> None:
    whole = skycap("explain-file", "environment").out
    assert "spec.services[].port  number from 1 to 65535\n    the one that callers use" in whole
    part = skycap("explain-file", "sandbox", "spec.forks").out
    assert part.startswith("spec.forks[]  list of objects; required\n")
    assert "spec.ttl" not in part
    items = json.loads(skycap("explain-file", "sandbox", "spec.ttl", "-o", "json").out)["items"]
    assert [item["path"] for item in items] == ["spec.ttl"]
    ended = skycap("explain-file", "sandbox", "spec.fork")
    assert (ended.code, ended.err) == (3, "skycap: sandbox has no field 'spec.fork' (did you mean 'spec.forks[]'?)\n")


def every_command(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of all commands and groups, but of `skycap proxy`, which is another program."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if name != "proxy":
            yield (*path, name)
        if isinstance(command, click.Group):
            yield from every_command(command, *path, name)


EVERY_COMMAND = [(), *every_command(program.skycap)]


@pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)
def test_help_is_whole(skycap: Skycap, words: tuple[str, ...]) -> None:
    ended = skycap(*words, "--help")
    assert ended.code == 0, ended.err
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "..." not in re.sub(r"(?:CIDR|NAME),\.\.\.|\[[A-Z]+\]\.\.\.", "", ended.out), "a sentence is cut"
    assert not re.search(r"default: \"\"|RANGE|TEXT  ", ended.out), "a type of click's instead of a word"
    groups = {("sandbox",), ("sandbox", "stub"), ("group",), ("intercept",)}
    assert ("Exit codes" in ended.out) is (words not in groups)


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        (("version",), {0, 2}),
        (("request",), {0, 1, 2, 5, 130}),
        (("explain",), {0, 1, 2, 3, 5, 130}),
        (("doctor",), {0, 1, 2, 130}),
        (("sandbox", "list"), {0, 1, 2, 5, 130}),
        (("sandbox", "wait"), {0, 1, 2, 3, 4, 5, 6, 130}),
        (("controlplane",), {0, 2}),
        (("up",), {0, 1, 2, 141}),
        ((), {0, 1, 2, 3, 4, 5, 6, 130, 141}),
    ],
)
def test_help_tells_the_codes_that_the_command_can_return(words: tuple[str, ...], codes: set[int]) -> None:
    assert documented(words) == codes


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
        (("sandbx", "list"), "skycap: No such command 'sandbx', did you mean 'sandbox'? (see skycap --help)\n"),
        (("sandbox", "lst"), "skycap: No such command 'lst', did you mean 'list'? (see skycap sandbox --help)\n"),
        (
            ("intercept", "instal"),
            "skycap: No such command 'instal', did you mean 'install'? (see skycap intercept --help)",
        ),
        (("version", "--nonsense"), "skycap: No such option '--nonsense' (see skycap version --help)\n"),
        (("version", "-o", "xml"), "skycap: Invalid value for '-o' / '--output' (env var: 'SKYCAP_OUTPUT'): 'xml'"),
    ],
)
def test_wrong_usage_is_one_line(skycap: Skycap, arguments: tuple[str, ...], said: str) -> None:
    ended = skycap(*arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(said)


@pytest.mark.parametrize(
    ("arguments", "code", "document"),
    [
        (
            ("sandbx", "--output=json"), 2,
            {"detail": "No such command 'sandbx', did you mean 'sandbox'?", "hint": "see skycap --help"},
        ),
        (("sandbox", "-o", "json"), 2, {"code": "usage", "detail": "No such option '-o'"}),
        (("version", "--nonsense", "-ojson"), 2, {"code": "usage", "hint": "see skycap version --help"}),
        (("request", "a", "nonsense", "-o", "json"), 2, {"code": "invalid", "title": "What was given cannot work"}),
        (("up", "/nowhere", "-o", "json"), 2, {"detail": "/nowhere: cannot be read: No such file or directory"}),
        (("request", "a", "http://127.0.0.1:1/", "--output", "json"), 5, {"code": "unreachable"}),
    ],
)  # fmt: skip
def test_errors_are_one_object_for_who_reads_json(
    skycap: Skycap, arguments: tuple[str, ...], code: int, document: dict[str, object]
) -> None:
    ended = skycap(*arguments)
    assert (ended.code, ended.out) == (code, "")
    found = json.loads(ended.err)
    assert found.items() >= document.items()
    assert (found["type"], found["exitCode"]) == (f"urn:skycap:problem:{found['code']}", code)
    assert "status" not in found  # no server has answered


def test_a_missing_command_is_an_object_too(skycap: Skycap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKYCAP_OUTPUT", "json")
    assert json.loads(skycap("sandbox").err)["detail"] == "a command is missing"
    assert skycap("sandbox", "lst", "-o", "text").err.startswith("skycap: No such command")


def test_a_defect_is_an_object_too(skycap: Skycap, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, RuntimeError("no"))
    monkeypatch.setenv("SKYCAP_OUTPUT", "json")
    ended = skycap("any")
    document = json.loads(ended.err)
    assert (ended.code, document["code"], document["detail"]) == (1, "defect", "RuntimeError: no")


def test_what_the_machine_refuses_is_an_object_too(skycap: Skycap, monkeypatch: pytest.MonkeyPatch) -> None:
    _failing(monkeypatch, OSError(28, "No space left on device"))
    monkeypatch.setenv("SKYCAP_OUTPUT", "json")
    document = json.loads(skycap("any").err)
    assert (document["code"], document["detail"]) == ("machine", "No space left on device")


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
        (OSError(28, "No space left on device", "/srv/x"), 1, "skycap: /srv/x: No space left on device\n"),
        (PermissionError(13, "Permission denied", "/bin/py"), 1, "skycap: /bin/py: Permission denied\n"),
        (OSError(24, "Too many open files"), 1, "skycap: Too many open files\n"),
        (OSError("odd"), 1, "skycap: odd\n"),
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

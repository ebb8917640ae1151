"""Pipes: how many there are, and what happens when there are no more."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from proxy.net.pipes import KEPT_PIPES, MAX_PIPES, PIPE_BYTES, Pipe, Pipes, pipe_limit
from tests.acceptance.running import ROOT
from tests.tools import require


def taken(pipes: Pipes) -> Pipe:
    pipe = pipes.take()
    assert pipe is not None
    return pipe


def test_one_is_used_again() -> None:
    pipes = Pipes()
    first = taken(pipes)
    os.write(first.writing, bytes(PIPE_BYTES))
    with pytest.raises(BlockingIOError):
        os.write(first.writing, b"x")
    os.read(first.reading, PIPE_BYTES)
    pipes.give(first)
    assert taken(pipes) is first
    pipes.give(first)
    assert repr(pipes) == f"<Pipes lent=0 kept=1 limit={MAX_PIPES}>"
    pipes.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first.reading)


def test_one_with_bytes_in_it_is_closed() -> None:
    """They are somebody's."""
    pipes = Pipes()
    pipe = taken(pipes)
    pipe.held = 1
    pipes.give(pipe)
    assert repr(pipes) == f"<Pipes lent=0 kept=0 limit={MAX_PIPES}>"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pipe.writing)


def test_there_are_so_many_at_a_time_and_fewer_are_kept() -> None:
    pipes = Pipes(limit=KEPT_PIPES + 2)
    lent = [taken(pipes) for _ in range(KEPT_PIPES + 2)]
    assert pipes.take() is None
    for pipe in lent:
        pipes.give(pipe)
    assert repr(pipes) == f"<Pipes lent=0 kept={KEPT_PIPES} limit={KEPT_PIPES + 2}>"
    pipes.close()


def test_kept_ones_count_as_well() -> None:
    """Of two, one may be lent while the other is kept; both together are the limit."""
    pipes = Pipes(limit=2)
    one, two = taken(pipes), taken(pipes)
    pipes.give(one)
    assert taken(pipes) is one
    assert pipes.take() is None
    pipes.give(one)
    pipes.give(two)
    pipes.close()


def test_none_while_descriptors_are_short() -> None:
    room = [True]
    pipes = Pipes(room=lambda: room[0])
    kept = taken(pipes)
    pipes.give(kept)
    room[0] = False
    assert taken(pipes) is kept, "it exists"
    assert pipes.take() is None
    pipes.give(kept)
    pipes.close()


@pytest.mark.parametrize(
    ("descriptors", "pipes"), [(8, 0), (64, 4), (1024, 64), (4096, MAX_PIPES), (1 << 20, MAX_PIPES)]
)
def test_how_many_a_process_may_have(descriptors: int, pipes: int) -> None:
    """With their two descriptors each, half of the quarter that accepting leaves."""
    assert pipe_limit(descriptors) == pipes
    assert pipe_limit(descriptors) * 2 <= descriptors // 8


def run_as_an_ordinary_user(program: str) -> str:
    """The standard output of a Python program. As root, by a user who shares the limit with nobody."""
    command = [sys.executable, "-c", program]
    if os.geteuid() == 0:
        require("setpriv")
        nobody = ["--reuid", "54321", "--regid", "54321", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
        command = ["setpriv", *nobody, *command]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.stderr == ""
    return run.stdout


def test_an_ordinary_user_runs_out_of_them() -> None:
    """fs.pipe-user-pages-soft: then there are pipes of two pages, which are not what we want."""
    program = """
import fcntl, os
from proxy.net.pipes import PIPE_BYTES, Pipes
pages = int(open("/proc/sys/fs/pipe-user-pages-soft").read())
allowed = pages * os.sysconf("SC_PAGE_SIZE") // PIPE_BYTES
pipes = Pipes(limit=2 * allowed + 10)
lent = []
while (pipe := pipes.take()) is not None:
    lent.append(pipe)
print(0 < len(lent) <= allowed, all(fcntl.fcntl(p.writing, fcntl.F_GETPIPE_SZ) == PIPE_BYTES for p in lent))
before = len(os.listdir("/proc/self/fd"))
print(pipes.take(), len(os.listdir("/proc/self/fd")) == before)
pipes.give(lent.pop())
print(pipes.take() is not None)
"""
    assert run_as_an_ordinary_user(program).splitlines() == ["True True", "None True", "True"]


def test_without_descriptors_there_is_none() -> None:
    program = """
import resource
from proxy.net.pipes import Pipes
resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
pipes = Pipes()
lent = []
while (pipe := pipes.take()) is not None:
    lent.append(pipe)
print(1 <= len(lent) <= 3, pipes)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False, cwd=ROOT
    )
    assert run.stderr == ""
    assert run.stdout.startswith("True <Pipes lent=")

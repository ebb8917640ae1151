"""Programs that are started are accounted for, and end."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks import accounting
from benchmarks.errors import BenchmarkError
from benchmarks.process import Process

CORES = sorted(os.sched_getaffinity(0))[:1]

SPIN = """
import sys, time
end = time.process_time() + float(sys.argv[1])
while time.process_time() < end: pass
print("spun", flush=True)
sys.stdin.read() if len(sys.argv) > 2 else time.sleep(60)
"""

FAMILY = """
import os, signal, sys, time
child = os.fork()
signal.signal(signal.SIGTERM, signal.SIG_IGN if child == 0 else signal.SIG_DFL)
print("child" if child == 0 else "parent", os.getpid(), flush=True)
time.sleep(60)
"""


def start(tmp_path: Path, code: str, *arguments: str) -> Process:
    return Process("program", [sys.executable, "-c", code, *arguments], CORES, tmp_path)


def printed(tmp_path: Path, *words: str) -> bool:
    text = (tmp_path / "program.log").read_text()
    return all(word in text for word in words)


def test_cpu_time_is_what_the_process_used(tmp_path: Path) -> None:
    with start(tmp_path, SPIN, "0.2") as process:
        process.await_ready(lambda: printed(tmp_path, "spun"))
        used = process.cpu_seconds()
    assert 0.2 <= used < 0.6


def test_a_process_is_pinned_to_its_cores(tmp_path: Path) -> None:
    with start(tmp_path, SPIN, "0") as process:
        process.await_ready(lambda: printed(tmp_path, "spun"))
        assert sorted(os.sched_getaffinity(process.pid)) == CORES


def test_memory_is_resident_and_its_peak_can_be_reset(tmp_path: Path) -> None:
    code = "import time\nblock = b'x' * (64 << 20)\ndel block\nprint('done', flush=True)\ntime.sleep(60)"
    with start(tmp_path, code) as process:
        process.await_ready(lambda: printed(tmp_path, "done"))
        assert accounting.peak_resident_bytes(process.pid) > 64 << 20
        accounting.reset_peak(process.pid)
        assert accounting.peak_resident_bytes(process.pid) < 64 << 20
        assert 1 << 20 < accounting.resident_bytes(process.pid) < 64 << 20


def test_stopping_ends_children_that_ignore_it(tmp_path: Path) -> None:
    with start(tmp_path, FAMILY) as process:
        process.await_ready(lambda: printed(tmp_path, "child", "parent"))
        family = accounting.descendants(process.pid)
        assert len(family) == 2
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() and not zombie(pid) for pid in family):
        assert time.monotonic() < deadline, "a child lives on"
    process.stop()


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_process_that_ends_early_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with start(tmp_path, "print('bad option'); raise SystemExit(3)") as process:
        with pytest.raises(BenchmarkError, match="program ended with exit code 3: bad option"):
            process.await_ready(lambda: False)
        with pytest.raises(BenchmarkError, match="ended with exit code 3"):
            process.cpu_seconds()


def test_a_process_that_never_becomes_ready_is_an_error(tmp_path: Path) -> None:
    with start(tmp_path, SPIN, "0") as process, pytest.raises(BenchmarkError, match=r"not ready after 0 s"):
        process.await_ready(lambda: False, seconds=0.05)

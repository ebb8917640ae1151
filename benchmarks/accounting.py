"""What a process costs, from the kernel's own books.

CPU time is read from the process's CPU clock (`clock_getcpuclockid(3)`: the clock id of process P is
`~P << 3 | CPUCLOCK_SCHED`). It counts nanoseconds over all threads, those that have ended too, and is exact at the
moment of reading. `/proc/PID/stat` counts in ticks of 10 ms, and `/proc/PID/schedstat` the main thread only.
Work that the kernel does for the process on loopback (the send runs the receiver's side of TCP) is booked on the
process, for every peer alike.

Memory is the resident set. The kernel's socket buffers are not in it, for no peer.
"""

from __future__ import annotations

import time
from pathlib import Path

_CPUCLOCK_SCHED = 2
_RESET_PEAK = "5"
"""Written to `/proc/PID/clear_refs`: the peak resident set starts again from the present one (proc(5))."""


def descendants(pid: int) -> list[int]:
    """`pid` and everything below it that is alive now. A process that ends while we look is left out."""
    found = [pid]
    for parent in found:
        try:
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def cpu_clock(pid: int) -> int:
    """The id of a process's CPU clock, for `time.clock_gettime_ns`."""
    return (~pid << 3) | _CPUCLOCK_SCHED


def cpu_seconds(pid: int) -> float:
    """CPU time of `pid` and its living descendants since they began, in seconds."""
    total = 0
    for process in descendants(pid):
        try:
            total += time.clock_gettime_ns(cpu_clock(process))
        except OSError:
            if process == pid:
                raise
    return total / 1e9


def own_cpu_seconds(pid: int) -> float:
    """CPU time of `pid` alone since it began, in seconds."""
    return time.clock_gettime_ns(cpu_clock(pid)) / 1e9


def resident_bytes(pid: int) -> int:
    """Resident memory of `pid` and its living descendants; pages shared among them count for each."""
    return sum(_status(process, "VmRSS") for process in descendants(pid))


def peak_resident_bytes(pid: int) -> int:
    """The highest resident memory of `pid` itself since `reset_peak`."""
    return _status(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Let `peak_resident_bytes` start from now."""
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)


def _status(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)

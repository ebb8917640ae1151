"""The machine: which core does what, and what a reader must know to compare figures."""

from __future__ import annotations

import os
import platform
import random
import resource
import socket
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.errors import BenchmarkError

_PACKAGES = ("uvloop", "aiohttp")
"""Whose versions move the figures."""

_FIRST_PORT = 10_000
"""Below it live well-known services."""

_PORT_ATTEMPTS = 500


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where. Numbers are those of the kernel."""

    proxy: tuple[int, ...]
    origin: tuple[int, ...]
    load: tuple[int, ...]

    @property
    def shared(self) -> bool:
        """The proxy has to share its core: throughput and latency mean little, CPU per request still does."""
        return self.proxy == self.load


def assign(available: Iterable[int], siblings: Callable[[int], set[int]]) -> Cores:
    """Cores for the parts: the proxy one by itself, its hyper-thread siblings idle where two others remain."""
    cores = sorted(available)
    proxy = cores[-1]
    others = [core for core in cores if core != proxy]
    if not others:
        return Cores((proxy,), (proxy,), (proxy,))
    quiet = [core for core in others if core not in siblings(proxy)]
    if len(quiet) >= 2:
        others = quiet
    return Cores((proxy,), (others[0],), tuple(others[1:]) or (others[0],))


def thread_siblings(core: int) -> set[int]:
    """The hyper-threads that share a physical core with `core`, itself included."""
    try:
        listed = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return {core}
    found: set[int] = set()
    for part in listed.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def raise_file_limit() -> int:
    """Let this process and all it starts open as many files as allowed; the number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now, all different.

    They lie below the kernel's ephemeral range: a port from within it could become the source port of one of the
    many connections of the load before its listener is up.
    """
    held: list[socket.socket] = []
    candidates = random.sample(range(_FIRST_PORT, _ephemeral_start()), k=_PORT_ATTEMPTS)
    try:
        for port in candidates:
            if len(held) == count:
                break
            listener = socket.socket()
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                listener.close()
                continue
            held.append(listener)
        if len(held) < count:
            raise BenchmarkError(f"no {count} free ports found between {_FIRST_PORT} and {_ephemeral_start()}")
        return [listener.getsockname()[1] for listener in held]
    finally:
        for listener in held:
            listener.close()


def _ephemeral_start() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32768


def describe(cores: Cores) -> dict[str, object]:
    """What the results say about this machine. No names, no addresses."""
    return {
        "processor": _cpuinfo("model name") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "virtual": "hypervisor" in _cpuinfo("flags").split(),
        "kernel": platform.release(),
        "load_average": round(os.getloadavg()[0], 2),
        "layout": {"proxy": list(cores.proxy), "origin": list(cores.origin), "load": list(cores.load)},
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that move the figures."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit(folder: Path) -> str:
    """The commit that is measured, marked `-dirty` when files differ from it; empty outside a checkout."""
    revision = _git(folder, "rev-parse", "--short=12", "HEAD")
    changed = revision and _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{revision}-dirty" if changed else revision


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpuinfo(field: str) -> str:
    try:
        lines: Sequence[str] = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")

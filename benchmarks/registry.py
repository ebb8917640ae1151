"""A real registry on loopback, with its state in SQLite as people run it."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from benchmarks import probe
from benchmarks.machine import free_ports
from benchmarks.process import Process
from benchmarks.run import Run


def start_registry(run: Run, cores: Iterable[int]) -> tuple[Process, str]:
    """The process, ready, and its URL. It and what it starts end with the scenario."""
    (port,) = free_ports(1)
    command = [
        sys.executable, "-m", "controlplane", "--listen", f"127.0.0.1:{port}",
        "--store", str(run.folder / "registry.db"), "--state-dir", str(run.folder / "shadows"),
        "--log-level", "warning",
    ]  # fmt: skip
    # Asked politely even when we die: a killed registry would leave its shadows running for the next one.
    process = run.stack.enter_context(Process("registry", command, cores, run.folder, death="TERM"))
    process.await_ready(lambda: probe.ready(port, "/ready"))
    return process, f"http://127.0.0.1:{port}"


def sandbox(name: str, workload: str, fork: dict[str, object], **spec: object) -> dict[str, object]:
    """The document of a sandbox with one fork of one workload. spec: more of it."""
    return {
        "apiVersion": "skycap.dev/v1alpha1",
        "kind": "Sandbox",
        "metadata": {"name": name},
        "spec": {"ttl": "1h", **spec, "forks": [{"workload": workload, **fork}]},
    }

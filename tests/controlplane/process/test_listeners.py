from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from controlplane.process import listeners
from controlplane.process.listeners import holder, instead
from tests.controlplane.process.marked import Marked


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_listens_on_a_port(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        found = holder(port)
    assert found.startswith(f"process {os.getpid()} (")
    assert len(found) < 100
    assert holder(port) == ""


def test_where_a_group_listens_instead(marked: Marked) -> None:
    script = """
import socket, time
servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*sorted(server.getsockname()[1] for server in servers), flush=True)
time.sleep(60)
"""
    with marked.stranger("sh", "-c", f"python3 -c '{script}' & wait") as process:
        assert process.stdout is not None
        first, second = map(int, process.stdout.readline().split())
        assert instead(process.pid, 1) == f"; it listens on ports {first}, {second}: does it heed $PORT?"
        assert instead(process.pid, second) == ""
        marked.end()
    assert instead(process.pid, 1) == ""


def test_where_nothing_can_be_seen_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(listeners, "_PROC", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert holder(server.getsockname()[1]) == ""
    assert instead(os.getpgid(0), 1) == ""

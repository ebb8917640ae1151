"""A real sidecar in front of real servers of HTTP/2, and what its admin listener tells."""

from __future__ import annotations

import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.running import free_port
from tests.proxy.net.test_protocols import running

KEY = "agent-42"
TERMINATED = -15


class Place:
    """A sidecar on `port`, its application on `app`, the shadow of KEY on `shadow`; that of `gone` is not there."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.port, self.app, self.shadow, self.admin = (free_port() for _ in range(4))
        self._folder = folder
        self._stack = stack

    def serve(self, *command: str, port: int, ends_with: int = TERMINATED) -> None:
        self._stack.enter_context(running(*command, port=port, ends_with=ends_with))

    def guard(self, *flags: str) -> None:
        routes = self._folder / "routes.yaml"
        routes.write_text(
            "routes:\n"
            f"- {{workload: shop/users, key: {KEY}, endpoints: ['127.0.0.1:{self.shadow}']}}\n"
            f"- {{workload: shop/users, key: gone, endpoints: ['127.0.0.1:{free_port()}']}}\n"
        )
        self.serve(
            sys.executable, "-m", "proxy", "--workload", "shop/users", "--routes", str(routes),
            "--inbound", f"127.0.0.1:{self.port}=127.0.0.1:{self.app}", "--admin", f"127.0.0.1:{self.admin}",
            "--drain-timeout", "1", *flags, port=self.admin, ends_with=0,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self._ready():
            assert time.monotonic() < deadline, "the sidecar does not get ready"

    def _ready(self) -> bool:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/ready", timeout=5).status == 200  # type: ignore[no-any-return]
        except OSError:
            time.sleep(0.02)
            return False

    def figure(self, name: str, labels: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        found = re.search(rf"^{name}\{{{labels}\}} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)

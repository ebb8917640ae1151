"""The shop's services as real processes, wired to each other without sidecars."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from tests.acceptance.running import free_port

SHOP = Path(__file__).parents[3] / "controlplane" / "demo" / "shop"
START_SECONDS = 20

Start = Callable[..., str]


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    return [free_port() for _ in range(count)]


def await_health(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{url}/health", timeout=5).ok:
                return
        try:
            code = process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"{process.args!r} ended with {code}")
    pytest.fail(f"{process.args!r} did not answer within {START_SECONDS} s")


@contextlib.contextmanager
def running(programs: dict[str, tuple[str, dict[str, str]]], ports: dict[str, int]) -> Iterator[dict[str, str]]:
    """Start every program (name -> file, environment) on its port; name -> URL once all of them are healthy."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, (file, urls) in programs.items():
            environment = {**os.environ, **urls, "PORT": str(ports[name])}
            processes[name] = subprocess.Popen([sys.executable, file], cwd=SHOP, env=environment)
        addresses = {name: f"http://127.0.0.1:{ports[name]}" for name in programs}
        for name, process in processes.items():
            await_health(addresses[name], process)
        yield addresses
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(10)


class Recorder:
    """A server that answers every call with what any of the shop's services would be content with."""

    ANSWER = b"""{"name": "Ada", "tier": "standard", "currency": "EUR", "price": "1.00", "order": 1,
                  "charged": "1.00 EUR"}"""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str]]] = []
        """(path, header fields with names in lower case), in order."""
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                recorder.calls.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(recorder.ANSWER)))
                self.end_headers()
                self.wfile.write(recorder.ANSWER)

            do_GET = do_POST = answer  # noqa: N815 (the names are those of http.server)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def shop() -> Iterator[dict[str, str]]:
    """Name -> URL of the six services and the three versions of `users`."""
    names = (
        "frontend", "users", "catalog", "orders", "payments", "rates", "users_v2", "users_v3_buggy", "users_v3_fixed",
    )  # fmt: skip
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    urls = {f"{name.upper()}_URL": f"http://127.0.0.1:{port}" for name, port in ports.items()}
    with running({name: (f"{name}.py", urls) for name in names}, ports) as addresses:
        yield addresses


@pytest.fixture(scope="module")
def recorded() -> Iterator[tuple[dict[str, str], Recorder]]:
    """The four services that call others, every one of their calls of HTTP/1.1 going to the recorder."""
    names = ("frontend", "catalog", "orders", "payments", "rates")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    recorder = Recorder()
    urls = {f"{name}_URL": recorder.url for name in ("USERS", "CATALOG", "ORDERS", "PAYMENTS")}
    urls["RATES_URL"] = f"http://127.0.0.1:{ports['rates']}"
    try:
        with running({name: (f"{name}.py", urls) for name in names}, ports) as addresses:
            yield addresses, recorder
    finally:
        recorder.close()

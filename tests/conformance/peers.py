"""The proxies under test, each started with the same lanes on free ports and stopped by its own process id.

HAProxy and nginx are configured as a cautious operator would: HTTP/1.1 with keep-alive to the client, one upstream
per listener, no retry, no buffering of what they need not hold, and short time-outs, so that a case on which they
wait for more ends by itself. `Relay` forwards every byte unseen; it is what the harness has to find guilty.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.conformance.lanes import Ends
from tests.tools import find

READY = 20.0
"""Seconds for a proxy to listen on every port of its lanes."""

PATIENCE = 1
"""Seconds that HAProxy and nginx wait for the rest of a message."""


class PeerError(Exception):
    """A proxy that did not start; the message holds its last words."""


class Proxy:
    """How one proxy is started. `name` stands in reports and in the list of differences."""

    name = ""
    sides: Sequence[str] = ("inbound",)

    def command(self, lanes: Sequence[Ends], folder: Path) -> list[str]:
        """The command line; configuration files go into `folder`."""
        raise NotImplementedError

    @contextlib.contextmanager
    def running(self, lanes: Sequence[Ends]) -> Iterator[None]:
        """The proxy as a process, ready on every lane; it has ended when the block is left."""
        with tempfile.TemporaryDirectory(prefix="skycap-conformance-") as name:
            folder = Path(name)
            log = folder / "log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    self.command(lanes, folder), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder,
                    env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
                )  # fmt: skip
            try:
                self._ready(lanes, process, log)
                yield
                if process.poll() is not None:
                    raise PeerError(f"{self.name} died with {process.returncode}:\n{_tail(log)}")
                if b"Traceback" in log.read_bytes():
                    raise PeerError(f"{self.name} was surprised:\n{_tail(log)}")
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    try:
                        process.wait(10)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()

    def _ready(self, lanes: Sequence[Ends], process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + READY
        for lane in lanes:
            while True:
                try:
                    socket.create_connection(lane.listener, 1).close()
                    break
                except OSError as error:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise PeerError(f"{self.name} on {lane!r}: {error}\n{_tail(log)}") from None
                    time.sleep(0.02)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


class Skycap(Proxy):
    """The sidecar, with all three kinds of listener and an empty routes file."""

    name = "skycap"
    sides = ("inbound", "outbound", "forward")

    def command(self, lanes: Sequence[Ends], folder: Path) -> list[str]:
        routes = folder / "routes.yaml"
        routes.write_text("routes: []\n")
        flags = [sys.executable, "-m", "proxy", "--workload", "shop/users", "--routes", str(routes)]
        for lane in lanes:
            listen = f"{lane.listener[0]}:{lane.listener[1]}"
            if lane.side == "inbound":
                flags += ["--inbound", f"{listen}={lane.authority.decode()}"]
            elif lane.side == "outbound":
                flags += ["--outbound", f"{listen}={lane.authority.decode()}"]
            else:
                flags += ["--outbound", listen]
        return flags


class HAProxy(Proxy):
    """One thread, strict parsing (the default), a frontend and a backend per lane."""

    name = "haproxy"

    def command(self, lanes: Sequence[Ends], folder: Path) -> list[str]:
        lines = [
            "global", "  nbthread 1", "  maxconn 4000", "  tune.bufsize 131072", "  tune.http.maxhdr 256",
            "defaults", "  mode http", "  retries 0", "  http-reuse never", "  timeout connect 2s",
            f"  timeout client {PATIENCE}s", f"  timeout server {PATIENCE * 2}s",
            f"  timeout http-request {PATIENCE}s", f"  timeout http-keep-alive {PATIENCE * 5}s",
        ]  # fmt: skip
        for index, lane in enumerate(lanes):
            lines += [
                f"listen lane{index}", f"  bind {lane.listener[0]}:{lane.listener[1]}",
                f"  server origin {lane.authority.decode()}",
            ]  # fmt: skip
        config = folder / "haproxy.cfg"
        config.write_text("\n".join(lines) + "\n")
        return [find("haproxy") or "haproxy", "-db", "-q", "-f", str(config)]


class Nginx(Proxy):
    """One worker, a server and an upstream per lane, request bodies passed on as they come."""

    name = "nginx"

    def command(self, lanes: Sequence[Ends], folder: Path) -> list[str]:
        servers = "".join(
            f"""
  server {{
    listen {lane.listener[0]}:{lane.listener[1]};
    location / {{ proxy_pass http://{lane.authority.decode()}; }}
  }}"""
            for lane in lanes
        )
        temporary = "".join(
            f"\n  {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = folder / "nginx.conf"
        config.write_text(f"""daemon off;
worker_processes 1;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4000; }}
http {{
  access_log off;{temporary}
  client_header_buffer_size 64k;
  large_client_header_buffers 4 64k;
  client_max_body_size 0;
  client_header_timeout {PATIENCE}s;
  client_body_timeout {PATIENCE}s;
  keepalive_timeout {PATIENCE * 5}s;
  lingering_close off;
  proxy_http_version 1.1;
  proxy_request_buffering off;
  proxy_buffering off;
  proxy_set_header Host $http_host;
  proxy_set_header Connection "";
  proxy_read_timeout {PATIENCE * 2}s;
  proxy_next_upstream off;
  proxy_ignore_client_abort on;{servers}
}}
""")
        return [find("nginx") or "nginx", "-c", str(config), "-p", str(folder), "-e", f"{folder}/error.log"]


class Relay(Proxy):
    """Bytes in, bytes out: what a proxy without any check does. It exists to be found guilty."""

    name = "relay"

    def command(self, lanes: Sequence[Ends], folder: Path) -> list[str]:
        pairs = [f"{lane.listener[1]}={lane.authority.decode()}" for lane in lanes]
        return [sys.executable, "-m", "tests.conformance.relay", *pairs]

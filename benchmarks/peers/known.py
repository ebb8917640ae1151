"""Skycap, Envoy, HAProxy, nginx and the plain aiohttp proxy."""

from __future__ import annotations

import json
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks import builds
from benchmarks.peers.peer import Peer, Site
from benchmarks.scenario import SKYCAP, SKYCAP_INTERPRETED
from benchmarks.template import Values, render
from benchmarks.tools import version_of
from benchmarks.traffic import KEY_PREFIX

_HERE = Path(__file__).resolve().parent
_PROJECT = _HERE.parent.parent


def _configuration(template: str, site: Site, protocol: Values) -> Path:
    path = site.folder / template
    path.write_text(render((_HERE / template).read_text(), {**site.values(), **protocol}, site.sections()))
    return path


class Skycap:
    """The sidecar as it is delivered: routes from a file that it watches, metrics, correlation, admin listener.

    build: of `benchmarks.builds`.
    """

    program = ""
    http2 = True

    def __init__(self, name: str, build: str) -> None:
        self.name = name
        self.build = build

    def command(self, site: Site, program: Path) -> list[str]:
        path = site.folder / "routes.json"
        path.write_text(routes(site))
        found = os.pathsep.join([str(builds.folder(self.build)), str(_PROJECT)])
        command = [
            "env",
            f"PYTHONPATH={found}",
            str(program),
            "-m",
            "proxy",
            "--workload",
            site.workload,
            "--routes",
            str(path),
        ]
        for hop in site.hops:
            side = "--inbound" if hop.inbound else "--outbound"
            command += [side, f"127.0.0.1:{hop.listen}=127.0.0.1:{hop.target}"]
        return [*command, "--admin", f"127.0.0.1:{site.admin}"]

    def ready_path(self) -> str:
        return "/ready"

    def version(self, program: Path) -> str:
        return version("skycap")

    def prepare(self) -> None:
        """Raises ToolMissing where it cannot be built."""
        builds.make(self.build)


_ENVOY_HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


class Envoy:
    """One worker thread; hot restart off, because it would meet other Envoys of the machine in shared memory."""

    name = "envoy"
    program = "envoy"
    http2 = True

    def command(self, site: Site, program: Path) -> list[str]:
        http2 = {"CODEC": "HTTP2", "UPSTREAM": json.dumps(_ENVOY_HTTP2)}
        path = _configuration("envoy.yaml", site, http2 if site.http2 else {"CODEC": "HTTP1", "UPSTREAM": "{}"})
        return [
            str(program), "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error",
        ]  # fmt: skip

    def ready_path(self) -> str:
        return "/ready"

    def version(self, program: Path) -> str:
        found = re.search(r"/([0-9]+\.[0-9]+\.[0-9]+)/", version_of([str(program), "--version"]))
        return found[1] if found else "unknown"


class HAProxy:
    """In the foreground, one thread."""

    name = "haproxy"
    program = "haproxy"
    http2 = True

    def command(self, site: Site, program: Path) -> list[str]:
        path = _configuration("haproxy.cfg", site, {"PROTO": " proto h2" if site.http2 else ""})
        return [str(program), "-db", "-q", "-f", str(path)]

    def ready_path(self) -> str:
        return ""

    def version(self, program: Path) -> str:
        found = re.search(r"([0-9]+\.[0-9]+\.[0-9]+)", version_of([str(program), "-v"]))
        return found[1] if found else "unknown"


class Nginx:
    """A single process that is master and worker in one. HTTP/2 to the application is `grpc_pass`."""

    name = "nginx"
    program = "nginx"
    http2 = True

    def command(self, site: Site, program: Path) -> list[str]:
        http2 = {"PROTO": " http2", "PASS": "grpc_pass grpc"}
        path = _configuration("nginx.conf", site, http2 if site.http2 else {"PROTO": "", "PASS": "proxy_pass http"})
        return [str(program), "-p", str(site.folder), "-c", str(path), "-e", "stderr"]

    def ready_path(self) -> str:
        return ""

    def version(self, program: Path) -> str:
        return version_of([str(program), "-v"]).rpartition("/")[2]


class AiohttpProxy:
    """What Python costs when one writes it the usual way: `aiohttp_proxy.py`."""

    name = "aiohttp"
    program = ""
    http2 = False

    def command(self, site: Site, program: Path) -> list[str]:
        hops = [f"{hop.listen}={hop.target}" + (f",{hop.shadow}" if hop.shadow else "") for hop in site.hops]
        return [str(program), "-m", "benchmarks.peers.aiohttp_proxy", KEY_PREFIX, *hops]

    def ready_path(self) -> str:
        return ""

    def version(self, program: Path) -> str:
        return version("aiohttp")


def routes(site: Site) -> str:
    """A routes file in which every key of the site leads to the shadow of its inbound hop, if it has one."""
    shadow = next((hop.shadow for hop in site.hops if hop.shadow), 0)
    listed = [
        {"workload": site.workload, "key": key, "endpoints": [f"127.0.0.1:{shadow}"]}
        for key in (site.keys if shadow else ())
    ]
    return json.dumps({"routes": listed})


INTERPRETER = Path(sys.executable)
"""What runs the peers that have no program of their own."""

ALL_PEERS: tuple[Peer, ...] = (
    Skycap(SKYCAP, builds.COMPILED),
    Skycap(SKYCAP_INTERPRETED, builds.INTERPRETED),
    Envoy(),
    HAProxy(),
    Nginx(),
    AiohttpProxy(),
)

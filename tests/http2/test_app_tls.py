"""Applications that speak TLS behind a sidecar that ends the TLS of their clients, with real programs at both ends."""

from __future__ import annotations

import contextlib
import re
import ssl
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest

from tests.certificates import issue
from tests.http2.conftest import KEY, Place
from tests.http2.test_tls import curl, offered
from tests.proxy.net.rig import eventually, on_uvloop
from tests.tools import require

pytestmark = pytest.mark.timeout(180)
BIG = bytes(range(256)) * 12_000


def folder(parent: Path, name: str) -> tuple[Path, Path]:
    parent.joinpath(name).mkdir()
    return issue(parent / name, name)


def serve_http1(place: Place, pair: tuple[Path, Path]) -> None:
    for port, name in ((place.app, "base"), (place.shadow, "shadow")):
        place.serve(
            sys.executable, "-m", "tests.http2.secure", str(port), *map(str, pair), name, port=port, ends_with=0
        )


def test_http1(place: Place, tmp_path: Path) -> None:
    clients, apps = folder(tmp_path, "clients"), folder(tmp_path, "apps")
    serve_http1(place, apps)
    place.guard("--inbound-tls", ",".join(map(str, clients)), "--app-tls", str(apps[0]))
    offered(place, clients[0], "http/1.1")
    on_uvloop(_talk)(place, clients[0])
    assert place.figure("skycap_requests_total", 'decision="shadow",direction="inbound",status="2xx"') == 1
    assert place.figure("skycap_spliced_bytes_total", 'direction="inbound"') == 0


def sockets() -> int:
    """How many this process has."""
    held = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            held += str(descriptor.readlink()).startswith("socket:")
    return held


async def _talk(place: Place, chain: Path) -> None:
    at, keyed = f"https://127.0.0.1:{place.port}", {"baggage": f"routing-key={KEY}"}
    before = sockets()
    trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(chain)))
    async with aiohttp.ClientSession(connector=trusting, timeout=aiohttp.ClientTimeout(60)) as client:
        async with client.get(at) as answer:
            assert await answer.text() == "base:"
        async with client.post(at, data=BytesIO(BIG), headers=keyed) as answer:
            assert (await answer.text(), answer.headers["x-size"]) == ("shadow:", str(len(BIG)))
            assert answer.headers["skycap-served-by"] == f"shop/users;sandbox={KEY};rev=1"
        async with client.post(f"{at}/stream", data=BytesIO(BIG)) as answer:
            assert await answer.read() == BIG
        async with client.ws_connect(f"{at}/ws", headers=keyed) as socket:
            for text in ("one", "x" * 300_000):
                await socket.send_str(text)
                assert await socket.receive_str(timeout=20) == f"shadow:{text}"
    await eventually(lambda: sockets() == before)  # aiohttp does not wait for an end of TLS


def test_http2(place: Place, tmp_path: Path) -> None:
    require("nghttpd", "curl")
    clients, apps = folder(tmp_path, "clients"), folder(tmp_path, "apps")
    (tmp_path / "index.html").write_bytes(BIG)
    for port in (place.app, place.shadow):
        serve = ["nghttpd", "-d", str(tmp_path), "--echo-upload", "-a", "127.0.0.1", str(port)]
        place.serve(*serve, str(apps[1]), str(apps[0]), port=port)
    place.guard("--inbound-tls", ",".join(map(str, clients)), "--app-tls")
    offered(place, clients[0], "h2")
    head, _, body = curl(place, clients[0], "--http2").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/2 200")
    assert body == BIG
    upload = tmp_path / "upload"
    upload.write_bytes(BIG * 2)
    more = ["--http2", "-H", f"baggage: routing-key={KEY}", "--data-binary", f"@{upload}"]
    head, _, body = curl(place, clients[0], *more).partition(b"\r\n\r\n")
    assert b"skycap-served-by: shop/users;sandbox=agent-42" in head
    assert body == BIG * 2


def test_an_application_that_is_not_trusted_until_its_authority_is(place: Place, tmp_path: Path) -> None:
    clients, apps, others = (folder(tmp_path, name) for name in ("clients", "apps", "others"))
    serve_http1(place, apps)
    place.guard("--inbound-tls", ",".join(map(str, clients)), "--app-tls", str(others[0]))
    head, _, body = curl(place, clients[0]).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502")
    assert re.search(rb"its certificate is not trusted \(self.signed certificate\)", body)
    apps[0].with_suffix(".new").write_bytes(apps[0].read_bytes())
    apps[0].with_suffix(".new").replace(others[0])
    deadline = time.monotonic() + 20
    while not curl(place, clients[0]).startswith(b"HTTP/1.1 200"):
        assert time.monotonic() < deadline


def test_a_file_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    chain, key = issue(tmp_path, "users")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    for more in ([], ["--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "proxy", "--workload", "shop/users", "--inbound", "127.0.0.1:0=127.0.0.1:9",
             "--inbound-tls", f"{chain},{key}", "--app-tls", str(nonsense), *more],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert f"--app-tls {nonsense}: not certificates in PEM (" in line

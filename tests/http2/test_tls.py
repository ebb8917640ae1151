"""TLS at an inbound listener, with real clients: curl over both versions, grpcio, and a certificate that changes."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from proxy.base.problems import ConfigurationError
from proxy.contract.routes import Endpoint
from proxy.net.tls import Certificate, speaks_http2
from proxy.wire.h2.settings import settings_frame
from tests.certificates import issue
from tests.http2.conftest import KEY, Place
from tests.proxy.net.rig import on_uvloop, origin
from tests.tools import require

pytestmark = pytest.mark.timeout(180)
APP = Endpoint("127.0.0.1", 9)


def curl(place: Place, chain: Path, *more: str) -> bytes:
    command = ["curl", "-sS", "--cacert", str(chain), "-D", "-", *more, f"https://127.0.0.1:{place.port}/"]
    return subprocess.run(command, check=True, capture_output=True, timeout=30).stdout


def offered(place: Place, chain: Path, protocol: str) -> None:
    """Return when clients are offered so much: the application has been asked what it speaks."""
    deadline = time.monotonic() + 20
    context = ssl.create_default_context(cafile=str(chain))
    context.set_alpn_protocols(["h2", "http/1.1"])
    while True:
        with (
            socket.create_connection(("127.0.0.1", place.port)) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
        ):
            if tls.selected_alpn_protocol() == protocol:
                return
        assert time.monotonic() < deadline


def test_an_application_of_http1(place: Place, tmp_path: Path) -> None:
    require("curl")
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "index.html").write_bytes(b"x" * 600_000)
    chain, key = issue(tmp_path, "one")
    serve = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "-d", str(tmp_path / "www")]
    for port in (place.app, place.shadow):
        place.serve(*serve, str(port), port=port)
    place.guard("--inbound-tls", f"{chain},{key}")
    offered(place, chain, "http/1.1")
    for field, told in (("x-own: 1", False), (f"baggage: routing-key={KEY}", True)):
        head, _, body = curl(place, chain, "-H", field).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert (b"skycap-served-by: shop/users;sandbox=agent-42" in head) == told
        assert body == b"x" * 600_000
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(["curl", "-sS", f"http://127.0.0.1:{place.port}/"], check=True, capture_output=True, timeout=30)
    again = tmp_path / "again"
    again.mkdir()
    for new, old in zip(issue(again, "two"), (chain, key), strict=True):
        os.replace(new, old)  # noqa: PTH105
    assert curl(place, chain).startswith(b"HTTP/1.1 200"), "the new one is in use"


def test_an_application_of_grpc(place: Place, tmp_path: Path) -> None:
    chain, key = issue(tmp_path, "one")
    for port, name in ((place.app, "base"), (place.shadow, "shadow")):
        place.serve(sys.executable, "-m", "tests.http2.shop", str(port), name, port=port)
    place.guard("--inbound-tls", f"{chain},{key}")
    offered(place, chain, "h2")
    credentials = grpc.ssl_channel_credentials(chain.read_bytes())
    with grpc.secure_channel(f"localhost:{place.port}", credentials) as channel:
        unary: Any = channel.unary_unary("/shop.Users/Unary")
        assert unary(b"a", timeout=20, wait_for_ready=True) == b"base:a"
        assert unary(b"b", timeout=20, metadata=(("baggage", f"routing-key={KEY}"),)) == b"shadow:b"
        assert unary(b"c" * 3_000_000, timeout=20) == b"base:" + b"c" * 3_000_000


def test_a_pair_that_cannot_be_used(tmp_path: Path) -> None:
    chain, key = issue(tmp_path, "one")
    with pytest.raises(ConfigurationError) as raised:
        Certificate(tmp_path / "missing.pem", key, APP)
    assert raised.value.problems == [f"--inbound-tls {tmp_path}/missing.pem,{key}: no such file or directory"]
    certificate = Certificate(chain, key, APP)
    assert repr(certificate) == f"<Certificate {chain} offers=http/1.1>"
    chain.write_text("nonsense")
    with pytest.raises(ConfigurationError, match="not a certificate"):
        Certificate(chain, key, APP)


def test_the_last_good_pair_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chain, key = issue(tmp_path, "one")
    certificate = Certificate(chain, key, APP)
    chain.write_text("nonsense")
    for _ in range(2):
        certificate.refresh()
    assert len(caplog.records) == 1
    assert "the certificate before stays in use" in caplog.text


@on_uvloop
async def test_what_an_application_speaks() -> None:
    async with origin(greeting=settings_frame(())) as app:
        assert await speaks_http2(app.endpoint) is True
    async with origin(greeting=b"HTTP/1.1 400 Bad Request\r\n") as app:
        assert await speaks_http2(app.endpoint) is False
    with pytest.raises(ConnectionRefusedError):
        await speaks_http2(app.endpoint)

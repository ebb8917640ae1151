"""TLS to applications, on real sockets: what is verified, how a handshake fails, what is offered."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.base.problems import ConfigurationError
from proxy.contract.routes import Endpoint
from proxy.net.app_tls import AppTls, HandshakeError
from proxy.net.tls import TlsStream, speaks_http2
from proxy.wire.h2.frames import END_STREAM, PREFACE, data_frame, header_frames
from proxy.wire.h2.settings import SETTINGS_ACK, settings_frame
from tests.certificates import issue
from tests.proxy.net.rig import Borrower, Line, Net, client, eventually, net, on_uvloop, origin
from tests.proxy.net.test_listener import GET, OK, address, listener

ASK = PREFACE + settings_frame(()) + SETTINGS_ACK + header_frames(1, END_STREAM, b"\x82\x86\x84")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return issue(tmp_path_factory.mktemp("pair"), "users")


@asynccontextmanager
async def secure_origin(pair: tuple[Path, Path], *protocols: str) -> AsyncIterator[Lines]:
    """An application with TLS, and the lines of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.set_alpn_protocols(list(protocols))
    lines = Lines()
    server = await asyncio.get_running_loop().create_server(lines.accept, "127.0.0.1", 0, ssl=context)
    lines.endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield lines
    finally:
        server.close()
        for line in lines:
            await line.gone()


class Lines(list[Line]):
    endpoint = Endpoint("127.0.0.1", 0)

    def accept(self) -> Line:
        line = Line(keep_open=False)
        self.append(line)
        return line

    async def line(self, number: int = 0) -> Line:
        await eventually(lambda: len(self) > number and self[number].transport is not None)
        return self[number]


async def failure(parts: Net, endpoint: Endpoint) -> str:
    """Why there is no connection."""
    pool, borrower = parts.pools(endpoint), Borrower()
    pool.dial(borrower)
    await eventually(lambda: borrower.events)
    assert pool.unused, "nothing of it is left"
    return borrower.events[0].removeprefix("failed: ")


@on_uvloop
async def test_a_certificate_of_the_authority(pair: tuple[Path, Path]) -> None:
    async with net(tls=AppTls(pair[0])) as parts, secure_origin(pair, "http/1.1") as app:
        pool = parts.pools(app.endpoint)
        borrower = await parts.borrow(pool)
        assert borrower.upstream is not None
        assert isinstance(borrower.upstream.stream, TlsStream), "whose bytes no splice may move"
        borrower.upstream.stream.write(b"hello")
        line = await app.line()
        await line.receives(b"hello")
        borrower.keep_open = True
        line.send(b"bye")
        await borrower.hears(b"bye")
        line.wire.close()
        await borrower.happens("lost")


@on_uvloop
async def test_nobody_is_verified_without_one(pair: tuple[Path, Path]) -> None:
    async with net(tls=AppTls()) as parts, secure_origin(pair) as app:
        borrower = await parts.borrow(parts.pools(app.endpoint))
        assert borrower.events == ["connected"]


@on_uvloop
async def test_a_name_is_verified_and_an_address_is_not(pair: tuple[Path, Path]) -> None:
    async with net(tls=AppTls(pair[0])) as parts, secure_origin(pair) as app:
        parts.names = {"users.shop": ("127.0.0.1",), "payments.shop": ("127.0.0.1",)}
        await parts.borrow(parts.pools(Endpoint("users.shop", app.endpoint.port)))
        why = await failure(parts, Endpoint("payments.shop", app.endpoint.port))
        assert why.startswith(
            "its certificate is not trusted (Hostname mismatch, certificate is not valid for 'payments"
        )
        await parts.borrow(parts.pools(Endpoint("localhost", app.endpoint.port)))


@on_uvloop
async def test_a_stranger(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = issue(tmp_path, "users")
    async with net(tls=AppTls(other[0])) as parts, secure_origin(pair) as app:
        assert await failure(parts, app.endpoint) == "its certificate is not trusted (self-signed certificate)"


@on_uvloop
async def test_an_application_without_tls(pair: tuple[Path, Path]) -> None:
    async with net(tls=AppTls(pair[0])) as parts, origin(b"HTTP/1.1 400 Bad Request\r\n\r\n") as app:
        assert await failure(parts, app.endpoint) == "it does not speak TLS"


@on_uvloop
async def test_a_handshake_that_is_refused(pair: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.set_ciphers("AES256-SHA")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server = await asyncio.get_running_loop().create_server(Line, "127.0.0.1", 0, ssl=context)
    try:
        async with net(tls=AppTls(pair[0])) as parts:
            why = await failure(parts, Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]))
            assert why.startswith(("the TLS handshake failed (", "the connection was "))
    finally:
        server.close()


@pytest.mark.parametrize("how", ["reset", "ended"])
@on_uvloop
async def test_a_connection_that_ends_in_the_handshake(how: str, pair: tuple[Path, Path]) -> None:
    async with net(tls=AppTls(pair[0])) as parts, origin() as app:
        borrower, pool = Borrower(), parts.pools(app.endpoint)
        pool.dial(borrower)
        line = await app.line()
        await line.until(lambda: line.got)
        if how == "reset":
            line.reset()
        else:
            line.wire.close()
        await borrower.happens(f"failed: the connection was {how} in the TLS handshake")
        assert pool.unused


@on_uvloop
async def test_a_handshake_that_stalls_has_the_time_of_a_dial(pair: tuple[Path, Path]) -> None:
    async with net(tls=AppTls(pair[0])) as parts, origin() as app, listener(parts.inbound(app.endpoint)) as listening:
        for said, told in ((GET, b"HTTP/1.1 502"), (ASK, b"no connection in time")):
            async with client(address(listening)) as caller:
                caller.send(said)
                line = await app.line(len(app.lines))
                await line.until(lambda line=line: line.got)  # type: ignore[misc]
                parts.pass_ticks(parts.settings.connect_ticks + 1)
                await caller.until(lambda caller=caller, told=told: told in caller.got)  # type: ignore[misc]
                await line.is_told()
        assert parts.counters.inbound.timeouts["connect"] == 2


@on_uvloop
async def test_each_is_offered_what_the_client_speaks(pair: tuple[Path, Path]) -> None:
    async with (
        net(tls=AppTls(pair[0])) as parts,
        secure_origin(pair, "h2", "http/1.1") as app,
        listener(parts.inbound(app.endpoint)) as listening,
    ):
        async with client(address(listening)) as caller:
            caller.send(GET)
            line = await app.line()
            assert line.wire.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            await line.until(lambda: line.got.endswith(b"\r\n\r\n"))
            line.send(OK)
            await caller.until(lambda: caller.got.endswith(b"ok"))
        async with client(address(listening)) as caller:
            caller.send(ASK)
            streams = await app.line(1)
            assert streams.wire.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
            await streams.until(lambda: b"\x82\x86\x84" in streams.got)
            streams.send(settings_frame(()) + header_frames(1, 0, b"\x88") + data_frame(1, END_STREAM, b"hello"))
            await caller.until(lambda: caller.got.endswith(b"hello"))


@on_uvloop
async def test_an_application_that_has_no_http2(pair: tuple[Path, Path]) -> None:
    async with (
        net(tls=AppTls(pair[0])) as parts,
        secure_origin(pair, "http/1.1") as app,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as caller,
    ):
        caller.send(ASK)
        await caller.until(lambda: b"it does not offer HTTP/2 by ALPN" in caller.got)


@on_uvloop
async def test_what_was_dialled_for_a_silent_client_is_not_for_streams(pair: tuple[Path, Path]) -> None:
    async with (
        net(tls=AppTls(pair[0])) as parts,
        secure_origin(pair, "h2", "http/1.1") as app,
        listener(parts.inbound(app.endpoint), sniff_delay=0.001) as listening,
        client(address(listening)) as caller,
    ):
        await app.line()
        pool = parts.pools(app.endpoint)
        await eventually(lambda: len(pool.open) == 1)
        caller.send(ASK)
        await app.line(1)
        assert len(pool.idle) == 1
        chosen = [line.wire.get_extra_info("ssl_object").selected_alpn_protocol() for line in app]
        assert chosen == ["http/1.1", "h2"]


# -- the authority's file ------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    missing, nonsense = tmp_path / "missing.pem", tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    with pytest.raises(ConfigurationError) as raised:
        AppTls(missing)
    assert raised.value.problems == [f"--app-tls {missing}: no such file or directory"]
    with pytest.raises(ConfigurationError) as raised:
        AppTls(nonsense)
    assert raised.value.problems[0].startswith(f"--app-tls {nonsense}: not certificates in PEM (")
    assert repr(AppTls()) == "<AppTls not verified>"


@on_uvloop
async def test_it_is_read_again_when_it_changes(
    pair: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known, _ = issue(tmp_path, "somebody")
    trust = AppTls(known)
    async with net(tls=trust) as parts, secure_origin(pair) as app:
        assert "not trusted" in await failure(parts, app.endpoint)
        _replace(known, pair[0].read_bytes())
        await parts.borrow(parts.pools(app.endpoint))
        _replace(known, b"nonsense")
        for _ in range(2):
            await parts.borrow(parts.pools(app.endpoint))
        known.unlink()
        await parts.borrow(parts.pools(app.endpoint))
        said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert len(said) == 2
        assert all(text.endswith("those before stay in use") for text in said)
    assert repr(trust) == f"<AppTls verified by {known}>"


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, path)  # noqa: PTH105


# -- what clients are offered --------------------------------------------------------------------------------------


@on_uvloop
async def test_what_it_speaks_is_asked_by_alpn(pair: tuple[Path, Path]) -> None:
    for protocols, speaks in ((("h2", "http/1.1"), True), (("http/1.1",), False), ((), False)):
        async with secure_origin(pair, *protocols) as app:
            assert await speaks_http2(app.endpoint, AppTls(pair[0])) is speaks
    with pytest.raises(ConnectionRefusedError):
        await speaks_http2(app.endpoint, AppTls())
    async with origin(b"hello, I am no TLS") as plain:
        with pytest.raises(HandshakeError, match="does not speak TLS"):
            await speaks_http2(plain.endpoint, AppTls())

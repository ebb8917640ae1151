"""A real gateway before a registry that is reached by TLS: it has the pages about a sandbox all the same."""

from __future__ import annotations

import asyncio
import os
import ssl
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from controlplane.api.access import Role
from controlplane.model.handoff import PreviewRequest
from proxy.base.programs import program
from tests.acceptance.running import free_port
from tests.certificates import issue
from tests.controlplane.api.served import TOKENS, Served
from tests.controlplane.api.test_previews import NAME, environment


@asynccontextmanager
async def behind_tls(port: int, chain: Path, key: Path) -> AsyncIterator[int]:
    """What ends TLS in front of a registry, as an ingress does. Its port."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, forth), carry(back, writer))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


@asynccontextmanager
async def gateway(registry: str, folder: Path, trusted: Path) -> AsyncIterator[int]:
    """A gateway that trusts `trusted`, once it listens. Its port."""
    port = free_port()
    token = folder / "token"
    token.write_text(TOKENS[Role.SIDECAR])
    told = {name: value for name, value in os.environ.items() if not name.startswith("SKYCAP_")}
    process = await asyncio.create_subprocess_exec(
        *program("proxy"), "--workload", "skycap/gateway", "--gateway", f"127.0.0.1:{port}",
        "--registry", registry, "--token-file", str(token), env={**told, "SSL_CERT_FILE": str(trusted)}, stderr=PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        while b"listens on" not in (line := await process.stderr.readline()):
            assert line, "it has ended"
        yield port
    finally:
        process.terminate()
        await process.communicate()


async def page(port: int, host: str) -> tuple[int, str]:
    """Of the page about the change, as soon as the gateway knows the link."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(20):
        while True:
            async with http.get(f"http://127.0.0.1:{port}/~skycap/", headers={"host": host}) as answer:
                if answer.status != 404:
                    return answer.status, await answer.text()
            await asyncio.sleep(0.05)


async def test_the_pages_of_a_registry_behind_tls(api: Served, tmp_path: Path) -> None:
    await environment(api)
    made = await api.client.create_preview(NAME, PreviewRequest())
    host = (made.url or "").split("/")[2]
    chain, key = issue(tmp_path, "registry")
    async with (
        behind_tls(api.port, chain, key) as secure,
        gateway(f"https://localhost:{secure}", tmp_path, chain) as port,
    ):
        status, text = await page(port, host)
    assert (status, "<title>" in text) == (200, True)


async def test_a_registry_that_nobody_vouches_for_has_none(api: Served, tmp_path: Path) -> None:
    """Neither links nor pages: its certificate is not trusted, and the token is not told to it."""
    (tmp_path / "other").mkdir()
    chain, key = issue(tmp_path, "registry")
    other, _ = issue(tmp_path / "other", "other")
    asked = len(api.registry.watchers)
    async with (
        behind_tls(api.port, chain, key) as secure,
        gateway(f"https://localhost:{secure}", tmp_path, other) as port,
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{port}/~skycap/", headers={"host": "a.localhost"}) as answer,
    ):
        assert answer.status == 404
    assert len(api.registry.watchers) == asked

"""`skycap mcp`: the tools of an agent, on standard input and output or over HTTP."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from controlplane.cli.command import Command
from controlplane.cli.failures import INTERRUPTED, MEANINGS, USAGE
from controlplane.cli.registry import Registry, registry_options
from proxy.base.listen import Listen, parse_listen
from proxy.base.log import LEVELS, configure
from proxy.base.token import read_token


def _listen(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Listen | None:
    if value is None:
        return None
    try:
        return parse_listen(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _token(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> str | None:
    if value is None:
        return None
    try:
        return read_token(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(
    cls=Command,
    exits={
        0: "the client has gone, or it was stopped as asked",
        USAGE: "not started: a bad option, a busy port, a token that cannot be read",
        INTERRUPTED: MEANINGS[INTERRUPTED],
    },
)
@click.option(
    "--http",
    "listen",
    metavar="HOST:PORT",
    callback=_listen,
    envvar="SKYCAP_MCP_HTTP",
    show_envvar=True,
    help="Serve streamable HTTP at /mcp instead of standard input and output; port 0: a free one.",
)
@click.option(
    "--http-token-file",
    "token",
    type=click.Path(path_type=Path),
    callback=_token,
    envvar="SKYCAP_MCP_HTTP_TOKEN_FILE",
    show_envvar=True,
    help="Holds the bearer token of its clients. Needed unless it listens on loopback, where one is made.",
)
@click.option(
    "--log-level", type=click.Choice(LEVELS), default="warning", envvar="SKYCAP_LOG_LEVEL", help="Of standard error."
)
@registry_options
def mcp(listen: Listen | None, token: str | None, log_level: str, registry: Registry) -> None:
    """Serve the tools of Skycap to an agent: the Model Context Protocol.

    A client starts it and speaks on standard input and output; nobody types there. With --http many clients share one.

    \b
    claude mcp add skycap -- skycap mcp
    skycap mcp --http 127.0.0.1:7171
    """
    if token is not None and listen is None:
        raise click.UsageError("--http-token-file is for --http, which is not given")
    configure(log_level)
    if listen is None:
        _on_standard_streams(registry)
    else:
        _over_http(registry, listen, token)


def _on_standard_streams(registry: Registry) -> None:
    from controlplane.mcp.server import build

    async def main() -> None:
        async with registry.client() as client:
            await build(client).run_stdio_async()

    asyncio.run(main())


def _over_http(registry: Registry, listen: Listen, token: str | None) -> None:
    from controlplane.mcp.http import Served, serve

    def said(served: Served) -> None:
        click.echo(f"skycap mcp listens on {served.url}")
        if served.token_file:
            click.echo(f"its clients send the bearer token in {served.token_file}")

    async def main() -> None:
        served = Served(listen, token, os.environ)
        try:
            async with registry.client() as client:
                await serve(client, served, said)
        finally:
            served.close()

    asyncio.run(main())

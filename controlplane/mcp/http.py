"""The server over HTTP: streamable HTTP at `/mcp`, for whoever has the bearer token.

The token is that of a file, or, on loopback, one that is made at the start and written where our own programs look for
the registry's (`proxy.base.access`), for its owner only.
"""

from __future__ import annotations

import asyncio
import hmac
import signal
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager

import uvicorn
from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl

from controlplane.api.access import Role
from controlplane.client import Client
from controlplane.mcp.server import build
from controlplane.settings import is_loopback
from controlplane.tokens import Tokens
from proxy.base.access import USER, token_folder
from proxy.base.listen import Listen, bind
from proxy.base.problems import ConfigurationError

PATH = "/mcp"

BACKLOG = 128

END_SECONDS = 2
"""For calls under way when the server ends."""


class OneToken(TokenVerifier):
    """Whoever has the token may do everything."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    async def verify_token(self, token: str) -> AccessToken | None:
        if not hmac.compare_digest(token.encode(), self._token):
            return None
        return AccessToken(token=token, client_id="skycap", scopes=[])


class Served:
    """The sockets and the token of one server, until `close`. Raises ConfigurationError when there can be none.

    token: None: one is made and written, which is only for loopback.
    """

    def __init__(self, listen: Listen, token: str | None, environ: Mapping[str, str]) -> None:
        if token is None and not is_loopback(listen.host):
            raise ConfigurationError([f"--http {listen}: other machines reach it, so --http-token-file is needed"])
        try:
            self.sockets: Sequence[socket.socket] = bind(listen, BACKLOG)
        except OSError as error:
            raise ConfigurationError([f"--http {listen}: cannot listen there: {error.strerror or error}"]) from None
        addresses = [(str(host), int(port)) for host, port, *_ in (bound.getsockname() for bound in self.sockets)]
        self.url = f"http://{Listen(listen.host, addresses[0][1])}{PATH}"
        self._tokens: Tokens | None = None
        self.token_file = ""
        if token is None:
            # Of the three roles it has only that of a user.
            self._tokens = Tokens({role: "-" for role in Role if role is not Role.USER}, addresses, environ)
            file = token_folder(addresses[0][0], addresses[0][1], environ) / USER
            token, self.token_file = file.read_text().strip(), str(file)
        self.verifier = OneToken(token)

    def close(self) -> None:
        for bound in self.sockets:
            bound.close()
        if self._tokens is not None:
            self._tokens.remove()


class _Server(uvicorn.Server):
    """One whose signals are ours: its own way ends the process before anybody can put things in order."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def end(self) -> None:
        self.should_exit = True


async def serve(registry: Client, served: Served, listening: Callable[[Served], None]) -> None:
    """Until SIGTERM or Ctrl-C."""
    # The SDK asks who issues tokens, for its OAuth pages; there are none, since no token is issued here.
    auth = AuthSettings(issuer_url=AnyHttpUrl(served.url), resource_server_url=None)
    server: MCPServer = build(registry, auth, served.verifier)
    host = served.url.split("//")[1].rsplit(":", 1)[0].strip("[]")
    app = server.streamable_http_app(streamable_http_path=PATH, host=host)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=END_SECONDS,
        server_header=False,
    )
    running = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.end)
    listening(served)
    await running.serve(list(served.sockets))

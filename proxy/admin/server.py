"""The admin listener's life. aiohttp is imported when it starts, after the data path's listeners are open."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from proxy.admin.port import Shown
from proxy.base.problems import ConfigurationError
from proxy.contract.routes import Endpoint

if TYPE_CHECKING:
    from aiohttp.web import AppRunner

STOP_SECONDS = 1.0
"""For answers under way when the sidecar ends; they are small."""


class AdminServer:
    """Listens on `listen` (port 0: any free one) once started, or on `sockets` that are bound already."""

    def __init__(self, listen: Endpoint, shown: Shown, sockets: Sequence[socket.socket] = ()) -> None:
        self._listen = listen
        self._shown = shown
        self._sockets = sockets
        self._runner: AppRunner | None = None

    def __repr__(self) -> str:
        return f"<AdminServer {self.address if self._runner else f'{self._listen} stopped'}>"

    @property
    def address(self) -> Endpoint:
        """Where it really listens."""
        assert self._runner is not None, "not started"
        host, port = self._runner.addresses[0][:2]
        return Endpoint(host, port)

    async def start(self) -> None:
        """Raises ConfigurationError when the address cannot be used."""
        from aiohttp import web

        from proxy.admin.application import application

        runner = web.AppRunner(
            application(self._shown), access_log=None, handle_signals=False, shutdown_timeout=STOP_SECONDS
        )
        await runner.setup()
        try:
            for bound in self._sockets:
                await web.SockSite(runner, bound).start()
            if not self._sockets:
                await web.TCPSite(runner, self._listen.host, self._listen.port).start()
        except OSError as error:
            await runner.cleanup()
            # asyncio writes the address into strerror; a failed look-up has a negative errno of its own.
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            if error.errno == errno.EADDRINUSE:
                why = f"port {self._listen.port} is in use by another process"
            raise ConfigurationError([f"admin listener {self._listen}: {why}"]) from None
        self._runner = runner

    async def stop(self) -> None:
        """Idempotent."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

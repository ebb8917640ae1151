"""The one link to the registry: its address, our name there, the token, the session and the pace of coming back.

Whatever the sidecar tells the registry or asks of it goes through here, so that there is one place that reads the
token, one that follows no redirection, and one that lets 500 sidecars come back one after the other.

aiohttp is imported with the first request: a sidecar without a registry does not pay for it (13 MB, 150 ms).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from proxy.base.access import SIDECAR, local_token
from proxy.base.backoff import Backoff
from proxy.base.problems import ConfigurationError
from proxy.base.token import read_token
from proxy.contract.hops import HOPS_PATH
from proxy.contract.watch import REPORT_PATH, WATCH_PATH

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession


SHADOW_PAUSE = 0.5
"""Seconds that a sidecar beside a shadow waits before it speaks to the registry: nothing there depends on it, and the
application that starts needs the processor more than the import does."""

CONNECT_SECONDS = 3.0
"""For a registry to accept. Packets to a pod that has just gone vanish without an answer, and the next try meets
another one: a connection that takes a second attempt (RFC 6298 section 2.1) is given that, and no more."""


class RegistryLink:
    """
    url:        of the registry, without a path of its own: `http://127.0.0.1:7070`.
    instance:   the name under which this sidecar reports, unique per sidecar.
    token_file: read for every request, so that a rotated token is used without a restart. None: the token that the
                registry of our own user on this machine has written for its sidecars, if it is such a one.
    environ:    says where the state of our user is; our own environment by default.
    shadow:     whose sidecar it stands beside: then it waits SHADOW_PAUSE before its first request.
    """

    def __init__(
        self,
        url: str,
        instance: str,
        *,
        token_file: Path | None = None,
        environ: Mapping[str, str] | None = None,
        backoff: Backoff | None = None,
        shadow: bool = False,
    ) -> None:
        self._base = url.rstrip("/")
        self.instance = instance
        self._token_file = token_file
        self._environ = os.environ if environ is None else environ
        self._backoff = backoff or Backoff()
        self._pause = SHADOW_PAUSE if shadow else 0.0
        self._opening = asyncio.Lock()
        self._session: ClientSession | None = None
        self._hurry = asyncio.Event()
        self._said = ""

    def __repr__(self) -> str:
        return f"<RegistryLink {self._base} as {self.instance}>"

    @property
    def watch_url(self) -> str:
        return self._base + WATCH_PATH

    @property
    def report_url(self) -> str:
        return f"{self._base}{REPORT_PATH}/{quote(self.instance, safe='')}"

    @property
    def hops_url(self) -> str:
        return self._base + HOPS_PATH

    async def check(self) -> None:
        """What can be known before the first request. Raises ConfigurationError."""
        await self._authorization()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
        **more: Any,
    ) -> ClientResponse:
        """Ask for one answer, whose head has come when this returns; the caller releases it (`async with`).

        seconds: for the whole answer; None leaves the time to the caller. more: as aiohttp's `params` and `json`.
        Raises ConfigurationError for the token, and what aiohttp raises.
        """
        session = await self._opened()
        from aiohttp import ClientTimeout

        return await session.request(
            method,
            url,
            headers={**(headers or {}), **await self._authorization()},
            timeout=ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS),
            allow_redirects=False,  # the token is for this host
            **more,
        )

    def authorization(self) -> str:
        """As it was said to the registry last, for whoever cannot wait for a file."""
        return self._said

    async def pause(self, lived: float) -> None:
        """Wait before coming back. lived: seconds that the last connection lasted; a long life starts anew."""
        if lived > self._backoff.longest:
            self._backoff.reset()
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._backoff.next()):
                await self._hurry.wait()

    def hurry(self) -> None:
        """End a pause."""
        self._hurry.set()

    async def close(self) -> None:
        """Idempotent. What is under way ends with an error."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _opened(self) -> ClientSession:
        async with self._opening:
            if self._session is None:
                if self._pause:
                    await asyncio.sleep(self._pause)
                    await asyncio.to_thread(importlib.import_module, "aiohttp")  # requests go on meanwhile
                from aiohttp import ClientSession, DummyCookieJar

                self._session = ClientSession(
                    cookie_jar=DummyCookieJar(),
                    auto_decompress=False,  # nothing was asked to be compressed, and a bomb would be
                )
            return self._session

    async def _authorization(self) -> dict[str, str]:
        token = await asyncio.to_thread(self._token)  # in a thread: a file system that hangs must not hang the requests
        self._said = f"Bearer {token}" if token else ""
        return {"authorization": self._said} if token else {}

    def _token(self) -> str:
        if self._token_file is None:
            return local_token(self._base, SIDECAR, self._environ)
        try:
            return read_token(self._token_file)
        except ValueError as error:
            raise ConfigurationError([f"token file {error}"]) from None

"""The one link to the registry: its address, our name there, the token, the session and the pace of coming back.

Whatever the sidecar tells the registry or asks of it goes through here, so that there is one place that reads the
token, no redirection that is followed, and one that lets 500 sidecars come back one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as jsons
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

from proxy.base.access import SIDECAR, local_token
from proxy.base.backoff import Backoff
from proxy.base.problems import ConfigurationError
from proxy.base.token import read_token
from proxy.contract.hops import HOPS_PATH
from proxy.contract.watch import REPORT_PATH, WATCH_PATH
from proxy.feed.http import Answer, Client


class RegistryLink:
    """
    url:        of the registry, without a path of its own: `http://127.0.0.1:7070`.
    instance:   the name under which this sidecar reports, unique per sidecar.
    token_file: read for every request, so that a rotated token is used without a restart. None: the token that the
                registry of our own user on this machine has written for its sidecars, if it is such a one.
    environ:    says where the state of our user is; our own environment by default.
    """

    def __init__(
        self,
        url: str,
        instance: str,
        *,
        token_file: Path | None = None,
        environ: Mapping[str, str] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._base = url.rstrip("/")
        self.instance = instance
        self._token_file = token_file
        self._environ = os.environ if environ is None else environ
        self._backoff = backoff or Backoff()
        self._client = Client(url)
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
        params: Mapping[str, str] | None = None,
        json: object = None,
        data: bytes = b"",
        seconds: float | None = None,
    ) -> Answer:
        """Ask for one answer, whose head has come when this returns; the caller releases it (`async with`).

        url:     one of ours. params: its query. json, data: the content, one of them.
        seconds: until it has come; None leaves the time to the caller.
        Raises ConfigurationError for the token, TimeoutError, and what `proxy.feed.http` raises.
        """
        async with asyncio.timeout(seconds):
            sent = {**(headers or {}), **await self._authorization()}
            if json is not None:
                sent["content-type"] = "application/json"
                data = jsons.dumps(json).encode()
            target = f"/{url.split('/', 3)[3]}" + (f"?{urlencode(params)}" if params else "")
            return await self._client.request(method, target, sent, data)

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
        self._client.close()

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

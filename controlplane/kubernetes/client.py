"""The API server, as far as we need it: JSON objects in, JSON objects out, nothing of them dropped.

A client library would give types, and typed objects lose the fields that the library does not know, which would spoil
a copied pod template. What is left of such a library is one session of aiohttp, which is here anyway, and the ways to
say who we are: a service account's files within a cluster, a kubeconfig elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp

from controlplane.kubernetes.credentials import Credentials

Object = dict[str, Any]

MANAGER = "skycap"
"""Who we are among those who apply fields (kubernetes.io/docs/reference/using-api/server-side-apply)."""

ANSWER_SECONDS = 15.0
CHANNELS = "v4.channel.k8s.io"
"""The protocol of WebSockets in which each message begins with the number of its channel."""

OUTCOME = b"\x03"
"""The channel on which a program's end is told, as a Status."""

ATTEMPTS = 5
"""Of one request that the API server has no time for (429, 503); it says how long to wait."""

LONGEST_WAIT_SECONDS = 5.0

TOKEN_SECONDS = 20.0
"""A token is used for so long before it is asked for again, or until the API server refuses it. It is read in a thread,
and a thousand requests at once would wait for a thousand reads, a renewal of the Lease behind them. Kubernetes renews a
service account's token when a fifth of its life is left, and client-go reads it once a minute."""

CONNECTIONS = 64
"""At once; a further request waits for one of them, and a watch has one for itself."""


class KubernetesError(Exception):
    """The API server says no, or nothing. `str()` is one sentence.

    status: of HTTP, 0 when there was no answer. reason: the API server's word for it.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


def path(version: str, plural: str, name: str = "", namespace: str = "", sub: str = "") -> str:
    """The path of a resource. version: `v1`, `apps/v1`."""
    parts = ["/apis" if "/" in version else "/api", version]
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(plural)
    if name:
        parts.append(quote(name, safe=""))
    if sub:
        parts.append(sub)
    return "/".join(parts)


class Kubernetes:
    """One connection to one API server; made where an event loop runs."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        connector = aiohttp.TCPConnector(ssl=credentials.context or False, limit=CONNECTIONS)
        self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        self.requests = 0
        """Since the start, watches included."""
        self._token = ""
        self._token_ends = 0.0
        self._reading = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Kubernetes {self._credentials.server}>"

    async def close(self) -> None:
        await self._session.close()

    async def get(self, place: str, **query: str) -> Object:
        """Raises KubernetesError, as all of these."""
        return await self._json("GET", place, query)

    async def create(self, place: str, document: Object, **query: str) -> Object:
        return await self._json("POST", place, {"fieldManager": MANAGER, **query}, document)

    async def replace(self, place: str, document: Object) -> Object:
        """Fails with status 409 when `document` has a resource version that is not the current one."""
        return await self._json("PUT", place, {"fieldManager": MANAGER}, document)

    async def apply(self, place: str, document: Object) -> Object:
        """Server-side apply: the fields of `document` are ours from now on."""
        query = {"fieldManager": MANAGER, "force": "true"}
        return await self._json("PATCH", place, query, document, "application/apply-patch+yaml")

    async def merge(self, place: str, document: Object) -> Object:
        """RFC 7386."""
        return await self._json("PATCH", place, {"fieldManager": MANAGER}, document, "application/merge-patch+json")

    async def strategic(self, place: str, document: Object, **query: str) -> Object:
        """A strategic merge patch, which knows that lists of containers go by their names."""
        return await self._json("PATCH", place, query, document, "application/strategic-merge-patch+json")

    async def execute(self, place: str, container: str, command: Sequence[str]) -> None:
        """Run a program in a container of the pod at `place`, until it ends or the container does."""
        query = [("container", container), ("stdout", "true"), ("stderr", "true")]
        query += [("command", word) for word in command]
        socket = await self.socket(f"{place}/exec", CHANNELS, query)
        said = b""
        async with socket:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY and message.data[:1] == OUTCOME:
                    said += message.data[1:]
        outcome = json.loads(said or b"{}")
        if outcome.get("status") == "Failure":
            raise _refusal(500, outcome)

    async def delete(self, place: str, *, uid: str = "") -> bool:
        """False: there was none, or it was another one than `uid`."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self._json("DELETE", place, {}, options)
        except KubernetesError as error:
            if error.status in (404, 409):
                return False
            raise
        return True

    async def text(self, place: str, **query: str) -> str:
        """What is no JSON: a log."""
        async with await self._request("GET", place, query, None, "") as answer:
            await _check(answer)
            return (await answer.read()).decode("utf-8", "replace")

    async def watch(self, place: str, **query: str) -> AsyncIterator[tuple[str, Object]]:
        """Events, until the API server ends the stream, which is no error. An ERROR event is raised."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=float(query["timeoutSeconds"]) + 30)
        query = {"watch": "1", "allowWatchBookmarks": "true", **query}
        async with await self._request("GET", place, query, None, "", limits) as answer:
            await _check(answer)
            rest = b""
            try:
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in filter(None, lines):
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            raise _refusal(int(event["object"].get("code") or 500), event["object"])
                        yield event["type"], event["object"]
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise _silence(error) from None

    async def socket(
        self, place: str, protocol: str, query: Sequence[tuple[str, str]]
    ) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket, for what is no request and answer: the ports of a pod, a program in it."""
        token = await self._said()
        headers = {"user-agent": "skycap"} | ({"authorization": f"Bearer {token}"} if token else {})
        self.requests += 1
        try:
            return await self._session.ws_connect(
                self._credentials.server + place,
                params=list(query),
                protocols=[protocol],
                headers=headers,
                max_msg_size=0,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise KubernetesError(error.status, "", f"the API server answers {error.status}: {error.message}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _silence(error) from None

    async def _said(self) -> str:
        """The token. Raises OSError."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._token_ends:
            return self._token
        async with self._reading:
            if loop.time() >= self._token_ends:  # nobody has asked for it meanwhile
                self._token = await asyncio.to_thread(self._credentials.token)  # a file, or a program that is asked
                self._token_ends = loop.time() + TOKEN_SECONDS
            return self._token

    async def _json(
        self, method: str, place: str, query: Mapping[str, str], document: Object | None = None, media: str = ""
    ) -> Object:
        for attempt in range(1, ATTEMPTS + 1):
            async with await self._request(method, place, query, document, media) as answer:
                if answer.status not in (429, 503) or attempt == ATTEMPTS:
                    await _check(answer)
                    found: Object = json.loads(await answer.read())
                    return found
                asked = answer.headers.get("retry-after", "")
            await asyncio.sleep(min(float(asked) if asked.isdigit() else 0.2 * attempt, LONGEST_WAIT_SECONDS))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _request(
        self,
        method: str,
        place: str,
        query: Mapping[str, str],
        document: Object | None,
        media: str,
        limits: aiohttp.ClientTimeout | None = None,
    ) -> aiohttp.ClientResponse:
        headers = {"accept": "application/json", "user-agent": "skycap"}
        if document is not None:
            headers["content-type"] = media or "application/json"
        data = None if document is None else json.dumps(document)
        self.requests += 1
        try:
            if token := await self._said():
                headers["authorization"] = f"Bearer {token}"
            answer = await self._session.request(
                method,
                self._credentials.server + place,
                params=query,
                data=data,
                headers=headers,
                timeout=limits or aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            )
            if answer.status == 401:
                self._token_ends = 0.0
            return answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _silence(error) from None


async def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status < 400:
        return
    body = await answer.read()
    try:
        document = json.loads(body)
    except ValueError:
        document = {"message": body[:200].decode("utf-8", "replace").strip()}
    raise _refusal(answer.status, document if isinstance(document, dict) else {})


def _refusal(status: int, document: Object) -> KubernetesError:
    message = str(document.get("message") or f"the API server answers {status}")
    return KubernetesError(status, str(document.get("reason") or ""), message)


def _silence(error: BaseException) -> KubernetesError:
    said = str(error) or ("it does not answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
    if isinstance(error, ssl.SSLError):
        said = f"its certificate is not to be trusted: {said}"
    return KubernetesError(0, "Unreachable", f"the API server cannot be reached: {said}")

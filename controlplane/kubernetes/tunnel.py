"""A way to the control plane of a cluster for whoever has a kubeconfig: a port here that leads to the leader.

    a connection to 127.0.0.1:PORT -> WebSocket to the API server, `pods/portforward` -> kubelet -> the leader's port

One WebSocket per connection, in the protocol `v4.channel.k8s.io`: each message begins with the number of its channel,
0 for data and 1 for errors, and the first message of each channel is the port's number (k8s.io/kubelet,
pkg/cri/streaming/portforward/websocket.go). Newer protocols put several connections into one WebSocket, by way of SPDY.

Who we are the cluster knows: it gives whoever may ask for it a token of the service account `skycap-user`, or
`skycap-viewer`, good for the control plane only. The token lies where those of this machine's registries lie, for its
owner only, so that everything that speaks to a registry here finds it; it is renewed in time, and gone at the end.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from controlplane.kubernetes.client import CHANNELS, Kubernetes, KubernetesError, path
from controlplane.kubernetes.credentials import Credentials
from controlplane.kubernetes.names import ACCOUNTS, AUDIENCE, LEADER, SYSTEM
from controlplane.process.private import private_folder, write_private
from proxy.base.access import USER, token_folder
from proxy.base.problems import ConfigurationError
from proxy.base.tasks import Tasks, ended

PORT = 7070
DATA, ERROR = 0, 1

TOKEN_SECONDS = 3600
RENEWED_SECONDS = TOKEN_SECONDS / 2
RETRY_SECONDS = 5.0

CHUNK = 32 << 10
"""Of one message: what the kubelet reads at once."""

START_SECONDS = 30.0


class Tunnel:
    """Opened at once, in a thread of its own: who uses it need have no event loop. Raises ConfigurationError.

    environ: says where the state of our user is.
    """

    def __init__(self, credentials: Credentials, environ: Mapping[str, str], namespace: str = SYSTEM) -> None:
        self._credentials = credentials
        self._environ = environ
        self._namespace = namespace
        self._leader = ""
        self._failed: BaseException | None = None
        self._opened = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self.role = ""
        self.url = ""
        self._thread = threading.Thread(target=self._main, name="tunnel", daemon=True)
        self._thread.start()
        if not self._opened.wait(START_SECONDS):
            raise ConfigurationError([f"{credentials.server} does not lead to the control plane in time"])
        if isinstance(self._failed, KubernetesError):
            raise ConfigurationError([str(self._failed)])
        if self._failed is not None:
            raise self._failed

    def __repr__(self) -> str:
        return f"<Tunnel {self.url} to {self._namespace}/{self._leader} as {self.role}>"

    def close(self) -> None:
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._run())
            except BaseException as error:  # noqa: BLE001 (told to whoever waits)
                self._failed = error
            finally:
                self._opened.set()

    async def _run(self) -> None:
        kubernetes = Kubernetes(self._credentials)
        tasks = Tasks("tunnel")
        server: asyncio.Server | None = None
        folder = None
        try:
            self._leader = await self._find(kubernetes)
            token = await self._token(kubernetes)

            def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                tasks.spawn(self._carry(kubernetes, tasks, reader, writer), "connection")

            server = await asyncio.start_server(accepted, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            folder = token_folder("127.0.0.1", port, self._environ)
            private_folder(folder)
            write_private(folder / USER, f"{token}\n")
            file = folder / USER
            self.url = f"http://127.0.0.1:{port}"
            tasks.keep(lambda: self._renew(kubernetes, file), "token")
            self._opened.set()
            await self._stop.wait()
        finally:
            if server is not None:
                server.close()
            await tasks.close()
            await kubernetes.close()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    async def _find(self, kubernetes: Kubernetes) -> str:
        """The pod that leads. Raises ConfigurationError, KubernetesError."""
        pods = path("v1", "pods", namespace=self._namespace)
        try:
            found = (await kubernetes.get(pods, labelSelector=f"app.kubernetes.io/name=skycap,{LEADER}=true"))["items"]
        except KubernetesError as error:
            if error.status != 403:
                raise
            raise ConfigurationError(
                [f"the cluster does not let you reach the control plane: {error}; {_ASK}"]
            ) from None
        if not found:
            where = f"{self._credentials.server}, namespace {self._namespace}"
            raise ConfigurationError([f"no control plane leads in the cluster ({where}): is Skycap installed there?"])
        return str(found[0]["metadata"]["name"])

    async def _token(self, kubernetes: Kubernetes) -> str:
        """Of the mightiest account that we may be. Raises ConfigurationError, KubernetesError."""
        wanted: dict[str, Any] = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [AUDIENCE], "expirationSeconds": TOKEN_SECONDS},
        }
        refused = ""
        for account, role in ACCOUNTS.items():
            place = path("v1", "serviceaccounts", account, self._namespace, "token")
            try:
                answer = await kubernetes.create(place, wanted)
            except KubernetesError as error:
                if error.status not in (403, 404):
                    raise
                refused = refused or str(error)
                continue
            self.role = role
            return str(answer["status"]["token"])
        raise ConfigurationError([f"the cluster gives you no token for the control plane: {refused}; {_ASK}"])

    async def _renew(self, kubernetes: Kubernetes, file: Path) -> None:
        seconds = RENEWED_SECONDS
        while True:
            await asyncio.sleep(seconds)
            try:
                write_private(file, f"{await self._token(kubernetes)}\n")
                seconds = RENEWED_SECONDS
            except (KubernetesError, ConfigurationError):
                seconds = RETRY_SECONDS  # the old one is good for a while, and its refusal is told by whoever uses it

    async def _carry(
        self, kubernetes: Kubernetes, tasks: Tasks, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One connection. A leader that is gone is looked for once more; then the connection ends, as if refused."""
        try:
            socket = await self._dial(kubernetes)
        except (KubernetesError, ConfigurationError):
            writer.close()
            return
        up = tasks.spawn(_up(reader, socket), "to the leader")
        try:
            await _down(socket, writer)
        finally:
            await ended(up)
            await socket.close()
            writer.close()

    async def _dial(self, kubernetes: Kubernetes) -> aiohttp.ClientWebSocketResponse:
        place = path("v1", "pods", self._leader, self._namespace, "portforward")
        try:
            return await kubernetes.socket(place, CHANNELS, [("ports", str(PORT))])
        except KubernetesError:
            self._leader = await self._find(kubernetes)
            place = path("v1", "pods", self._leader, self._namespace, "portforward")
            return await kubernetes.socket(place, CHANNELS, [("ports", str(PORT))])


_ASK = f"an administrator binds you to the role skycap-user or skycap-viewer of the namespace {SYSTEM}"


async def _up(reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse) -> None:
    """There is no half-close in this protocol: at the client's end of sending the answer is waited for."""
    with suppress(OSError, aiohttp.ClientError):
        while data := await reader.read(CHUNK):
            await socket.send_bytes(bytes((DATA,)) + data)


async def _down(socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
    begun: set[int] = set()
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel not in begun:  # the port's number
            begun.add(channel)
            data = data[2:]
        if channel == ERROR and data:
            return
        if channel == DATA and data:
            writer.write(data)
            try:
                await writer.drain()
            except OSError:  # the client has gone
                return

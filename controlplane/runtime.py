"""The composition root of the registry: builds everything in order, owns the signals and the end.

    bind -> open the store -> publish what it holds -> serve -> adopt what still runs -> end what nobody knows
    SIGTERM, SIGINT: not ready -> stop the shadows (or leave them) -> cut the watches -> close the store

It binds first, so that a busy port is one line and has touched nothing, and it serves before it adopts, so that
sidecars that reconnect find their routes as they were.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from controlplane.api.access import Access, Role, Visitor
from controlplane.api.application import application, runner
from controlplane.api.connections import Connections, listen, raise_limit, room
from controlplane.files.store import FileStore
from controlplane.hops.port import HopStore
from controlplane.launch.plan import RegistryAccess
from controlplane.launch.port import Launcher
from controlplane.launch.process import ProcessLauncher
from controlplane.launch.static import Rules, StaticLauncher
from controlplane.life.clock import SystemClock
from controlplane.life.installation import Installation
from controlplane.life.registry import Registry, open_registry
from controlplane.process.limits import NO_LIMITS, control_groups
from controlplane.process.listeners import holder
from controlplane.process.private import private_folder
from controlplane.settings import Settings
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Store, StoreError
from controlplane.store.sqlite import SqliteStore
from controlplane.tokens import Tokens
from proxy.base.listen import Listen, bind
from proxy.base.log import configure
from proxy.base.problems import ConfigurationError
from proxy.base.tasks import Tasks
from proxy.contract.routes import Endpoint

if TYPE_CHECKING:
    from controlplane.kubernetes.engine import Cluster

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that may wait to be accepted: 500 sidecars reconnect at once when a registry comes back."""

FILES = ".files"
"""Where pushed files are, in the folder of the shadows; no shadow's folder is called so."""


async def serve(
    settings: Settings, environ: Mapping[str, str], listening: Callable[[str], None], stop: asyncio.Event
) -> None:
    """Run a registry until `stop` is set.

    environ:   says where its tokens are written, and where the cluster is.
    listening: is called with the URL as soon as requests are answered.
    Raises ConfigurationError: the address cannot be bound, the store cannot be opened.
    """
    raise_limit()
    if settings.cluster is None:
        await _serve(settings, environ, listening, stop, None)
        return
    from controlplane.kubernetes.engine import Cluster  # with it come certificates

    cluster = Cluster(settings.cluster, environ)
    waiting = Tasks("standby")
    try:
        await cluster.open()
        await waiting.first(cluster.lead(stop.set), stop.wait(), name="standby")
        if cluster.leads and not stop.is_set():
            await _serve(settings, environ, listening, stop, cluster)
    finally:
        await waiting.close()
        await cluster.close()


async def _serve(
    settings: Settings,
    environ: Mapping[str, str],
    listening: Callable[[str], None],
    stop: asyncio.Event,
    cluster: Cluster | None,
) -> None:
    """cluster: that we lead, None on one machine."""
    keep = settings.keep_shadows or cluster is not None
    with ExitStack() as undo:
        sockets = [undo.enter_context(bound) for bound in _bound(settings.listen)]
        parts = await _parts(settings, environ, sockets, cluster, undo)
        registry = await _opened(settings, parts)
        tasks = Tasks("runtime")
        connections = Connections(room())
        server = runner(
            application(registry, parts.access, connections, cluster.figures if cluster is not None else None)
        )
        servers: list[asyncio.Server] = []
        try:
            await server.setup()
            servers = await listen(connections, server, sockets, BACKLOG, tasks)
            listening(_url(settings.listen, sockets[0]))
            gc.collect()
            gc.freeze()  # 50,000 objects of modules and models: half of the 40 ms of a full collection
            if parts.process is not None:
                tasks.spawn(_sweep(registry, parts.process), "sweep")
            if cluster is not None:
                cluster.begin(registry)
            tasks.keep(registry.pushing.sweep, "sweep of files")
            await stop.wait()
        finally:
            log.info("shutting down, the shadows %s", "run on" if keep else "are stopped")
            for each in servers:
                each.close()
            await tasks.close()
            if cluster is not None:
                cluster.launcher.leave()
            await registry.close(stop_shadows=not keep)
            await server.cleanup()


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a registry stands on.

    process: its own launcher of processes; None in a cluster.
    """

    access: Access
    store: Store
    files: FileStore
    installation: Installation
    process: ProcessLauncher | None


async def _parts(
    settings: Settings,
    environ: Mapping[str, str],
    sockets: Sequence[socket.socket],
    cluster: Cluster | None,
    undo: ExitStack,
) -> _Parts:
    """undo: is told what has to be taken back at the end, or as soon as something fails."""
    files = FileStore(settings.state_dir / FILES)
    static = StaticLauncher(Rules(settings.endpoint_networks, list(map(_address, sockets))))
    launchers: dict[str, Launcher] = {"static": static}
    groups, process, keeper = NO_LIMITS, None, None
    if cluster is not None:
        access = await _access(settings, cluster)
        cluster.launcher.files = files
        keeper = await cluster.keeper(files)
        store: Store = cluster.store
        launchers |= {"kubernetes": cluster.launcher, "process": cluster.launcher}
    else:
        groups = control_groups(settings.limits, settings.state_dir)
        undo.callback(groups.close)
        tokens = _tokens(settings, sockets, environ)
        undo.callback(tokens.remove)
        access, store = tokens.access, _store(settings)
        own_access = RegistryAccess(_reached(settings.listen, sockets[0]), settings.sidecar_token_file)
        process = ProcessLauncher(settings.state_dir, files=files, registry=own_access, groups=groups)
        launchers["process"] = process
    installation = Installation(
        launchers,
        gateway=settings.gateway,
        ended=settings.ended_keys,
        forkable=cluster.launcher.baselines.names if cluster is not None else tuple,
        quota=settings.quota,
        limits=groups.limits.told(),
        unlimited=groups.why_not,
        images=cluster.launcher.image_folder if cluster is not None else None,
        keeper=keeper,
        asked=(lambda: cluster.kubernetes.requests) if cluster is not None else None,
    )
    return _Parts(access, store, files, installation, process)


async def _access(settings: Settings, cluster: Cluster) -> Access:
    """In a cluster: the tokens that were named, one that all replicas share, and those that the cluster issues."""
    named = dict(settings.tokens)
    if Role.USER not in named:
        named[Role.USER] = await cluster.user_token()

    async def review(token: str) -> Visitor | None:
        found = await cluster.review(token)
        return Visitor(Role(found.role), found.namespace) if found is not None else None

    return Access(named, review)


async def _sweep(registry: Registry, launcher: ProcessLauncher) -> None:
    """End the shadows that a registry which was killed had begun to start and had not stored."""
    await registry.sandboxes.adopted()
    strays = await launcher.sweep()
    if strays:
        log.info("%d shadows of a registry that was killed are ended", strays)


def _bound(listen: Listen) -> list[socket.socket]:
    try:
        return bind(listen, BACKLOG)
    except OSError as error:
        raise ConfigurationError([f"--listen: {_binding(error, listen)}"]) from None


def _binding(error: OSError, listen: Listen) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {listen.port} is in use by {holder(listen.port) or 'another process'}"
    return f"{listen}: {error.strerror or error}"


def _address(bound: socket.socket) -> tuple[str, int]:
    host, port = bound.getsockname()[:2]
    return host, port


def _tokens(settings: Settings, sockets: Sequence[socket.socket], environ: Mapping[str, str]) -> Tokens:
    try:
        return Tokens(settings.tokens, map(_address, sockets), environ)
    except OSError as error:
        problem = f"the tokens cannot be written: {error.filename}: {error.strerror}"
        raise ConfigurationError([f"{problem}; set HOME or XDG_STATE_HOME to a folder that can"]) from None


async def _opened(settings: Settings, parts: _Parts) -> Registry:
    try:
        return await open_registry(
            parts.store, parts.installation, SystemClock(), settings.default_ttl, parts.files, hops=_hops(settings)
        )
    except StoreError as error:
        raise ConfigurationError([f"--store: {error}"]) from None


def _hops(settings: Settings) -> HopStore | None:
    """None: in memory."""
    if settings.hops is None:
        return None
    from controlplane.hops.redis import RedisHops  # its client takes a tenth of a second to import

    return RedisHops(settings.hops)


def _store(settings: Settings) -> Store:
    first_revision = int(time.time() * 1000)
    if settings.store is None:
        return MemoryStore(first_revision)
    _make_folder(settings.store.parent)
    return SqliteStore(settings.store, first_revision)


def _make_folder(folder: Path) -> None:
    try:
        private_folder(folder)
    except OSError as error:
        raise ConfigurationError([f"--store: {folder} cannot be made: {error.strerror}"]) from None


def _url(listen: Listen, bound: socket.socket) -> str:
    return f"http://{Endpoint(listen.host, bound.getsockname()[1])}"


def _reached(listen: Listen, bound: socket.socket) -> str:
    """Where those on this machine reach it that we start."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return _url(Listen(anywhere.get(listen.host, listen.host), listen.port), bound)


def run(settings: Settings, environ: Mapping[str, str], listening: Callable[[str], None]) -> None:
    """Run a registry as this process, until SIGTERM or SIGINT. A second signal ends it at once."""
    configure(settings.log_level, settings.log_format)

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def ask(number: signal.Signals) -> None:
            stop.set()
            for each in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(each)
                signal.signal(each, signal.SIG_DFL)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ask, number)
        await serve(settings, environ, listening, stop)

    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())

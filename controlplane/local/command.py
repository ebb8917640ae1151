"""`skycap up FILE`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from controlplane.local.console import JsonConsole, TextConsole, Writer
from controlplane.local.detached import leave_running
from controlplane.local.document import read_file
from controlplane.local.environment import Environment, NotReadyError
from controlplane.local.events import Event, Observer, Service, Up
from controlplane.model.environment import GATEWAY, REGISTRY, EnvironmentFile
from controlplane.terminal import has_colour
from proxy.base.problems import ConfigurationError
from proxy.base.tasks import Tasks

PIPE_CLOSED = 141
"""128 + SIGPIPE, as shells count."""

EPILOG = """\b
Exit codes:
  0    stopped as asked: Ctrl-C, SIGTERM or SIGHUP; with --detach: it is up
  1    with --detach: something is not ready, and is tried again
  2    nothing was started: a bad file or option, a busy port, or an
       environment that is up already
  141  the reader of the output went away; everything was stopped"""


@click.command(epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    envvar="SKYCAP_STATE_DIR",
    show_envvar=True,
    help="Where the environment keeps its sandboxes, ports and shadows.  [default: .skycap/NAME beside FILE]",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    envvar="SKYCAP_OUTPUT",
    show_envvar=True,
    help="Lines for people, or one JSON object per event.",
)
@click.option("--detach", is_flag=True, help="Leave it running in the background as soon as it is up.")
@click.option("--ready-fd", type=int, hidden=True, allow_from_autoenv=False)
def up(file: Path, state_dir: Path | None, output: str, detach: bool, ready_fd: int | None) -> int:
    """Run the services of FILE on this machine, with a sidecar beside each and a registry.

    The output of every process is shown behind its name. A process that ends is started again. Ctrl-C stops
    everything in order, a second Ctrl-C at once. `skycap down` stops what runs in the background, `skycap logs` shows
    what its services wrote.
    """
    environment = read_file(file)
    if detach:
        return leave_running(file, state_dir, environment.name, output)
    try:
        return asyncio.run(_run(environment, file.parent, state_dir, ready_fd, json=output == "json"))
    except ConfigurationError as error:
        raise ConfigurationError([f"{file}: {problem}" for problem in error.problems]) from None


async def _run(file: EnvironmentFile, folder: Path, state_dir: Path | None, ready_fd: int | None, *, json: bool) -> int:
    stop = asyncio.Event()
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def reader_gone() -> None:
        loop.call_soon_threadsafe(closed.set)
        loop.call_soon_threadsafe(stop.set)

    writer = Writer(sys.stdout.fileno(), reader_gone)
    show: Observer = JsonConsole(writer) if json else _text(writer, file)

    def observe(event: Event) -> None:
        show(event)
        if isinstance(event, Up) and ready_fd is not None:
            with suppress(OSError), os.fdopen(ready_fd, "w") as waiting:
                waiting.write("\n".join(event.problems) or "ready")

    environment = Environment(file, folder, state_dir, observe)
    tasks = Tasks("skycap up")
    broken: list[ConfigurationError] = []

    async def announce() -> None:
        try:
            await _announce(environment, observe)
        except ConfigurationError as error:
            broken.append(error)
            stop.set()

    try:
        with stop_signals(stop.set, environment.kill):
            async with environment:
                tasks.spawn(announce(), "announcing")
                loop.add_signal_handler(
                    signal.SIGUSR1, lambda: tasks.spawn(environment.restart_asked(), "restarting what is asked for")
                )
                await stop.wait()
                loop.remove_signal_handler(signal.SIGUSR1)
                await tasks.close()
            if broken:
                raise broken[0]
    finally:
        writer.close()
    return PIPE_CLOSED if closed.is_set() else 0


def _text(writer: Writer, file: EnvironmentFile) -> TextConsole:
    services = [service.name for service in file.spec.services]
    names = [REGISTRY, GATEWAY, *services, *(f"{name}/sidecar" for name in services)]
    return TextConsole(writer, names, colour=has_colour(sys.stdout, os.environ))


async def _announce(environment: Environment, observe: Observer) -> None:
    """Wait until everything is ready, or has had its time, and say where everything is."""
    problems: list[str] = []
    try:
        await environment.ready()
    except NotReadyError as error:
        problems = error.problems
    layout = environment.layout
    fixed = {service.name for service in environment.file.spec.services if service.app_port is not None}
    services = tuple(
        Service(
            name=service.name,
            workload=service.definition.workload,
            command=service.definition.command,
            cwd=service.definition.cwd,
            address=service.address,
            app=f"127.0.0.1:{service.ports.app}",
            admin=f"127.0.0.1:{service.admin}",
            upstreams=tuple(upstream.name for upstream in service.definition.upstreams),
            ready=environment.is_ready(service.name),
            copyable=service.name not in fixed,
            readiness_path=service.readiness.path or "",
        )
        for service in layout.services
    )
    observe(
        Up(environment.file.name, layout.registry_url, layout.gateway_url, layout.entry.name, services, tuple(problems))
    )


@contextmanager
def stop_signals(first: Callable[[], None], again: Callable[[], None]) -> Iterator[None]:
    """Call `first` at the first SIGINT, SIGTERM or SIGHUP, and `again` at every further one.

    For whoever keeps an `Environment` running: its processes are in sessions of their own, so that a Ctrl-C on the
    terminal reaches nobody else. A SIGHUP that is ignored stays so: that is what nohup is for.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def ask() -> None:
        nonlocal asked
        (again if asked else first)()
        asked = True

    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, ask)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)

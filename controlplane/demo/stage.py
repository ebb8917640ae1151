"""Where the play is performed: the shop as an environment of its own, in a folder that is gone afterwards."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from controlplane.local.document import read_file
from controlplane.local.events import Ended, Event, Started
from controlplane.model.environment import EnvironmentFile, split_listen
from controlplane.process.ports import why_busy
from controlplane.rest import DEFAULT_URL
from proxy.contract.routes import parse_endpoint

FILE = Path(__file__).with_name("shop.yaml")

FREE_LISTEN = "127.0.0.1:0"

CLOSED_SECONDS = 2.0
"""For a port to refuse: on the loopback interface it does at once."""


def shop(well_known: bool) -> EnvironmentFile:
    """The shop as it can run here.

    well_known: use the ports of the file where they are free, so that commands find the registry by themselves.
                Otherwise, and where they are taken, any free port does: two demos can run side by side.
    """
    file = read_file(FILE)
    services = tuple(
        service.model_copy(
            update={
                # The interpreter that runs this has what the shop needs; the `python` of the PATH may not.
                "command": (sys.executable, *service.command[1:]),
                "port": service.port if well_known and service.port and not why_busy(service.port) else None,
            }
        )
        for service in file.spec.services
    )
    host, port = split_listen(file.spec.registry.listen)
    listen = file.spec.registry.listen if well_known and not why_busy(port, (host,)) else FREE_LISTEN
    registry = file.spec.registry.model_copy(update={"listen": listen})
    return file.model_copy(update={"spec": file.spec.model_copy(update={"registry": registry, "services": services})})


def elsewhere(registry_url: str) -> str:
    """The registry's URL when commands would not find it by themselves, else ""."""
    return "" if registry_url == DEFAULT_URL else registry_url


class Roll:
    """Who took part: what has to be gone when everything is stopped."""

    def __init__(self) -> None:
        self._pids: dict[int, str] = {}
        self._endpoints: set[str] = set()
        self.ended: list[str] = []
        """Who ended too early, with its last lines of output."""

    def observe(self, event: Event) -> None:
        if isinstance(event, Started):
            self._pids[event.pid] = event.process
        elif isinstance(event, Ended):
            self.ended += [f"{event.process} {event.how}", *(f"  {line}" for line in event.last_lines)]

    def shadow(self, endpoints: tuple[str, ...]) -> None:
        self._endpoints.update(endpoints)

    async def left(self) -> list[str]:
        """One line for each process that is still there."""
        alive = [f"{name} still runs, process {pid}" for pid, name in self._pids.items() if _alive(pid)]
        listening = await asyncio.gather(*map(_listens, sorted(self._endpoints)))
        return alive + [f"a shadow still listens on {endpoint}" for endpoint in listening if endpoint]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's by now
    return True


async def _listens(text: str) -> str:
    endpoint = parse_endpoint(text)
    try:
        async with asyncio.timeout(CLOSED_SECONDS):
            _, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except (OSError, TimeoutError):
        return ""
    writer.close()
    return text

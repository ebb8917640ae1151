"""One sidecar per file of tests, with short time limits; every test ends with the proof that nothing is left."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults import peers, subject
from tests.faults.peers import Origin
from tests.faults.subject import Subject

SHORT = (
    "--response-timeout", "500ms", "--stream-timeout", "1s", "--header-timeout", "1s", "--linger-timeout", "500ms",
    "--connect-timeout", "500ms", "--drain-timeout", "5s",
)  # fmt: skip


@pytest.fixture(scope="module")
def application() -> Iterator[socket.socket]:
    """The application's listening socket."""
    with peers.listening_socket() as listening:
        yield listening


@pytest.fixture(scope="module")
def shared(application: socket.socket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    with subject.running(application.getsockname()[1], tmp_path_factory.mktemp("sidecar"), *SHORT) as running:
        yield running


@pytest_asyncio.fixture(autouse=True)
async def hung_up() -> AsyncIterator[None]:
    """No test leaves a client to the next one, whether it failed or not."""
    yield
    await peers.hang_up()


@pytest_asyncio.fixture
async def origin(application: socket.socket) -> AsyncIterator[Origin]:
    async with peers.serving(application) as serving:
        yield serving


@pytest_asyncio.fixture
async def sidecar(shared: Subject) -> AsyncIterator[Subject]:
    """The file's sidecar. It ends the test with nothing left of what the test did."""
    yield shared
    await peers.hang_up()
    await shared.at_rest()


@pytest_asyncio.fixture
async def untaught(application: socket.socket, tmp_path: Path) -> AsyncIterator[Subject]:
    """A sidecar that has not seen an idle connection of the application die: it lends them again whatever their age.
    The file's own has, when another test's origin ended (`proxy.net.idle`)."""
    with subject.running(application.getsockname()[1], tmp_path, *SHORT) as running:
        yield running
        await peers.hang_up()
        await running.at_rest()

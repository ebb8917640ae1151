"""One pair of sidecars per file; every test ends with the proof that nothing is left of its streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.faults import peers
from tests.faults.peers import Origin
from tests.streams import pair as pairs
from tests.streams.ends import End
from tests.streams.pair import KEYED, Pair, Places


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    with pairs.places() as made:
        yield made


@pytest.fixture(scope="module")
def shared(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pairs.running(places, tmp_path_factory.mktemp("pair")) as running:
        yield running


@pytest_asyncio.fixture
async def pair(shared: Pair) -> AsyncIterator[Pair]:
    yield shared
    await peers.hang_up()
    await shared.at_rest()


@pytest.fixture(params=["unkeyed", "keyed"])
def end(request: pytest.FixtureRequest, places: Places) -> End:
    """Where the stream must arrive, and the headers that lead there."""
    if request.param == "keyed":
        return End(places.shadow, places.application, KEYED)
    return End(places.application, places.shadow, {})


@pytest_asyncio.fixture
async def plain(places: Places) -> AsyncIterator[Origin]:
    """The bare HTTP server that the key `plain` leads to."""
    async with peers.serving(places.plain) as serving:
        yield serving

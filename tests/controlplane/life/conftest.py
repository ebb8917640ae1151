from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.controlplane.life.clock import FakeClock
from tests.controlplane.life.launcher import Machine
from tests.controlplane.life.registry import Bench
from tests.controlplane.life.store import TroubledStore


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def bench(clock: FakeClock) -> AsyncIterator[Bench]:
    """A registry that is open; ended without stopping shadows, and without a task left over."""
    bench = Bench(clock, TroubledStore(), Machine())
    await bench.open()
    yield bench
    await bench.close()

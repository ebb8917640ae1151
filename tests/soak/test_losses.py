"""What a soak tells of a loss: with a sidecar whose page the test writes, and one that has ended."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from tests.faults.subject import Subject
from tests.soak.calls import MASKED, unmasked
from tests.soak.expected import ENDED, MOVING, STABLE, Failed, Key, Tally
from tests.soak.losses import LATE_SECONDS, Losses, counted

PAGE = """# TYPE skycap_failures counter
skycap_failures_total{code="draining",direction="inbound"} %d.0
skycap_failures_total{code="app-timeout",direction="inbound"} 0.0
skycap_timeouts_total{direction="inbound",phase="connect"} %d.0
skycap_requests_total{direction="inbound"} 7.0
"""


class Told:
    """As much of a sidecar as is asked."""

    def __init__(self) -> None:
        self.page = PAGE % (1, 0)
        self.ended = False

    async def get(self, path: str) -> bytes:
        assert not self.ended, f"no answer to {path}"
        return self.page.encode()


def test_what_is_counted() -> None:
    assert counted(PAGE % (3, 1)) == {
        'failures{code="draining",direction="inbound"}': 3,
        'failures{code="app-timeout",direction="inbound"}': 0,
        'timeouts{direction="inbound",phase="connect"}': 1,
    }


def test_what_is_known_of_a_loss() -> None:
    caller, callee = Told(), Told()
    losses = Losses({"caller": cast(Subject, caller), "callee": cast(Subject, callee)})

    async def lose() -> str:
        await losses.look()
        caller.page = PAGE % (3, 1)
        callee.ended = True
        return await losses.known(time.monotonic())

    told = asyncio.run(lose())
    assert 'failures{code="draining",direction="inbound"} +2, timeouts{direction="inbound",phase="connect"} +1' in told
    assert "app-timeout" not in told
    assert "callee does not tell: AssertionError" in told


def test_nothing_was_counted() -> None:
    losses = Losses({"caller": cast(Subject, Told())})

    async def lose() -> str:
        await losses.look()
        return await losses.known(time.monotonic())

    assert asyncio.run(lose()).endswith(" s: nothing")


def test_how_late_the_machine_was() -> None:
    losses = Losses({})
    losses.beat(10.0, 10.0 - LATE_SECONDS / 2)
    assert losses.late(0.0) == 0.0
    losses.beat(10.0, 7.0)
    losses.beat(20.0, 19.0)
    assert losses.late(5.0) == 3.0
    assert losses.late(15.0) == 1.0


def test_the_pulse_ends_when_it_is_cancelled() -> None:
    async def beat() -> None:
        async with asyncio.timeout(0.5):
            await Losses({}).pulse()

    with pytest.raises(TimeoutError):
        asyncio.run(beat())


def test_a_problem_says_what_is_known() -> None:
    tally = Tally()
    tally.note("download", Key("k", ()), Failed("app-timeout", "status 504 late"), "nobody is down")
    assert tally.problems == [
        "download, key 'k': Failed('app-timeout')\n          status 504 late\n          nobody is down"
    ]
    for _ in range(2 * Tally.LISTED):
        tally.note("download", Key("k", ()), Failed("app-timeout"))
    assert len(tally.problems) == Tally.LISTED
    assert not tally.listing
    assert tally.lost == 2 * Tally.LISTED + 1


def test_only_a_sandbox_that_ends_is_masked() -> None:
    masked = Failed(MASKED)
    assert str(unmasked(masked, Key(MOVING[0], ()))) == ENDED
    assert unmasked(masked, Key(STABLE, ())) is masked
    other = Failed("app-timeout")
    assert unmasked(other, Key(MOVING[0], ())) is other

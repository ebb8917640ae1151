"""What the deaths of idle connections teach about an application, and what they do not."""

from __future__ import annotations

import pytest

from proxy.net.idle import FIRST_TRUST, IDLE_TICKS, LAST_TRUST, IdleLimit


def learned(*deaths: tuple[int, int]) -> IdleLimit:
    """After deaths as (age, tick)."""
    limit = IdleLimit()
    for age, now in deaths:
        limit.died(age, now)
    return limit


@pytest.mark.parametrize(
    ("age", "ticks"), [(0, -2), (1, -1), (2, 0), (3, 1), (20, 18), (50, 45), (599, 540), (9_000, IDLE_TICKS)]
)
def test_none_is_lent_that_is_nearly_as_old(age: int, ticks: int) -> None:
    assert learned((age, 9_000)).for_seconds(-1, 9_000) == ticks


def test_what_the_application_announces_counts_when_it_is_less() -> None:
    limit = IdleLimit()
    assert limit.for_seconds(-1, 0) == IDLE_TICKS
    assert limit.for_seconds(5, 0) == 40
    limit.died(30, 100)
    assert limit.for_seconds(5, 100) == 27
    assert limit.for_seconds(2, 100) == 10


def test_the_youngest_death_counts() -> None:
    assert learned((50, 100), (300, 200)).ticks == 45
    assert learned((300, 100), (50, 200)).ticks == 45


def test_connections_that_were_given_back_together_die_together() -> None:
    assert learned((50, 100), (50, 100), (51, 101)).ticks == 45


def test_a_restart_teaches_nothing() -> None:
    """It ends connections of every age at once."""
    assert learned((50, 100), (3, 100), (200, 101)).ticks == IDLE_TICKS
    assert learned((300, 50), (50, 100), (3, 100)).ticks == 270, "what was known stays"


def test_what_was_learned_once_is_tried_anew_soon_and_what_proves_true_later() -> None:
    limit = learned((50, 100))
    now, trust = 100, FIRST_TRUST
    while trust < LAST_TRUST:
        assert limit.for_seconds(-1, now + trust - 1) == 45
        assert limit.for_seconds(-1, now + trust - 1) == 45, "asking changes nothing"
        assert limit.for_seconds(-1, now + trust) == IDLE_TICKS
        now += trust + 50
        limit.died(50, now)
        trust = min(10 * trust, LAST_TRUST)
    assert limit.for_seconds(-1, now + LAST_TRUST - 1) == 45
    limit.died(20, now + 100)
    assert limit.for_seconds(-1, now + 100 + FIRST_TRUST) == IDLE_TICKS, "another age is another cause"


def test_it_forgets() -> None:
    limit = learned((50, 100))
    assert repr(limit) == "<IdleLimit 45>"
    limit.forget()
    assert limit.for_seconds(-1, 100) == IDLE_TICKS

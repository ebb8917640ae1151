"""Waits grow, are capped, and start again."""

from __future__ import annotations

from proxy.base.backoff import Backoff


def test_ceilings_double_up_to_the_longest() -> None:
    backoff = Backoff(0.1, 1.0, uniform=lambda: 1.0)
    assert [round(backoff.next(), 3) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    backoff.reset()
    assert backoff.next() == 0.1


def test_full_jitter_is_uniform_from_zero() -> None:
    draws = iter([0.0, 0.5, 0.25])
    backoff = Backoff(1.0, 8.0, uniform=lambda: next(draws))
    assert [backoff.next() for _ in range(3)] == [0.0, 1.0, 1.0]


def test_by_default_the_waits_differ() -> None:
    assert len({Backoff().next() for _ in range(20)}) > 10

"""The ring of hops: bounded in number and in bytes, and it says when somebody should come."""

from __future__ import annotations

from proxy.telemetry.hops import CAPTURED_BYTES, HOP_COUNTS, HOP_ID, Capture, HopRing, Raw


def told(number: int = 0, capture: Capture | None = None) -> Raw:
    return (b"", b"%016x" % number, b"", 0.0, b"", b"GET", b"/", 200, "", 0.0, 0.0, 0, 0, b"", capture)


def ring(limit: int = 3) -> tuple[HopRing, list[str]]:
    woken: list[str] = []
    return HopRing("0000abcd", lambda: woken.append("woken"), limit), woken


def test_ids_are_a_prefix_and_a_count() -> None:
    hops, _ = ring()
    ids = [HOP_ID % (hops.prefix, next(hops.ids) & HOP_COUNTS) for _ in range(2)]
    assert ids == [b"0000abcd00000001", b"0000abcd00000002"]


def test_it_wakes_only_when_it_was_empty() -> None:
    hops, woken = ring()
    hops.put(told())
    hops.put(told())
    assert woken == ["woken"]
    hops.take()
    hops.take()
    hops.put(told())
    assert woken == ["woken", "woken"]


def test_the_oldest_are_dropped_and_counted() -> None:
    hops, _ = ring()
    for number in range(5):
        hops.put(told(number))
    assert hops.dropped == 2
    assert [hops.take().id[-1:] for _ in range(2)] == [b"2", b"3"]
    assert repr(hops) == "<HopRing 1 dropped=2 captured=0>"


def test_what_is_captured_is_bounded_over_all() -> None:
    hops, _ = ring()
    capture = Capture(b"r" * 10, 10, b"a" * (CAPTURED_BYTES - 10), 20)
    assert hops.room(len(capture))
    assert not hops.room(1)
    hops.put(told(1, capture))
    assert hops.captured == CAPTURED_BYTES
    hops.take()
    assert hops.captured == 0
    assert hops.room(1)


def test_what_is_dropped_makes_room() -> None:
    hops, _ = ring(limit=1)
    capture = Capture(b"r", 1, b"", 0)
    assert hops.room(len(capture))
    hops.put(told(1, capture))
    hops.put(told(2))
    assert hops.captured == 0
    assert repr(capture) == "<Capture request=1 answer=0>"

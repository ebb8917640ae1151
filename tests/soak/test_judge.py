"""The judge convicts what leaks, and acquits what is merely uneven."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.soak import judge
from tests.soak.expected import APPLICATION, KEYS, MOVING, SHADOW_A, SHADOW_B, Key, Outages, Tally, Wrong
from tests.soak.judge import MIB
from tests.soak.samples import Sample

RUN_SECONDS = 1800
COUNT = 600


def samples(resident: Callable[[float], float], seconds: float = RUN_SECONDS) -> list[Sample]:
    """Of a run; `resident` says MiB from the part of the run that is over. A little noise is everywhere."""
    noise = random.Random(1)
    return [
        Sample(seconds * n / COUNT, int((resident(n / COUNT) + noise.random() / 2) * MIB), 20, 5) for n in range(COUNT)
    ]


def failed(verdicts: list[judge.Verdict]) -> list[str]:
    return [verdict.text for verdict in verdicts if not verdict.good]


@pytest.mark.parametrize(
    "resident",
    [
        lambda _: 40.0,
        lambda part: 40.0 + 30 * min(part, 1 / 3),
        lambda part: 44.0 - 4 * part,
        lambda part: 40.0 if random.Random(part).random() > 0.05 else 90.0,
        lambda part: 40.0 + 3 * ((part * 20) % 1),
    ],
    ids=["flat", "warms-up", "shrinks", "peaks", "sawtooth"],
)
def test_memory_that_does_not_leak(resident: Callable[[float], float]) -> None:
    assert failed(judge.memory("callee", samples(resident))) == []


@pytest.mark.parametrize(
    "resident",
    [
        lambda part: 40.0 + 12 * part,
        lambda part: 40.0 + 20 * max(0.0, part - 0.5),
        lambda part: 40.0 + 12 * part + 3 * ((part * 20) % 1),
        lambda part: 40.0 + (5.0 if part > 0.7 else 0.0),
        lambda part: 40.0 + 12 * part if random.Random(part).random() > 0.05 else 20.0,
    ],
    ids=["steadily", "late", "under-a-sawtooth", "at-once", "under-dips"],
)
def test_memory_that_leaks(resident: Callable[[float], float]) -> None:
    assert failed(judge.memory("callee", samples(resident)))


def test_a_leak_that_only_a_short_run_may_have() -> None:
    """A table that is still being filled looks like a leak; the verdict says that it knows."""
    short = samples(lambda part: 40.0 + 12 * part, seconds=180)
    assert failed(judge.memory("callee", short)) == []
    assert "a short run" in judge.memory("callee", short)[0].text
    assert failed(judge.memory("callee", samples(lambda part: 40.0 + 40 * part, seconds=180)))


def test_too_few_samples_are_no_acquittal() -> None:
    assert failed(judge.memory("callee", samples(lambda _: 40.0)[: judge.ENOUGH - 1]))


def test_the_slope_is_that_of_most_pairs() -> None:
    points = [(float(x), 2.0 * x) for x in range(20)]
    points[3] = (3.0, 1000.0)
    assert judge.slope(points) == pytest.approx(2.0)
    assert judge.slope(points[:1]) == 0


START = Sample(0, 40 * MIB, 20, 5)


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (Sample(9, 40 * MIB, 24, 5), "24 after it"),
        (Sample(9, 40 * MIB, 20, 10), "10 after it"),
        (Sample(9, 40 * MIB, 20, 5, clients=1), "1 from clients"),
        (Sample(9, 40 * MIB, 20, 5, busy=1), "1 busy upstream"),
        (Sample(9, 40 * MIB, 20, 5, idle=1), "1 idle upstream"),
    ],
)
def test_what_is_left(end: Sample, why: str) -> None:
    found = failed(judge.rest("callee", START, end))
    assert len(found) == 1
    assert why in found[0]


def test_nothing_is_left() -> None:
    assert failed(judge.rest("callee", START, Sample(9, 60 * MIB, 23, 9))) == []


def tally() -> Tally:
    made = Tally()
    made.good.update({"upload": 500, "download": 500})
    return made


def test_traffic() -> None:
    kinds = ["upload", "download"]
    assert failed(judge.traffic(tally(), kinds)) == []
    assert "nothing of events" in failed(judge.traffic(tally(), [*kinds, "events"]))[0]

    wrong = tally()
    wrong.note("download", Key("", ()), Wrong("another's"))
    assert failed(judge.traffic(wrong, kinds)) == ["1 answers from the wrong server or with the wrong body"]

    lost = tally()
    lost.note("download", Key("", ()), TimeoutError())
    assert failed(judge.traffic(lost, kinds)) == ["1 requests lost, besides 0 whose server was killed"]

    unrepeated = tally()
    unrepeated.unrepeated = 1
    assert failed(judge.traffic(unrepeated, kinds)) == []
    unrepeated.unrepeated = 2
    assert failed(judge.traffic(unrepeated, kinds))


@pytest.mark.parametrize(
    ("name", "server", "served_by"),
    [
        ("", APPLICATION, ""),
        ("nobody", APPLICATION, "shop/users;baseline"),
        ("nobody", APPLICATION, "shop/users;baseline;key=unknown"),
        ("stable", SHADOW_A, "shop/users;sandbox=stable;rev=1"),
        (MOVING[0], SHADOW_A, f"shop/users;sandbox={MOVING[0]};rev=3"),
        (MOVING[0], SHADOW_B, f"shop/users;sandbox={MOVING[0]};rev=2"),
        (MOVING[0], APPLICATION, "shop/users;baseline"),
    ],
)
def test_the_right_server(name: str, server: str, served_by: str) -> None:
    key = next(key for key in KEYS if key.name == name)
    key.check(server, served_by)
    for other in ({APPLICATION, SHADOW_A, SHADOW_B} - {server}) | {""}:
        with pytest.raises(Wrong):
            key.check(other, served_by)
    with pytest.raises(Wrong):
        key.check(server, "shop/users;sandbox=another;rev=1" if server == SHADOW_A else served_by + "x")


def test_only_who_was_killed_is_an_excuse() -> None:
    outages = Outages()
    before = outages.now()
    assert not outages.since(before, (APPLICATION, SHADOW_A))
    outages.killed(SHADOW_A)
    assert outages.since(before, (APPLICATION, SHADOW_A))
    assert not outages.since(before, (APPLICATION,))
    while_away = outages.now()
    outages.back(SHADOW_A)
    assert outages.since(while_away, (SHADOW_A,)), "it was away when the request began"
    assert outages.since(before, (SHADOW_A,)), "and it was killed since"
    assert not outages.since(outages.now(), (SHADOW_A,))

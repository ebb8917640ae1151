"""What was read from a carrier is remembered by its raw bytes: bounded, and only where it is worth it."""

from __future__ import annotations

import pytest

from proxy.exchange import carriers
from proxy.exchange.carriers import Carriers
from proxy.routing.key import NO_KEY, KeyReader
from proxy.telemetry.counters import SideCounters
from proxy.wire.fields import lines_of
from proxy.wire.head import HeadParser, Limits
from tests.proxy.exchange.playbook import Reports, get


class Reading:
    """Carriers under one configuration, and how often the reader behind them is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *key_headers: str) -> None:
        self.counters = SideCounters()
        self.reports = Reports()
        reader = KeyReader(("routing-key",), key_headers)
        self.parses = 0
        original = KeyReader.read

        def counted(*arguments: object) -> object:
            self.parses += 1
            return original(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(KeyReader, "read", counted)
        self.carriers = Carriers(reader, self.counters, self.reports)
        self._parser = HeadParser(Limits(), key_headers)

    def key(self, *lines: str) -> str:
        head = self._parser.request(get("/", *lines))
        assert head is not None
        return self.carriers.read(head).key


def test_the_same_value_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(monkeypatch)
    for number in range(5):
        assert reading.key("baggage: routing-key=a", f"x-number: {number}") == "a"
    assert reading.parses == 1
    assert reading.counters.key_carriers == {"baggage": 5}


def test_mistakes_are_counted_every_time_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(monkeypatch)
    for _ in range(3):
        assert reading.key("baggage: routing-key=b,routing-key=a,routing-key=not a key") == "a"
        assert reading.key("tracestate: routing-key=c", "baggage: routing-key=d") == "d"
    assert (reading.counters.keys_malformed, reading.counters.key_conflicts) == (3, 6)
    assert reading.reports.conflicts[:2] == [("baggage", "a", "baggage", "b"), ("baggage", "d", "tracestate", "c")]
    assert reading.parses == 2


def test_members_of_others_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """They vary with every request."""
    reading = Reading(monkeypatch)
    for number in range(100):
        assert reading.key(f"baggage: user={number}") == ""
        assert reading.key(f"tracestate: vendor={number}") == ""
    assert reading.parses == 0
    assert reading.carriers._readings == {}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriers, "MAX_READINGS", 10)
    reading = Reading(monkeypatch)
    for number in range(35):
        assert reading.key(f"baggage: routing-key=k{number}") == f"k{number}"
        assert len(reading.carriers._readings) <= 10
    assert reading.parses == 35
    assert reading.key("baggage: routing-key=k34") == "k34"
    assert reading.parses == 35


@pytest.mark.parametrize(("size", "parses"), [(512, 1), (513, 3)])
def test_it_is_bounded_in_bytes_as_well(monkeypatch: pytest.MonkeyPatch, size: int, parses: int) -> None:
    """4,096 values of 64 KiB each were half a gigabyte."""
    reading = Reading(monkeypatch)
    value = "routing-key=a,filling=".ljust(size, "x")
    for _ in range(3):
        assert reading.key(f"baggage: {value}") == "a"
    assert reading.parses == parses
    assert all(len(raw) <= carriers.MAX_RAW_BYTES for raw in reading.carriers._readings)


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        (["baggage: a=1,routing-key=x", "Baggage: routing-key=y , b=2"], "baggage: routing-key=y,a=1, b=2\r\n"),
        (
            ["baggage: routing-key=x", "tracestate: v=1,routing-key=y,w=2"],
            "baggage: routing-key=x\r\ntracestate: v=1,w=2\r\n",
        ),
        (["tracestate: routing-key=x", "x-first: y"], "baggage: routing-key=x\r\n"),
        (["x-first: x", "x-first: y"], "baggage: routing-key=x\r\n"),
    ],
)
def test_carriers_that_disagree_become_one(monkeypatch: pytest.MonkeyPatch, lines: list[str], left: str) -> None:
    reading = Reading(monkeypatch, "x-first")
    head = HeadParser(Limits(), ["x-first"]).request(get("/", *lines))
    assert head is not None
    found = reading.carriers.read(head)
    assert found.conflict is not None
    assert lines_of(reading.carriers.normalised(head, found.key)) == left.encode()
    assert reading.carriers.fields == {b"baggage", b"tracestate", b"x-first"}


def test_configured_headers_come_after_baggage_in_their_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(monkeypatch, "x-first", "x-second")
    assert reading.key("X-Second: two", "X-First:  one ") == "one"
    assert reading.key("x-first: one", "baggage: routing-key=zero") == "zero"
    assert reading.key("tracestate: a=b", "x-second: two") == "two"
    assert reading.counters.key_carriers == {"header": 2, "baggage": 1}
    assert reading.reports.conflicts == [("header", "one", "header", "two"), ("baggage", "zero", "header", "one")]


def test_configured_headers_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(monkeypatch, "x-first")
    assert reading.key() == reading.key("tracestate: a=b") == ""
    assert reading.parses == 0


def test_no_carrier_is_the_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Reading(monkeypatch)
    head = HeadParser(Limits()).request(get())
    assert head is not None
    assert reading.carriers.read(head) is NO_KEY

"""What was read from a carrier is remembered by its raw bytes: bounded, and only where it is worth it."""

from __future__ import annotations

import pytest

from proxy.exchange import carriers
from proxy.exchange.carriers import Carriers
from proxy.routing.key import NO_KEY, KeyReader, KeyReading
from proxy.telemetry.counters import SideCounters
from proxy.wire.fields import lines_of
from proxy.wire.head import HeadParser, Limits
from tests.proxy.exchange.playbook import Reports, get


class Reading:
    """Carriers under one configuration, and how often they had to take a value apart: each time makes an object."""

    def __init__(self, *key_headers: str) -> None:
        self.counters = SideCounters()
        self.reports = Reports()
        self.carriers = Carriers(KeyReader(("routing-key",), key_headers), self.counters, self.reports)
        self._readings: dict[int, KeyReading] = {}
        self._parser = HeadParser(Limits(), key_headers)

    def key(self, *lines: str) -> str:
        head = self._parser.request(get("/", *lines))
        assert head is not None
        found = self.carriers.read(head)
        self._readings[id(found)] = found
        return found.key

    @property
    def parses(self) -> int:
        return len(self._readings) - (id(NO_KEY) in self._readings)


def test_the_same_value_is_read_once() -> None:
    reading = Reading()
    for number in range(5):
        assert reading.key("baggage: routing-key=a", f"x-number: {number}") == "a"
    assert reading.parses == 1
    assert reading.counters.key_carriers == {"baggage": 5}


def test_mistakes_are_counted_every_time_they_come() -> None:
    reading = Reading()
    for _ in range(3):
        assert reading.key("baggage: routing-key=b,routing-key=a,routing-key=not a key") == "a"
        assert reading.key("tracestate: routing-key=c", "baggage: routing-key=d") == "d"
    assert (reading.counters.keys_malformed, reading.counters.key_conflicts) == (3, 6)
    assert reading.reports.conflicts[:2] == [("baggage", "a", "baggage", "b"), ("baggage", "d", "tracestate", "c")]
    assert reading.parses == 2


def test_members_of_others_are_not_remembered() -> None:
    """They vary with every request."""
    reading = Reading()
    for number in range(100):
        assert reading.key(f"baggage: user={number}") == ""
        assert reading.key(f"tracestate: vendor={number}") == ""
    assert reading.parses == 0
    assert reading.carriers._readings == {}


def test_memory_is_bounded() -> None:
    reading = Reading()
    most = 0
    values = 2 * carriers.MAX_READINGS + 5
    for number in range(values):
        assert reading.key(f"baggage: routing-key=k{number}") == f"k{number}"
        most = max(most, len(reading.carriers._readings))
    assert (most, len(reading.carriers._readings)) == (carriers.MAX_READINGS, 5)
    assert reading.parses == values
    assert reading.key(f"baggage: routing-key=k{values - 1}") == f"k{values - 1}"
    assert reading.parses == values


@pytest.mark.parametrize(("size", "parses"), [(512, 1), (513, 3)])
def test_it_is_bounded_in_bytes_as_well(size: int, parses: int) -> None:
    """4,096 values of 64 KiB each were half a gigabyte."""
    reading = Reading()
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
def test_carriers_that_disagree_become_one(lines: list[str], left: str) -> None:
    reading = Reading("x-first")
    head = HeadParser(Limits(), ["x-first"]).request(get("/", *lines))
    assert head is not None
    found = reading.carriers.read(head)
    assert found.conflict is not None
    assert lines_of(reading.carriers.normalised(head, found.key)) == left.encode()
    assert reading.carriers.fields == {b"baggage", b"tracestate", b"x-first"}


def test_configured_headers_come_after_baggage_in_their_own_order() -> None:
    reading = Reading("x-first", "x-second")
    assert reading.key("X-Second: two", "X-First:  one ") == "one"
    assert reading.key("x-first: one", "baggage: routing-key=zero") == "zero"
    assert reading.key("tracestate: a=b", "x-second: two") == "two"
    assert reading.counters.key_carriers == {"header": 2, "baggage": 1}
    assert reading.reports.conflicts == [("header", "one", "header", "two"), ("baggage", "zero", "header", "one")]


def test_configured_headers_that_are_not_there() -> None:
    reading = Reading("x-first")
    assert reading.key() == reading.key("tracestate: a=b") == ""
    assert reading.parses == 0


def test_no_carrier_is_the_one_reading() -> None:
    reading = Reading()
    head = HeadParser(Limits()).request(get())
    assert head is not None
    assert reading.carriers.read(head) is NO_KEY

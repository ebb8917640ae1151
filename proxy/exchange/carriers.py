"""Reading the routing key from a head, at the price of one dictionary look-up for a value that was seen before."""

from __future__ import annotations

import re
from typing import Final

from proxy.exchange.ports import Reporter
from proxy.routing.key import BAGGAGE, NO_KEY, TRACESTATE, KeyReader, KeyReading, with_key
from proxy.telemetry.counters import SideCounters
from proxy.wire.head import RequestHead

MAX_READINGS: Final = 4096
"""Readings kept by the raw lines that they came from. When they are full they start over; values that vary with
every request cost a parse each, which is what all of them would cost without this."""

MAX_RAW_BYTES: Final = 512
"""Of the lines whose reading is kept, so that all of them weigh 4 MiB at most: 4,096 x (512 bytes of lines, and about
500 of a reading, two keys and a place in the dictionary). Longer ones are read each time."""


class Carriers:
    """Finds the fields that may carry a key and remembers what was in them. One per direction, for its counters.

    fields: the names of those fields, lower case.
    """

    __slots__ = ("_counters", "_lines", "_reader", "_readings", "_reporter", "fields")

    def __init__(self, reader: KeyReader, counters: SideCounters, reporter: Reporter) -> None:
        self._reader = reader
        self._counters = counters
        self._reporter = reporter
        self._readings: dict[bytes, KeyReading] = {}
        names = [BAGGAGE, TRACESTATE, *reader.key_headers]
        self.fields = frozenset(name.encode() for name in names)
        # The field lines of a head that may carry a key, from their leading CRLF on.
        named = b"|".join(re.escape(name.encode()) for name in names)
        self._lines = re.compile(rb"\r\n(?:" + named + rb"):[^\r]*", re.IGNORECASE)

    def read(self, head: RequestHead) -> KeyReading:
        """What the head says about a key. Counts it."""
        if head.plain:
            if head.baggage is None:
                return NO_KEY
            # The bare value: it cannot be taken for lines, each of which begins with a CR.
            reading = self._readings.get(head.baggage) or self._read_baggage(head.baggage)
        else:
            lines = b"".join(self._lines.findall(head.data[: head.end]))
            reading = self._readings.get(lines) or self._read_lines(lines, lines)
        if reading.key:
            self._counters.key_carriers[reading.carrier] += 1
        if reading.malformed or reading.conflict:
            self._count_mistakes(reading)
        return reading

    def normalised(self, head: RequestHead, key: str) -> bytes:
        """The field lines that take the place of all carriers (`fields`) when they disagree: `key` once, and every
        other member that they hold."""
        values: dict[bytes, list[bytes]] = {}
        for line in self._lines.findall(head.data[: head.end]):
            name, _, value = line[2:].partition(b":")
            values.setdefault(name.lower(), []).append(value.strip(b" \t"))
        others = self._reader.without_keys(values.get(b"baggage", ()))
        baggage = with_key([others], self._reader.key_names[0], key)
        state = self._reader.without_keys(values.get(b"tracestate", ()))
        return b"baggage: %b\r\n" % baggage + (b"tracestate: %b\r\n" % state if state else b"")

    def _read_baggage(self, value: bytes) -> KeyReading:
        if not self._reader.may_hold_key(value):
            return NO_KEY  # not remembered: other members vary with every request
        return self._read_lines(b"\r\nbaggage:" + value, value)

    def _read_lines(self, lines: bytes, raw: bytes) -> KeyReading:
        """Take lines apart; what was in them is remembered under `raw`."""
        if not self._reader.key_headers and not self._reader.may_hold_key(lines):
            return NO_KEY
        values: dict[str, list[bytes]] = {}
        for line in lines.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            field = name.decode().lower()
            if field in self._reader.key_headers or self._reader.may_hold_key(value):
                values.setdefault(field, []).append(value.strip(b" \t"))
        if not values:
            return NO_KEY
        headers = [value for name in self._reader.key_headers for value in values.get(name, ())]
        reading = self._reader.read(values.get(BAGGAGE, ()), values.get(TRACESTATE, ()), headers)
        if len(raw) <= MAX_RAW_BYTES:
            if len(self._readings) >= MAX_READINGS:
                self._readings.clear()
            self._readings[raw] = reading
        return reading

    def _count_mistakes(self, reading: KeyReading) -> None:
        self._counters.keys_malformed += reading.malformed
        if reading.conflict is not None:
            self._counters.key_conflicts += 1
            self._reporter.key_conflict(reading.carrier, reading.key, *reading.conflict)

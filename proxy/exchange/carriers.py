"""Reading the routing key from a head, at the price of one dictionary look-up for a value that was seen before."""

from __future__ import annotations

from typing import Final

from proxy.exchange.ports import Reporter
from proxy.routing.fields import Field, Fields
from proxy.routing.key import BAGGAGE, NO_KEY, TRACESTATE, KeyReader, KeyReading, with_key
from proxy.telemetry.counters import SideCounters
from proxy.wire.head import RequestHead

MAX_READINGS: Final = 4096
"""Readings kept by the raw lines that they came from. When they are full they start over; values that vary with
every request cost a parse each, which is what all of them would cost without this."""

MAX_RAW_BYTES: Final = 512
"""Of the lines whose reading is kept, so that all of them weigh 4 MiB at most: 4,096 x (512 bytes of lines, and about
500 of a reading, two keys and a place in the dictionary). Longer ones are read each time."""


BAGGAGE_NAME: Final = BAGGAGE.encode()
_TRACESTATE_NAME: Final = TRACESTATE.encode()


class Carriers:
    """Finds the fields that may carry a key and remembers what was in them. One per direction, for its counters.

    fields: the names of those fields, lower case.
    """

    __slots__ = ("_counters", "_names", "_reader", "_readings", "_reporter", "fields")

    def __init__(self, reader: KeyReader, counters: SideCounters, reporter: Reporter) -> None:
        self._reader = reader
        self._counters = counters
        self._reporter = reporter
        self._readings: dict[bytes, KeyReading] = {}
        names = [BAGGAGE, TRACESTATE, *reader.key_headers]
        self.fields = frozenset(name.encode() for name in names)
        self._names = [name.encode() for name in names]

    def read(self, head: RequestHead) -> KeyReading:
        """What the head says about a key. Counts it."""
        if head.plain:
            if head.baggage is None:
                return NO_KEY
            # The bare value: it cannot be taken for those of several fields, which have a CR in between.
            reading = self._readings.get(head.baggage) or self._read_baggage(head.baggage)
        else:
            reading = self._read_fields(head)
        if reading.key:
            self._counters.key_carriers[reading.carrier] += 1
        if reading.malformed or reading.conflict:
            self._count_mistakes(reading)
        return reading

    def normalised(self, head: Fields, key: str) -> list[Field]:
        """What takes the place of all carriers (`fields`) when they disagree: `key` once, and every other member that
        they hold."""
        others = self._reader.without_keys(head.values(BAGGAGE_NAME))
        state = self._reader.without_keys(head.values(_TRACESTATE_NAME))
        found = [(BAGGAGE_NAME, with_key([others], self._reader.key_names[0], key))]
        return [*found, (_TRACESTATE_NAME, state)] if state else found

    def _read_baggage(self, value: bytes) -> KeyReading:
        if not self._reader.may_hold_key(value):
            return NO_KEY  # not remembered: other members vary with every request
        return self._remember(value, self._reader.read([value]))

    def _read_fields(self, head: Fields) -> KeyReading:
        values = [head.values(name) for name in self._names]
        # A CR stands in no value: nothing else joins to the same bytes.
        raw = b"\r\r".join([b"\r".join(lines) for lines in values])
        reading = self._readings.get(raw)
        if reading is not None:
            return reading
        baggage, tracestate, *others = values
        headers = [value for lines in others for value in lines]
        if not headers and not self._reader.may_hold_key(raw):
            return NO_KEY
        return self._remember(raw, self._reader.read(baggage, tracestate, headers))

    def _remember(self, raw: bytes, reading: KeyReading) -> KeyReading:
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

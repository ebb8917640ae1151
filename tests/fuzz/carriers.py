"""Any baggage and tracestate: no error, a key is a key, and adding one loses nothing and is read back.

The input is lines: `t` in front makes one a line of tracestate, all others are baggage.
"""

from __future__ import annotations

from proxy.contract.names import DEFAULT_KEY_NAMES, ROUTING_KEY
from proxy.routing.key import BAGGAGE, KeyReader, KeyReading, with_key

_READER = KeyReader(DEFAULT_KEY_NAMES)
_NAME = DEFAULT_KEY_NAMES[0]


def one_input(data: bytes) -> None:
    lines = [line.strip(b" \t") for line in data.replace(b"\r", b"\n").replace(b"\0", b"\n").split(b"\n")]
    baggage = [line for line in lines if not line.startswith(b"t")]
    tracestate = [line[1:] for line in lines if line.startswith(b"t")]
    reading = _READER.read(baggage, tracestate)
    assert bool(reading.key) == bool(reading.carrier)
    assert not reading.key or ROUTING_KEY.fullmatch(reading.key)
    if reading.conflict is not None:
        assert ROUTING_KEY.fullmatch(reading.conflict[1])
        assert reading.conflict[1] != reading.key
    joined = _READER.read([b",".join(baggage)], [b",".join(tracestate)])
    assert joined == reading, "several lines of one field are one list"
    if reading.key:
        value = with_key([_READER.without_keys(baggage)], _NAME, reading.key)
        rest = _READER.without_keys(tracestate)
        found = _READER.read([value], [rest])
        assert found == KeyReading(reading.key, BAGGAGE, reading.malformed), "one member is left, and nothing else goes"
    if not any(_READER.may_hold_key(line) for line in lines):
        assert not reading.key
    if not _READER.read(baggage).key and not _READER.read(baggage).malformed:
        _adding(baggage)


def _adding(baggage: list[bytes]) -> None:
    """`baggage` has no key; the sidecar adds one."""
    value = with_key(baggage, _NAME, "agent-42")
    assert _READER.read([value]).key == "agent-42"
    before = [member for line in baggage for member in line.split(b",") if member.strip(b" \t")]
    after = [member for member in value.split(b",") if member.strip(b" \t")]
    assert after[1:] == before, "the other members pass byte for byte"

"""Which routing key a request carries.

First match wins, in this order:

1. `baggage` members (W3C Baggage) named in `key_names`, in the order of the names;
2. `tracestate` members (W3C Trace Context section 3.3) of the same names;
3. plain headers named in `key_headers`, in their order.

A malformed member is skipped and never costs the header its other members: real clients send
`undefined,routing-key=x`. A value outside the grammar of a key (`proxy.contract.names`) counts as no key. Two
carriers that name different keys are a conflict: the first wins, and somebody should know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from proxy.contract.names import ROUTING_KEY

KNOWN_ALIASES = ("kubernetes-route-as", "x-virtual-env", "uberctx-sd-routing-key", "ot-baggage-sd-routing-key")
"""Headers in which other products carry their key; none is read unless it is configured."""

BAGGAGE = "baggage"
TRACESTATE = "tracestate"
HEADER = "header"

MAX_BAGGAGE_MEMBERS = 64
MAX_BAGGAGE_BYTES = 8192
"""What a platform must propagate (W3C Baggage section 3.3.2); more may be dropped on the way, so we add no more."""


@dataclass(frozen=True, slots=True)
class KeyReading:
    """What was found.

    key:       the routing key, "" for none.
    carrier:   BAGGAGE, TRACESTATE or HEADER; "" without a key.
    malformed: values that stood where a key belongs and were none.
    conflict:  (carrier, key) of the first later carrier that named another key, None when all agree.
    """

    key: str = ""
    carrier: str = ""
    malformed: int = 0
    conflict: tuple[str, str] | None = None


NO_KEY = KeyReading()


class KeyReader:
    """Reads keys under one configuration. Keeps no state between calls.

    key_names:   member names, case-sensitive as the specifications say.
    key_headers: field names, lower case.
    """

    __slots__ = ("_needles", "key_headers", "key_names")

    def __init__(self, key_names: Sequence[str], key_headers: Sequence[str] = ()) -> None:
        self.key_names = tuple(key_names)
        self.key_headers = tuple(name.lower() for name in key_headers)
        names = [name.encode() for name in key_names]
        # A name that holds another one is found by that.
        self._needles = [name for name in names if not any(other != name and other in name for other in names)]

    def may_hold_key(self, value: bytes) -> bool:
        """A quick no for carriers that hold none of the names."""
        for needle in self._needles:  # noqa: SIM110 (a generator for every request costs more than the search)
            if value.find(needle) >= 0:  # `in` would first try whether `needle` is a number
                return True
        return False

    def read(
        self, baggage: Sequence[bytes], tracestate: Sequence[bytes] = (), headers: Sequence[bytes] = ()
    ) -> KeyReading:
        """The key in the values of the three carriers. Several lines of one field are one list."""
        key = carrier = ""
        conflict = None
        malformed = 0
        for found_in, value in self._candidates(baggage, tracestate, headers):
            text = unquote(value.decode("latin-1"))
            if not ROUTING_KEY.fullmatch(text):
                malformed += 1
            elif not key:
                key, carrier = text, found_in
            elif text != key and conflict is None:
                conflict = (found_in, text)
        return KeyReading(key, carrier, malformed, conflict)

    def _candidates(
        self, baggage: Sequence[bytes], tracestate: Sequence[bytes], headers: Sequence[bytes]
    ) -> Iterator[tuple[str, bytes]]:
        """(carrier, raw value) in order of precedence."""
        for carrier, lines in ((BAGGAGE, baggage), (TRACESTATE, tracestate)):
            members = list(_members(lines))
            for name in self.key_names:
                wanted = name.encode()
                yield from ((carrier, value) for member, value in members if member == wanted)
        yield from ((HEADER, value) for value in headers)


def _members(lines: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """(name, value) of every well-formed member; properties behind `;` are no part of the value."""
    for line in lines:
        for member in line.split(b","):
            name, equals, value = member.partition(b"=")
            if equals:
                yield name.strip(b" \t"), value.partition(b";")[0].strip(b" \t")


def with_key(lines: Sequence[bytes], name: str, key: str) -> bytes | None:
    """The one `baggage` value that carries `key` besides everything that the lines carried, byte for byte.

    None when the limits of W3C Baggage section 3.3.2 leave no room.
    """
    member = f"{name}={key}".encode()
    held = b",".join(line for line in lines if line.strip(b" \t,"))
    if not held:
        return member
    if held.count(b",") + 2 > MAX_BAGGAGE_MEMBERS or len(held) + 1 + len(member) > MAX_BAGGAGE_BYTES:
        return None
    return held + b"," + member

"""Which routing key a request carries.

First match wins, in this order:

1. `baggage` members (W3C Baggage) named in `key_names`, in the order of the names;
2. `tracestate` members (W3C Trace Context section 3.3) of the same names;
3. plain headers named in `key_headers`, in their order.

Of several members of one name the last one wins, as OpenTelemetry's propagators have it. A malformed member is skipped
and never costs the header its other members: real clients send `undefined,routing-key=x`. A value outside the grammar
of a key (`proxy.contract.names`) counts as no key, and the answer says so.

Members or carriers that name different keys are a conflict. The first sidecar that meets it decides, as above, and what
leaves it has one member (`KeyReader.normalised`): whoever reads it next, by whatever rule, finds the same key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from proxy.contract.names import ROUTING_KEY

KNOWN_ALIASES: Final = ("kubernetes-route-as", "x-virtual-env", "uberctx-sd-routing-key", "ot-baggage-sd-routing-key")
"""Headers in which other products carry their key; none is read unless it is configured."""

BAGGAGE: Final = "baggage"
TRACESTATE: Final = "tracestate"
HEADER: Final = "header"


@dataclass(frozen=True, slots=True)
class KeyReading:
    """What was found.

    key:       the routing key, "" for none.
    carrier:   BAGGAGE, TRACESTATE or HEADER; "" without a key.
    malformed: values that stood where a key belongs and were none.
    conflict:  (carrier, key) of the first that named another key, None when all agree.
    """

    key: str = ""
    carrier: str = ""
    malformed: int = 0
    conflict: tuple[str, str] | None = None


NO_KEY: Final = KeyReading()


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
        others: list[tuple[str, str]] = []
        malformed = 0
        for found_in, values in self._candidates(baggage, tracestate, headers):
            readable = [text for value in values if (text := readable_key(value))]
            malformed += len(values) - len(readable)
            if readable and not key:
                key, carrier = readable.pop(), found_in
            others += [(found_in, text) for text in readable]
        conflict = next((other for other in others if other[1] != key), None)
        return KeyReading(key, carrier, malformed, conflict)

    def _candidates(
        self, baggage: Sequence[bytes], tracestate: Sequence[bytes], headers: Sequence[bytes]
    ) -> Iterator[tuple[str, list[bytes]]]:
        """(carrier, the raw values of one name) in order of precedence."""
        for carrier, lines in ((BAGGAGE, baggage), (TRACESTATE, tracestate)):
            members = list(_members(lines))
            for name in self.key_names:
                wanted = name.encode()
                yield carrier, [value for member, value in members if member == wanted]
        yield from ((HEADER, [value]) for value in headers)

    def without_keys(self, lines: Sequence[bytes]) -> bytes:
        """The members of all lines in one, byte for byte, but those that name a key."""
        wanted = {name.encode() for name in self.key_names}
        kept = []
        for member in b",".join(lines).split(b","):
            for name, value in _members([member]):
                if name in wanted and readable_key(value):
                    break
            else:
                kept.append(member)
        return b",".join(kept)


def readable_key(value: bytes) -> str:
    """The key that a value stands for, percent-decoded; "" when it is none."""
    text = unquote(value.decode("latin-1"))
    return text if ROUTING_KEY.fullmatch(text) else ""


def _members(lines: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """(name, value) of every well-formed member; properties behind `;` are no part of the value."""
    for line in lines:
        for member in line.split(b","):
            name, equals, value = member.partition(b"=")
            if equals:
                yield name.strip(b" \t"), value.partition(b";")[0].strip(b" \t")


def with_key(lines: Sequence[bytes], name: str, key: str) -> bytes:
    """The one `baggage` value that carries `key` besides everything that the lines carried, byte for byte.

    The key stands in front, and there is always room for it: the 64 members and 8,192 bytes of W3C Baggage section
    3.3.2 are what everybody must let through at least, and who drops what is beyond them keeps what came first.
    """
    member = f"{name}={key}".encode()
    return b",".join([member, *(line for line in lines if line.strip(b" \t,"))])

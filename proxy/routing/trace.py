"""Trace ids: what tells that an outbound call belongs to an inbound request when the application forwards no key.

Formats, and which part of each is the id: the others change with every hop.

| fields                                   | defined by                                | the id                     |
|------------------------------------------|-------------------------------------------|----------------------------|
| `traceparent`, `elastic-apm-traceparent` | W3C Trace Context section 3.2, Elastic APM | trace-id, 128 bits         |
| `b3`, `x-b3-traceid`                     | OpenZipkin B3                             | 64 or 128 bits             |
| `uber-trace-id`                          | Jaeger                                    | up to 128 bits, unpadded   |
| `x-datadog-trace-id`, `x-datadog-tags`   | Datadog                                   | 64 bits, and `_dd.p.tid`   |
| `x-amzn-trace-id`                        | AWS X-Ray                                 | Root, 32 + 96 bits         |
| `x-cloud-trace-context`                  | Google Cloud Trace                        | before the slash           |
| `sentry-trace`                           | Sentry                                    | before the span            |
| `ot-tracer-traceid`                      | OpenTracing (Lightstep)                   | up to 128 bits, unpadded   |
| `request-id`                             | .NET, hierarchical                        | the root, to the first dot |
| `sw8`                                    | SkyWalking                                | second part, base64        |
| `x-request-id`, configured ones          | their users                               | the whole value            |

One trace may be named by several of them: an application may read B3 and write Datadog. So an id has one form:

    32 hexadecimal digits    128 bits
    16 hexadecimal digits    64 bits, or 128 of which the upper half is zero
    `=` and text             anything else; in lower case, a digest of it when it is long

A value that stands for "there is none" is no id: all who send it would share it (`names_none`).
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from proxy.routing.fields import Fields

TRACE_FIELDS: Final = (
    "traceparent", "b3", "x-b3-traceid", "uber-trace-id", "x-datadog-trace-id", "x-amzn-trace-id", "sentry-trace",
    "x-cloud-trace-context", "elastic-apm-traceparent", "ot-tracer-traceid", "request-id", "sw8", "x-request-id",
)  # fmt: skip
"""What is understood without configuration."""

MAX_IDS: Final = 8
"""Of one request or call: a trace in every format is one id, a request id another. More are a stranger's guesses."""

MAX_ID_BYTES: Final = 200
"""Of an id that is text; a longer one is none."""

KEPT_BYTES: Final = 64
"""Of an id that is text: what is longer is kept as a digest, so that a stranger cannot choose what an id weighs."""

_EXAMPLES: Final = (b"4bf92f3577b34da6a3ce929d0e0e4736", b"0af7651916cd43dd8448eb211c80319c")
EXAMPLES: Final = frozenset(
    (*_EXAMPLES, *(b"~" + ident[16:] for ident in _EXAMPLES), *(ident[16:] for ident in _EXAMPLES))
)
"""The ids that W3C Trace Context prints, by all their names: people copy them, each with a key of their own."""

_ZERO: Final = b"0" * 16

_WORDS: Final = frozenset(
    b"undefined null none nil nan unknown n/a na void empty missing false true string object uuid guid id todo tbd "
    b"x-request-id request-id request_id requestid trace-id trace_id traceid correlation-id".split()
) | {b"object object", b"not set", b"no value"}  # fmt: skip
_AROUND: Final = b"\"'`()<>[]{} \t"
_NONE: Final = re.compile(
    rb"[-0._:]*+|f{8}-?(?:f{4}-?){3}f{12}"  # Guid.Empty, an unset variable's dash, the largest UUID
    rb"|\$[a-z_({].*+|[%#]\{.*+|%[a-z(!%].*+"  # a template's leftovers
)
_LEFTOVER: Final = re.compile(rb"\$\{|\{\{|<%|%\(|%[sdvq](?![0-9a-z])")
NONE_WORDS: Final = _WORDS
"""Values that are no id as they stand, lower case."""


def names_none(value: bytes) -> bool:
    """A value, in lower case, that stands for "there is none": a word of some language for it, zeros, what is left of
    a template that nobody has filled in, or nothing at all."""
    bare = value.strip(_AROUND)
    if bare in _WORDS or _NONE.fullmatch(bare) or _NONE.fullmatch(value):
        return True
    return _LEFTOVER.search(value) is not None


def text_id(value: bytes) -> bytes:
    """The id of a value that is text, in lower case; b"" when it names none or is too long."""
    if len(value) > MAX_ID_BYTES or names_none(value):
        return b""
    if len(value) > KEPT_BYTES:
        return b"=#" + blake2b(value, digest_size=16).hexdigest().encode()
    return b"=" + value


def hexadecimal_id(digits: bytes) -> bytes:
    """The id of up to 32 digits in lower case; b"" for zeros (W3C Trace Context section 3.2.2.3)."""
    digits = digits.rjust(32, b"0")
    if digits[:16] != _ZERO:
        return digits
    return digits[16:] if digits[16:] != _ZERO else b""


def skywalking_id(value: bytes) -> bytes:
    """The id in the value of `sw8`, whose letters have both cases; b"" when it has none."""
    parts = value.split(b"-")
    if len(parts) != 8:
        return b""
    try:
        text = a2b_base64(parts[1], strict_mode=True).lower()
    except Error:
        return b""
    return hexadecimal_id(text) if _TRACE.fullmatch(text) else text_id(text)


def names(ids: Sequence[bytes]) -> list[bytes]:
    """The names under which a request with these ids is known, each once: an id of 128 bits is known by its lower 64 as
    well, marked, since a callee may know no more of it."""
    found = list(ids)
    for ident in ids:
        if len(ident) == 32 and not ident.startswith(b"="):
            short = b"~" + ident[16:]
            if short not in found:
                found.append(short)
    return found


_TAGS: Final = b"x-datadog-tags"
_TRACE: Final = re.compile(rb"[0-9a-f]{32}")

_PARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})(?![^- \t])")
_SHORT_OR_LONG: Final = re.compile(rb"([0-9a-f]{16}(?:[0-9a-f]{16})?)(?![^- \t])")
_HEXADECIMAL: Final = {
    b"traceparent": _PARENT,
    b"elastic-apm-traceparent": _PARENT,
    b"b3": _SHORT_OR_LONG,
    b"x-b3-traceid": _SHORT_OR_LONG,
    b"ot-tracer-traceid": re.compile(rb"([0-9a-f]{1,32})(?![^ \t])"),
    b"sentry-trace": re.compile(rb"([0-9a-f]{32})(?![^- \t])"),
    b"x-cloud-trace-context": re.compile(rb"([0-9a-f]{32})(?![^/; \t])"),
    b"uber-trace-id": re.compile(rb"([0-9a-f]{1,32})(?:%3a|:)"),
}
"""How values begin whose id is hexadecimal."""

_ROOT: Final = re.compile(rb".{0,200}?root=1-([0-9a-f]{8})-([0-9a-f]{24})(?![0-9a-z])", re.DOTALL)
_DECIMAL: Final = re.compile(rb"[0-9]{1,20}")
_DOTNET: Final = re.compile(rb"(?:\|?([0-9a-f]{32})(?![^. \t])|00-([0-9a-f]{32})-)")
_DOTNET_ROOT: Final = re.compile(rb"\|?+([^.]{1,%d}+)(?![^.])" % MAX_ID_BYTES)


class TraceReader:
    """Finds the ids in a head.

    fields: further fields whose whole value is an id, lower case.
    """

    __slots__ = ("_asked", "_names", "_own", "fields")

    def __init__(self, fields: Sequence[str] = ()) -> None:
        self.fields = tuple(name for name in dict.fromkeys(map(str.lower, fields)) if name not in TRACE_FIELDS)
        self._own = [name.encode() for name in self.fields]
        self._names = [*(name.encode() for name in TRACE_FIELDS), *self._own]
        self._asked = frozenset({*self._names, _TAGS})

    def ids(self, head: Fields) -> list[bytes]:
        """The ids that the head names, each once; MAX_IDS at most."""
        found: list[bytes] = []
        values = head.among(self._asked)
        for name in self._names:
            for value in values.get(name, ()):
                ident = _ident(name, value, values.get(_TAGS, ()))
                if ident and ident not in found:
                    found.append(ident)
                    if len(found) == MAX_IDS:
                        return found
        return found

    def configured(self, head: Fields) -> list[bytes]:
        """The ids that the configured fields name."""
        return [ident for name in self._own for value in head.values(name) if (ident := text_id(value.lower()))]

    def seen(self, head: Fields) -> list[str]:
        """The names of the fields that may name a trace, usable or not: they say why a key was lost."""
        return [name.decode() for name in self._names if head.values(name)]


def _ident(name: bytes, value: bytes, tags: Sequence[bytes]) -> bytes:
    """The id that a value of the field `name` names; b"" for none. tags: values of `x-datadog-tags`."""
    if name == b"sw8":
        return skywalking_id(value)
    value = value.lower()
    pattern = _HEXADECIMAL.get(name)
    if pattern is not None:
        match = pattern.match(value)
        return hexadecimal_id(match[1]) if match is not None else b""
    if name == b"x-amzn-trace-id":
        match = _ROOT.match(value)
        return hexadecimal_id(match[1] + match[2]) if match is not None else b""
    if name == b"x-datadog-trace-id":
        return datadog_id(value, tags[0].lower() if tags else b"") if _DECIMAL.fullmatch(value) else b""
    if name == b"request-id":
        match = _DOTNET.match(value)
        if match is not None:
            return hexadecimal_id(match[1] or match[2])
        match = _DOTNET_ROOT.match(value)
        return text_id(match[1].rstrip(b" \t")) if match is not None else b""
    return text_id(value)


_UPPER: Final = re.compile(rb"(?:^|,)[ \t]*+_dd\.p\.tid=([0-9a-f]{16})(?![^, \t])")


def datadog_id(decimal: bytes, tags: bytes) -> bytes:
    """The id of Datadog's two parts: the lower 64 bits in decimal, and the upper ones among its tags, if they are."""
    upper = _UPPER.search(tags)
    return hexadecimal_id((upper[1] if upper else b"") + b"%016x" % (int(decimal) & 0xFFFFFFFFFFFFFFFF))

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
| `ot-tracer-traceid`                      | OpenTracing (Lightstep)                   | 64 or 128 bits             |
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


_TRACE: Final = re.compile(rb"[0-9a-f]{32}")
_TAGS: Final = re.compile(rb"\r\nx-datadog-tags:[ \t]*+([^\r]*+)")
_SKYWALKING: Final = re.compile(rb"\r\nsw8:[ \t]*+([^\r]*+)", re.IGNORECASE)
_SEEN: Final = re.compile(rb"\r\n(%b):" % b"|".join(re.escape(name.encode()) for name in TRACE_FIELDS))


class TraceReader:
    """Finds the ids in a head.

    fields: further fields whose whole value is an id, lower case.
    """

    __slots__ = ("_configured", "_pattern", "fields")

    def __init__(self, fields: Sequence[str] = ()) -> None:
        self.fields = tuple(name for name in dict.fromkeys(map(str.lower, fields)) if name not in TRACE_FIELDS)
        opaque = b"|".join(re.escape(name.encode()) for name in ("x-request-id", *self.fields))
        own = b"|".join(re.escape(name.encode()) for name in self.fields)
        self._configured = re.compile(rb"\r\n(?:%b):[ \t]*+([^\r]*+)" % own) if own else None
        # One pass for all formats. Groups: hexadecimal; the halves of X-Ray's; decimal; the root of .NET's; text.
        self._pattern = re.compile(
            rb"\r\n(?:(?:(?:elastic-apm-)?traceparent:[ \t]*+(?!ff)[0-9a-f]{2}-(?=[0-9a-f]{32}[-\r \t])"
            rb"|(?:b3|(?:x-b3|ot-tracer)-traceid):[ \t]*+(?=[0-9a-f]{16}(?:[0-9a-f]{16})?[-\r \t])"
            rb"|sentry-trace:[ \t]*+(?=[0-9a-f]{32}[-\r \t])"
            rb"|x-cloud-trace-context:[ \t]*+(?=[0-9a-f]{32}[/;\r \t])"
            rb"|uber-trace-id:[ \t]*+(?=[0-9a-f]{1,32}(?:%3a|:))"
            rb"|request-id:[ \t]*+(?:\|?(?=[0-9a-f]{32}[.\r \t])|00-(?=[0-9a-f]{32}-)))([0-9a-f]++)"
            rb"|x-amzn-trace-id:[^\r]{0,200}?root=1-([0-9a-f]{8})-([0-9a-f]{24})(?![0-9a-z])"
            rb"|x-datadog-trace-id:[ \t]*+([0-9]{1,20})[ \t]*+(?=\r)"
            + rb"|request-id:[ \t]*+\|?+([^\r.]{1,%d}+)(?=[.\r])" % MAX_ID_BYTES
            + rb"|(?:%b):[ \t]*+([^\r]{1,%d}+)(?=\r))" % (opaque, MAX_ID_BYTES)
        )

    def ids(self, low: bytes, data: bytes) -> list[bytes]:
        """The ids that the head names, each once, in the order of its lines; MAX_IDS at most.

        low: the head in lower case; data: what it was made of.
        """
        found: list[bytes] = []
        for hexadecimal, epoch, rest, decimal, root, text in self._pattern.findall(low):
            if hexadecimal or epoch:
                ident = hexadecimal_id(hexadecimal or epoch + rest)
            elif decimal:
                tags = _TAGS.search(low)
                ident = datadog_id(decimal, tags[1] if tags else b"")
            else:
                ident = text_id((root or text).rstrip(b" \t"))
            if ident and ident not in found:
                found.append(ident)
                if len(found) == MAX_IDS:
                    return found
        if b"\r\nsw8:" in low:
            match = _SKYWALKING.search(data)
            ident = skywalking_id(match[1].strip(b" \t")) if match else b""
            if ident and ident not in found:
                found.append(ident)
        return found

    def configured(self, low: bytes) -> list[bytes]:
        """The ids that the configured fields name."""
        values = self._configured.findall(low) if self._configured is not None else []
        return [ident for value in values if (ident := text_id(value.rstrip(b" \t")))]

    def seen(self, low: bytes) -> list[str]:
        """The names of the fields that may name a trace, usable or not, for whoever has to say why a key was lost."""
        known = [name.decode() for name in dict.fromkeys(_SEEN.findall(low))]
        return known + [name for name in self.fields if b"\r\n%b:" % name.encode() in low]


_UPPER: Final = re.compile(rb"(?:^|,)[ \t]*+_dd\.p\.tid=([0-9a-f]{16})(?![^, \t])")


def datadog_id(decimal: bytes, tags: bytes) -> bytes:
    """The id of Datadog's two parts: the lower 64 bits in decimal, and the upper ones among its tags, if they are."""
    upper = _UPPER.search(tags)
    return hexadecimal_id((upper[1] if upper else b"") + b"%016x" % (int(decimal) & 0xFFFFFFFFFFFFFFFF))

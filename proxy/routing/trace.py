"""Trace ids: what tells that an outbound call belongs to an inbound request when the application forwards no key.

Formats: W3C Trace Context section 3.2 (`traceparent`), OpenZipkin B3 single and multi, Jaeger (`uber-trace-id`),
Datadog (decimal, the low 64 bits), `x-request-id` (any text). One trace may be named by several of them: an
application may read B3 and write Datadog. So an id is reduced to its low 64 bits in hexadecimal, which every format
but the last can express; `x-request-id` values and configured headers stand for themselves.

A keyed request is given the formats that it lacks, all naming the same trace: the application behind us may
forward only one of them, and the one that it forwards may not be the one that its caller forwarded. Nothing is
added to a request without a key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

TRACE_HEADERS = ("traceparent", "b3", "x-b3-traceid", "uber-trace-id", "x-datadog-trace-id", "x-request-id")
"""What is understood without configuration, in order of precedence."""

MAX_ID_BYTES = 200
"""Of an opaque id. Longer ones are not remembered: they cost memory that a stranger chooses."""

_ZERO = b"0" * 16

_SAMPLED = frozenset(b"13579bdf")
"""Last digits of flags that say so (W3C Trace Context section 3.2.2.5.1)."""

# An id of zeros is none (W3C Trace Context sections 3.2.2.3 and 3.2.2.4): all who send it would share one trace.
_SPAN_ID = rb"((?!0{16})[0-9a-f]{16})"
_TRACE_ID = rb"((?!0++(?![0-9a-f]))(?:[0-9a-f]{16})?[0-9a-f]{16})"

_TRACEPARENT = re.compile(
    rb"\r\ntraceparent:[ \t]*+(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-" + _SPAN_ID + rb"-([0-9a-f]{2})"
)
_B3_SINGLE = re.compile(
    rb"\r\nb3:[ \t]*+" + _TRACE_ID + rb"-" + _SPAN_ID + rb"(?:-([01d]))?(?:-[0-9a-f]{16})?[ \t]*+(?=\r)"
)
_B3_TRACE = re.compile(rb"\r\nx-b3-traceid:[ \t]*+" + _TRACE_ID + rb"[ \t]*+(?=\r)")
_B3_SPAN = re.compile(rb"\r\nx-b3-spanid:[ \t]*+" + _SPAN_ID + rb"[ \t]*+(?=\r)")
_B3_DENIED = re.compile(rb"\r\n(?:b3:[ \t]*+0|x-b3-sampled:[ \t]*+(?:0|false))[ \t]*+(?=\r)")
"""A decision not to sample, which may come without a trace."""


class TraceReader:
    """Finds the ids in a head that is in lower case.

    headers: further fields whose whole value is an id, lower case.
    """

    __slots__ = ("_pattern",)

    def __init__(self, headers: Sequence[str] = ()) -> None:
        opaque = b"|".join(re.escape(name.lower().encode()) for name in ("x-request-id", *headers))
        # One pass for all formats. Group 1: low 64 bits; 2: an opaque id; 3: Jaeger's, unpadded; 4: decimal.
        self._pattern = re.compile(
            rb"\r\n(?:(?:traceparent:[ \t]*+(?!ff)[0-9a-f]{2}-[0-9a-f]{16}"
            rb"|(?:b3|x-b3-traceid):[ \t]*+(?:[0-9a-f]{16})?)([0-9a-f]{16})(?=[-\r \t])"
            rb"|(?:"
            + opaque
            + rb"):[ \t]*+([^\r]{1,%d})(?=\r)" % MAX_ID_BYTES
            + rb"|uber-trace-id:[ \t]*+([0-9a-f]{1,32})(?:%3a|:)"
            rb"|x-datadog-trace-id:[ \t]*+([0-9]{1,20})[ \t]*+(?=\r))"
        )

    def ids(self, low: bytes) -> list[bytes]:
        """The ids that the head names, each once, in the order of its lines."""
        found = []
        for hexadecimal, opaque, jaeger, decimal in self._pattern.findall(low):
            if hexadecimal:
                ident = hexadecimal
            elif opaque:
                ident = b"=" + opaque.rstrip(b" \t")
            elif jaeger:
                ident = jaeger[-16:].rjust(16, b"0")
            else:
                ident = b"%016x" % (int(decimal) & 0xFFFFFFFFFFFFFFFF)
            if ident != _ZERO and ident not in found:
                found.append(ident)
        return found


def plain_context(traceparent: bytes, request_id: bytes | None) -> tuple[list[bytes], bytes]:
    """The ids of a keyed request and the field lines that complete its trace context, when it names its trace in a
    well-formed `traceparent` and in nothing else but perhaps `x-request-id`. Both values in lower case."""
    ident = traceparent[19:35]
    lines = b"b3: " + traceparent[3:53] + (b"1\r\n" if traceparent[54] in _SAMPLED else b"0\r\n")
    if request_id is not None:
        return [ident, b"=" + request_id], lines
    request_id = _as_uuid(traceparent[3:35])
    return [ident, b"=" + request_id], lines + b"x-request-id: " + request_id + b"\r\n"


def missing_context(low: bytes, ids: Sequence[bytes], random_bits: Callable[[int], int]) -> tuple[bytes, list[bytes]]:
    """The field lines that complete the trace context of a keyed request, and the ids that they add.

    low:         the head in lower case.
    ids:         what `TraceReader.ids` found in it.
    random_bits: as `random.getrandbits`; ids need to be unique, not secret.
    """
    traced = _TRACEPARENT.search(low)
    single = _B3_SINGLE.search(low)
    if traced is not None:
        trace, span, flags = traced.groups()
        sampled = b"1" if int(flags, 16) & 1 else b"0"  # W3C Trace Context section 3.2.2.5.1
    elif single is not None:
        trace, span, flag = single.groups()
        sampled = b"0" if flag == b"0" else b"1"
    else:
        trace, span, sampled = _from_other_formats(low, ids, random_bits)
    trace = trace.rjust(32, b"0")
    lines = b""
    if b"\r\ntraceparent:" not in low:
        lines += b"traceparent: 00-%b-%b-0%b\r\n" % (trace, span, sampled)
    if b"\r\nb3:" not in low and b"\r\nx-b3-traceid:" not in low:
        lines += b"b3: %b-%b-%b\r\n" % (trace, span, sampled)
    added = [trace[16:]] if trace[16:] not in ids else []
    if b"\r\nx-request-id:" not in low:
        request_id = _as_uuid(trace)
        lines += b"x-request-id: %b\r\n" % request_id
        added.append(b"=" + request_id)
    return lines, added


def _as_uuid(trace: bytes) -> bytes:
    """A trace id in the form that those who check an `x-request-id` expect (RFC 9562 section 4)."""
    return b"-".join((trace[:8], trace[8:12], trace[12:16], trace[16:20], trace[20:]))


def _from_other_formats(
    low: bytes, ids: Sequence[bytes], random_bits: Callable[[int], int]
) -> tuple[bytes, bytes, bytes]:
    """(trace id, span id, sampled) of a request without usable `traceparent` or `b3`.

    What is new is sampled: a request with a routing key is a test that somebody wants to look at.
    """
    new_span = b"%016x" % (random_bits(64) or 1)
    sampled = b"1" if _B3_DENIED.search(low) is None else b"0"
    multi = _B3_TRACE.search(low)
    if multi is not None:
        span = _B3_SPAN.search(low)
        return multi[1], span[1] if span else new_span, sampled
    known = [ident for ident in ids if not ident.startswith(b"=")]
    trace = known[0] if known else b"%032x" % (random_bits(128) or 1)
    return trace, new_span, sampled

"""What completes the trace context of a keyed request.

The application behind us may forward one format only, and not the one that its caller forwarded. So a keyed request
gets every format that is understood, all naming the same trace; nothing is added to a request without a key.

1. A field that can be used stays as it came. Its trace is the one that all others name; where there are several, the
   first of FORMATS decides.
2. A field that cannot be used (malformed, of zeros, twice, `undefined`) is missing: the application would ignore it and
   begin a trace of its own (W3C Trace Context section 4.3). It is replaced, by the same trace where that can still be
   told.
3. What the caller did not name is made here. Its first eight digits are this sidecar's own (`mark`), which tell it from
   what a client chose; the others are random, so that nobody guesses them. An `x-request-id` is always made, never the
   trace in another form: when the trace turns out to be everybody's, there is one id left that is not.
4. What is new is sampled: a request with a key is a test that somebody wants to look at. Where the caller has decided,
   it stays so. Sentry's is left open, since its users pay for what is sampled.
5. Every format, always. Which one an application forwards is not learned from what it has forwarded: another client of
   the same application may forward another one, and what would show that first is a call whose key is lost. The fields
   cost an application 2 us where its parser is in C and 30 us where it is in Python (httptools, h11).
6. A head that is large already gets no more than CORE, because servers limit heads (8 KiB and 100 lines are common).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from proxy.routing.fields import Field, Fields, FieldValues
from proxy.routing.template import WRITTEN, Parts, Template, parts, template
from proxy.routing.trace import (
    KEPT_BYTES,
    MAX_IDS,
    NONE_WORDS,
    TraceReader,
    datadog_id,
    hexadecimal_id,
    names,
    names_none,
    skywalking_id,
    text_id,
)

MAX_HEAD_BYTES: Final = 6 * 1024
MAX_HEAD_LINES: Final = 72
"""Of a head that gets everything: 1 KiB and 18 lines, which leaves room below 8 KiB and 100 lines."""

MARK_DIGITS: Final = 8


class Trace(NamedTuple):
    """ident: as `proxy.routing.trace` writes it; span: 16 digits, b"" when unknown; sampled: b"1" or b"0"."""

    ident: bytes
    span: bytes
    sampled: bytes


Values = Mapping[bytes, Sequence[bytes]]
"""Field name in lower case -> its values, in their original case."""


_LONG: Final = rb"((?!0{32})[0-9a-f]{32})"
_SHORT_OR_LONG: Final = rb"((?!0+(?![0-9a-f]))(?:[0-9a-f]{16}){1,2})"
_SPAN_ID: Final = rb"((?!0{16})[0-9a-f]{16})"

_PARENT: Final = re.compile(rb"(?!ff)([0-9a-f]{2})-" + _LONG + rb"-" + _SPAN_ID + rb"-([0-9a-f]{2})(-.*+)?")
_B3: Final = re.compile(_SHORT_OR_LONG + rb"-" + _SPAN_ID + rb"(?:-([01d]))?(?:-[0-9a-f]{16})?")
_ID: Final = re.compile(_SHORT_OR_LONG)
_SPAN: Final = re.compile(_SPAN_ID)
_JAEGER: Final = re.compile(
    rb"([0-9a-f]{1,32})(?::|%3[Aa])([0-9a-f]{1,16})(?::|%3[Aa])[0-9a-f]*+(?::|%3[Aa])([0-9a-f]{1,2})"
)
_DECIMAL: Final = re.compile(rb"(?!0+(?![0-9]))[0-9]{1,20}")
_ROOT: Final = re.compile(rb"(?:^|;)[ \t]*+Root=1-([0-9a-f]{8})-([0-9a-f]{24})(?![^;])")
_XRAY_PARENT: Final = re.compile(rb"(?:^|;)[ \t]*+Parent=([0-9a-f]{16})(?![^;])")
_XRAY_SAMPLED: Final = re.compile(rb"(?:^|;)[ \t]*+Sampled=([01])(?![^;])")
_CLOUD: Final = re.compile(rb"([0-9a-f]{32})(?:/([0-9]{1,20})(?:;o=([0-9]))?)?")
_SENTRY: Final = re.compile(_LONG + rb"-" + _SPAN_ID + rb"(?:-([01]))?")
_DOTNET: Final = re.compile(rb"\|?+([^.]{1,200})(?:\..*+)?")
SAMPLED: Final = frozenset(b"13579bdf")
"""The last digits of a `traceparent` that is sampled (W3C Trace Context section 3.2.2.5.1)."""


def _one(values: Values, name: bytes) -> bytes:
    """The value of a field that stands there once."""
    found = values.get(name, ())
    return found[0] if len(found) == 1 else b""


def _parent(name: bytes) -> Callable[[Values], Trace | None]:
    def read(values: Values) -> Trace | None:
        match = _PARENT.fullmatch(_one(values, name))
        if match is None or (match[1] == b"00" and match[5]):  # W3C Trace Context section 3.2.2: no more in version 00
            return None
        return Trace(hexadecimal_id(match[2]), match[3], b"1" if match[4][1] in SAMPLED else b"0")

    return read


def _b3(values: Values) -> Trace | None:
    match = _B3.fullmatch(_one(values, b"b3"))
    return Trace(hexadecimal_id(match[1]), match[2], b"0" if match[3] == b"0" else b"1") if match else None


def _b3_multi(values: Values) -> Trace | None:
    trace, span = _ID.fullmatch(_one(values, b"x-b3-traceid")), _SPAN.fullmatch(_one(values, b"x-b3-spanid"))
    if trace is None or span is None:
        return None
    denied = _one(values, b"x-b3-sampled").lower() in (b"0", b"false")
    return Trace(hexadecimal_id(trace[1]), span[1], b"0" if denied else b"1")


def _jaeger(values: Values) -> Trace | None:
    match = _JAEGER.fullmatch(_one(values, b"uber-trace-id"))
    if match is None:
        return None
    ident = hexadecimal_id(match[1])
    return Trace(ident, _span(match[2]), b"%d" % (int(match[3], 16) & 1)) if ident else None


def _datadog(values: Values) -> Trace | None:
    trace, parent = _one(values, b"x-datadog-trace-id"), _one(values, b"x-datadog-parent-id")
    if not _DECIMAL.fullmatch(trace) or not _DECIMAL.fullmatch(parent):
        return None
    priority = _one(values, b"x-datadog-sampling-priority")
    ident = datadog_id(trace, _one(values, b"x-datadog-tags"))
    return Trace(ident, _span(b"%x" % int(parent)), b"0" if priority in (b"0", b"-1") else b"1") if ident else None


def _xray(values: Values) -> Trace | None:
    value = _one(values, b"x-amzn-trace-id")
    root, parent, sampled = _ROOT.search(value), _XRAY_PARENT.search(value), _XRAY_SAMPLED.search(value)
    if root is None or parent is None or sampled is None:
        return None  # a load balancer's names the root only, which half of the readers take for nothing
    ident = hexadecimal_id(root[1] + root[2])
    return Trace(ident, _span(parent[1]), sampled[1]) if ident else None


def _cloud(values: Values) -> Trace | None:
    match = _CLOUD.fullmatch(_one(values, b"x-cloud-trace-context"))
    ident = hexadecimal_id(match[1]) if match else b""
    if match is None or not ident or not match[2]:
        return None
    return Trace(ident, _span(b"%x" % int(match[2])), b"0" if match[3] in (b"0", b"2") else b"1")


def _sentry(values: Values) -> Trace | None:
    match = _SENTRY.fullmatch(_one(values, b"sentry-trace"))
    return Trace(hexadecimal_id(match[1]), match[2], b"0" if match[3] == b"0" else b"1") if match else None


def _opentracing(values: Values) -> Trace | None:
    trace, span = _ID.fullmatch(_one(values, b"ot-tracer-traceid")), _SPAN.fullmatch(_one(values, b"ot-tracer-spanid"))
    if trace is None or span is None:
        return None
    denied = _one(values, b"ot-tracer-sampled").lower() in (b"0", b"false")
    return Trace(hexadecimal_id(trace[1]), span[1], b"0" if denied else b"1")


def _dotnet(values: Values) -> Trace | None:
    parent = _parent(b"request-id")(values)
    match = _DOTNET.fullmatch(_one(values, b"request-id"))
    if parent is not None or match is None:
        return parent
    root = match[1].lower()
    ident = hexadecimal_id(root) if len(root) == 32 and _ID.fullmatch(root) else text_id(root)
    return Trace(ident, b"", b"1") if ident else None


def _skywalking(values: Values) -> Trace | None:
    ident = skywalking_id(_one(values, b"sw8"))
    return Trace(ident, b"", b"1") if ident else None


def _request_id(values: Values) -> Trace | None:
    ident = text_id(_one(values, b"x-request-id").lower())
    return Trace(ident, b"", b"1") if ident else None


def _span(digits: bytes) -> bytes:
    span = digits.rjust(16, b"0")[-16:]
    return b"" if span == b"0" * 16 else span


class Format(NamedTuple):
    """fields: what it is made of; read: its trace, None when it cannot be used; core: given to large heads as well."""

    fields: tuple[bytes, ...]
    read: Callable[[Values], Trace | None]
    core: bool = False


FORMATS: Final = (
    Format((b"traceparent",), _parent(b"traceparent"), core=True),
    Format((b"b3",), _b3, core=True),
    Format((b"x-b3-traceid", b"x-b3-spanid", b"x-b3-parentspanid", b"x-b3-sampled", b"x-b3-flags"), _b3_multi),
    Format((b"uber-trace-id",), _jaeger),
    Format(
        (b"x-datadog-trace-id", b"x-datadog-parent-id", b"x-datadog-sampling-priority", b"x-datadog-tags"), _datadog
    ),
    Format((b"x-amzn-trace-id",), _xray),
    Format((b"x-cloud-trace-context",), _cloud),
    Format((b"sentry-trace",), _sentry),
    Format((b"elastic-apm-traceparent",), _parent(b"elastic-apm-traceparent")),
    Format((b"ot-tracer-traceid", b"ot-tracer-spanid", b"ot-tracer-sampled"), _opentracing),
    Format((b"request-id",), _dotnet),
    Format((b"sw8",), _skywalking),
    Format((b"x-request-id",), _request_id, core=True),
)
"""In order of precedence."""
PARENT, REQUEST_ID = FORMATS[0], FORMATS[-1]

CONTEXT_FIELDS: Final = frozenset(name for form in FORMATS for name in form.fields)

_ZERO: Final = b"0" * 16
_ONE: Final = b"0" * 15 + b"1"
_TAGS: Final = b"x-datadog-tags"


class Completed(NamedTuple):
    """What an application is to see of trace context, besides what it was sent.

    names:    of its ids.
    template: of the fields to add; None when nothing is, or when they are in `fields`.
    filling:  of the template.
    fields:   to add in place of what cannot be used, and of all others of its kind.
    drop:     names of fields to leave out.
    """

    names: list[bytes]
    template: Template | None = None
    filling: tuple[bytes, ...] = ()
    fields: Sequence[Field] = ()
    drop: frozenset[bytes] = frozenset()


_DENIALS: Final = frozenset({b"0", b"false"})
"""B3: a decision not to sample may come without a trace."""

_PLAIN: Final = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyz")
_SUSPECT: Final = frozenset({b"0", b"00", b"0-", b"0.", b"0_", b"0:", b"ff"})
"""How values begin that may stand for none (`proxy.routing.trace.names_none`)."""


_BRACE: Final = ord("{")
_PERCENT: Final = ord("%")
_LAST_OF_NONE: Final = frozenset(b"0f")
"""How values end that are zeros, or the largest UUID."""


def _every(*, but: tuple[bytes, ...], sampled: bool) -> Template:
    return template(tuple(name for name in WRITTEN if name not in but), sampled)


BESIDE_BOTH: Final = tuple(_every(but=(b"traceparent", b"x-request-id"), sampled=sampled) for sampled in (False, True))
_BESIDE_PARENT: Final = tuple(_every(but=(b"traceparent",), sampled=sampled) for sampled in (False, True))
_BESIDE_REQUEST_ID: Final = _every(but=(b"x-request-id",), sampled=True)
_ALL: Final = _every(but=(), sampled=True)
"""For a head that has nothing but what they are named after."""


def _template(fields: Sequence[bytes], trace: Trace) -> Template:
    """Of the fields of some formats."""
    short = len(trace.ident) == 16  # then Datadog has no upper half to say
    written = tuple([name for name in fields if name in WRITTEN and not (short and name == _TAGS)])
    return template(written, trace.sampled == b"1")


def _parts(trace: Trace, request_id: bytes) -> Parts:
    return parts(b"%b-%b" % (trace.ident.rjust(32, b"0"), trace.span), request_id)


def _filled(fields: Sequence[bytes], trace: Trace, request_id: bytes) -> list[Field]:
    """The fields of some formats, naming a trace; none for none."""
    if not fields:
        return []
    given = _template(fields, trace)
    return given.filled(given.pick(_parts(trace, request_id)))


class TraceContext:
    """Completes the trace context of keyed requests.

    reader:      finds ids in a head.
    mark:        MARK_DIGITS hexadecimal digits with which the ids begin that are made here; not only zeros.
    random_bits: as `random.SystemRandom().getrandbits`: what is made here must not be guessed.
    """

    __slots__ = ("_mark", "_random_bits", "_reader")

    def __init__(self, reader: TraceReader, mark: bytes, random_bits: Callable[[int], int]) -> None:
        self._reader = reader
        self._mark = mark
        self._random_bits = random_bits

    def plain(
        self, traceparent: bytes | None, request_id: bytes | None
    ) -> tuple[list[bytes], Template, tuple[bytes, ...]] | None:
        """What `complete` says of a head that is not large and has no trace context but perhaps a `traceparent` and an
        `x-request-id`: names, template, filling. None where it takes a closer look.

        traceparent: well-formed; request_id: in lower case.
        """
        if traceparent is None:
            made = b"%048x" % self._random_bits(192)
            span, digits = made[:16], made[16:40]
            if span == _ZERO:
                span = _ONE
            if digits[8:] == _ZERO:  # what some formats have of it
                digits = digits[:8] + _ONE
            both = b"%b%b-%b" % (self._mark, digits, span)
        else:
            both = traceparent[3:52]
            if both[:16] == _ZERO:
                return None
        if request_id is None:
            request_id = self._request_id()
            given = _ALL if traceparent is None else _BESIDE_PARENT[traceparent[54] in SAMPLED]
        elif (
            request_id in NONE_WORDS
            or request_id[0] not in _PLAIN
            or request_id[-1] not in _PLAIN
            or _BRACE in request_id
            or _PERCENT in request_id
            or request_id[KEPT_BYTES:]
            or (request_id[:2] in _SUSPECT and request_id[-1] in _LAST_OF_NONE and names_none(request_id))
        ):
            return None
        else:
            given = _BESIDE_REQUEST_ID if traceparent is None else BESIDE_BOTH[traceparent[54] in SAMPLED]
        trace = both[:32]
        return [trace, b"~" + trace[16:], b"=" + request_id], given, given.pick(parts(both, request_id))

    def complete(self, head: Fields, *, large: bool) -> Completed:
        """large: the head gets no more than CORE."""
        values = head.among(CONTEXT_FIELDS)
        found = [None if values.keys().isdisjoint(form.fields) else form.read(values) for form in FORMATS]
        main = self._main(found, values)
        made = b"" if found[-1] is not None else self._request_id()
        ids = [main.ident]
        missing: list[bytes] = []
        fields: list[Field] = []
        repair = False
        for form, trace in zip(FORMATS, found, strict=True):
            if trace is not None:
                ids.append(trace.ident)
                continue
            unusable = not values.keys().isdisjoint(form.fields)
            repair = repair or unusable
            if form is REQUEST_ID:
                ids.append(b"=" + made)
                missing += form.fields
            elif unusable:
                ident = self._readable(form, values) or main.ident
                ids.append(ident)
                fields += _filled(form.fields, main._replace(ident=ident), made)
            elif not large or form.core:
                ids.append(main.ident)
                missing += form.fields
        ids = list(dict.fromkeys([main.ident, ids[-1], *ids, *self._reader.configured(head)]))[:MAX_IDS]
        if repair:  # one set of names for all repairs: who sends what cannot be used must not choose among patterns
            for form, trace in zip(FORMATS, found, strict=True):
                if trace is not None:
                    fields += [(name, value) for name in form.fields for value in values.get(name, ())]
            return Completed(names(ids), fields=[*fields, *_filled(missing, main, made)], drop=CONTEXT_FIELDS)
        if not missing:
            return Completed(names(ids))
        given = _template(missing, main)
        return Completed(names(ids), given, given.pick(_parts(main, made)))

    def _main(self, found: Sequence[Trace | None], values: Values) -> Trace:
        """The trace that the formats which are missing shall name."""
        denied = {value.lower() for name in (b"b3", b"x-b3-sampled") for value in values.get(name, ())} & _DENIALS
        sampled = b"0" if denied else b"1"
        span = b"%016x" % (self._random_bits(64) or 1)
        for trace in found:
            if trace is not None and not trace.ident.startswith(b"="):
                return trace if trace.span else Trace(trace.ident, span, sampled)
        for form in FORMATS:
            ident = self._readable(form, values)
            if ident:
                return Trace(ident, span, sampled)
        return Trace(self._mark + b"%024x" % (self._random_bits(96) or 1), span, sampled)

    def _readable(self, form: Format, values: Values) -> bytes:
        """The trace that a format names although it cannot be used; b"" for none."""
        for ident in self._reader.ids(FieldValues({name: values[name] for name in form.fields if name in values})):
            if not ident.startswith(b"="):
                return ident
        return b""

    def _request_id(self) -> bytes:
        """A new one, in the form that those who check it expect (RFC 9562 section 4)."""
        made = self._mark + b"%024x" % self._random_bits(96)
        return b"-".join((made[:8], made[8:12], made[12:16], made[16:20], made[20:]))

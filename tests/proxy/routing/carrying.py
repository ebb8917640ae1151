"""The OpenTelemetry propagators, which define the formats: what they write we read, what we write they read."""

from __future__ import annotations

from opentelemetry.baggage import get_all, set_baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from proxy.wire.head import RequestHead

W3C = TraceContextTextMapPropagator()
B3_SINGLE = B3SingleFormat()
B3_MULTI = B3MultiFormat()
BAGGAGE = W3CBaggagePropagator()


def injected(
    propagator: TextMapPropagator, trace: int, span: int, sampled: bool, state: dict[str, str] | None = None
) -> dict[str, str]:
    """The fields with which a caller names its trace."""
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    context = SpanContext(
        trace, span, is_remote=True, trace_flags=flags, trace_state=TraceState(list((state or {}).items()))
    )
    fields: dict[str, str] = {}
    propagator.inject(fields, set_span_in_context(NonRecordingSpan(context), Context()))
    return fields


def extracted(propagator: TextMapPropagator, fields: dict[str, str]) -> tuple[int, int, bool] | None:
    """(trace, span, sampled) as an application behind us reads them, None when it finds no trace."""
    context = get_current_span(propagator.extract(fields, Context())).get_span_context()
    return (context.trace_id, context.span_id, context.trace_flags.sampled) if context.is_valid else None


def injected_baggage(members: dict[str, str]) -> bytes:
    context = Context()
    for name, value in members.items():
        context = set_baggage(name, value, context)
    fields: dict[str, str] = {}
    BAGGAGE.inject(fields, context)
    return fields.get("baggage", "").encode()


def extracted_baggage(value: bytes) -> dict[str, object]:
    return dict(get_all(BAGGAGE.extract({"baggage": value.decode("latin-1")}, Context())))


def head_of(*fields: dict[str, str] | tuple[str, str]) -> bytes:
    """A request head with these fields."""
    pairs = [pair for some in fields for pair in (some.items() if isinstance(some, dict) else [some])]
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return f"GET / HTTP/1.1\r\nHost: shop\r\n{lines}\r\n".encode("latin-1")


def fields_in(head: bytes) -> RequestHead:
    """The head as what carriers and readers ask (`proxy.routing.fields`)."""
    return RequestHead(head, head.lower(), b"GET")

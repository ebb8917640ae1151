"""Spans of keyed requests, where an OTLP endpoint is configured; nothing is imported otherwise.

The data path makes one call when a keyed request has ended; the span is made, started and ended in it, with the
times that are handed in. Its parent is what the request said (W3C Trace Context, else B3, read by
OpenTelemetry's own propagators), so that it stands in the caller's trace beside the application's spans. Spans
wait in a bounded queue (2048, OTEL_BSP_MAX_QUEUE_SIZE) and a thread of the SDK sends them; when the collector is
gone the oldest are dropped, and no request notices.

Configured by the variables of the OpenTelemetry specification: OTEL_EXPORTER_OTLP_ENDPOINT, ..._TRACES_ENDPOINT,
..._HEADERS, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_SDK_DISABLED,
OTEL_TRACES_EXPORTER=none. Attributes are those of its HTTP semantic conventions, and `skycap.*`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from proxy.base.problems import ConfigurationError
from proxy.telemetry.counters import INBOUND
from proxy.telemetry.notices import OncePerPair

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

FLUSH_SECONDS = 3.0
"""For the last spans at the end: a part of the 30 s between SIGTERM and SIGKILL in Kubernetes."""

METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)  # fmt: skip
"""Known to the semantic conventions; others are `_OTHER`, since a client can invent them without end."""

CARRIERS = ("traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags")
"""The request headers that may say who the parent is."""


COMPLAINT_SECONDS = 600.0
"""Between two lines of one kind about a collector that does not answer; the SDK writes several per batch."""


class _Seldom(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._once = OncePerPair(period=COMPLAINT_SECONDS)

    def filter(self, record: logging.LogRecord) -> bool:
        return self._once.first(record.name, str(record.msg))  # the template, without its arguments


def traces_endpoint(setting: str, environ: Mapping[str, str]) -> str:
    """Where spans go, empty for nowhere. Raises ConfigurationError.

    setting: a base URL as in OTEL_EXPORTER_OTLP_ENDPOINT, over which it has precedence; empty for none.
    """
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return ""
    base = setting or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    whole = "" if setting else environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
    endpoint = whole or (f"{base.rstrip('/')}/v1/traces" if base else "")
    if not endpoint:
        return ""
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError([f"OTLP endpoint {whole or base!r} is not http://HOST:PORT"])
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        raise ConfigurationError(
            [f"OTLP protocol {protocol!r} is not supported: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"]
        )
    return endpoint


def open_tracing(setting: str, environ: Mapping[str, str], *, workload: str, version: str) -> Tracing | None:
    """The tracing that is configured, or None. Raises ConfigurationError, with the remedy.

    workload: `namespace/name`; the spans' `service.name` is `name.namespace` unless OTEL_SERVICE_NAME is set.
    """
    endpoint = traces_endpoint(setting, environ)
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise ConfigurationError(
            [f"spans shall go to {endpoint}, which needs a package: pip install 'skycap[otlp]'"]
        ) from None
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    seldom = _Seldom()
    for speaker in (OTLPSpanExporter.__module__, "opentelemetry.sdk._shared_internal"):
        logging.getLogger(speaker).addFilter(seldom)
    namespace, _, name = workload.partition("/")
    named = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": f"{name}.{namespace}"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return Tracing(provider, workload, version)


class Tracing:
    """Makes spans of finished requests."""

    def __init__(self, provider: TracerProvider, workload: str, version: str) -> None:
        from opentelemetry.context import Context
        from opentelemetry.propagators.b3 import B3MultiFormat
        from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("skycap", version)
        self._workload = workload
        self._propagators = (TraceContextTextMapPropagator(), B3MultiFormat())
        self._span_in = get_current_span
        self._no_parent = Context()
        self._server, self._client = SpanKind.SERVER, SpanKind.CLIENT
        self._error = Status(StatusCode.ERROR)

    def record(
        self,
        *,
        direction: str,
        key: str,
        decision: str,
        sandbox: str,
        revision: int,
        method: str,
        path: str,
        status: int,
        error: str,
        carrier: Mapping[str, bytes | None],
        start_ns: int,
        end_ns: int,
    ) -> None:
        """One keyed request that has ended.

        sandbox, revision: who served it, empty and 0 for the baseline.
        path:              of the request target; a query is cut off.
        status:            of the answer, 0 when none came.
        error:             the code of our own answer (`Failure.code`), or empty.
        carrier:           values of the headers in CARRIERS, lower-case names.
        start_ns, end_ns:  nanoseconds since 1970, as `time.time_ns` gives.
        """
        known = method if method in METHODS else "_OTHER"
        attributes: dict[str, str | int] = {
            "http.request.method": known,
            "url.path": path.partition("?")[0],
            "skycap.direction": direction,
            "skycap.workload": self._workload,
            "skycap.routing_key": key,
            "skycap.decision": decision,
        }
        if known != method:
            attributes["http.request.method_original"] = method
        if status:
            attributes["http.response.status_code"] = status
        if sandbox:
            attributes["skycap.sandbox"] = sandbox
            attributes["skycap.revision"] = revision
        inbound = direction == INBOUND
        # Semantic conventions: a 4xx is the client's failure, not the server's.
        failed = bool(error) or not status or status >= (500 if inbound else 400)
        if failed:
            attributes["error.type"] = error or str(status or "no-answer")
        span = self._tracer.start_span(
            f"{known if known == method else 'HTTP'} {self._workload}",
            context=self._parent(carrier),
            kind=self._server if inbound else self._client,
            attributes=attributes,
            start_time=start_ns,
        )
        if failed:
            span.set_status(self._error)
        span.end(end_ns)

    def close(self, timeout: float = FLUSH_SECONDS) -> None:
        """Send what waits; blocks up to `timeout` seconds. What is not sent then is lost."""
        # The SDK's own shutdown waits up to 30 s for a collector that does not answer.
        closing = threading.Thread(target=self._provider.shutdown, name="tracing flush", daemon=True)
        closing.start()
        closing.join(timeout)

    def _parent(self, carrier: Mapping[str, bytes | None]) -> Context:
        text = {name: value.decode("latin-1") for name, value in carrier.items() if value is not None}
        for propagator in self._propagators:
            context = propagator.extract(text)
            if self._span_in(context).get_span_context().is_valid:
                return context
        return self._no_parent

"""What to do about a service that loses the key, in the language that it is written in."""

from __future__ import annotations

from pathlib import PurePath

FALLBACK = "forward `baggage` and `traceparent` (or any one trace header) from each request to the calls made for it"

_BY_PROGRAM = {
    "python": (
        "run it under `opentelemetry-instrument` (opentelemetry-distro), or copy `baggage` and `traceparent` from the "
        "request to the calls made for it"
    ),
    "node": (
        "start it with `node --require @opentelemetry/auto-instrumentations-node/register`, or copy `baggage` and "
        "`traceparent` from the request to the calls made for it"
    ),
    "java": "start it with `-javaagent:opentelemetry-javaagent.jar`, and pass the context on where it changes threads",
    "go": (
        "wrap its handlers and its client's transport in otelhttp with the propagators TraceContext and Baggage, and "
        "pass the request's context to each call"
    ),
    "ruby": "add the gem opentelemetry-instrumentation-all and call `OpenTelemetry::SDK.configure(&:use_all)`",
    "php": "install the extension opentelemetry with open-telemetry/opentelemetry-auto-* for its framework",
    "dotnet": "let HttpClient propagate: it does within `Activity`, with OpenTelemetry.Instrumentation.AspNetCore",
}


def forwarding(program: str) -> str:
    """What makes a service forward what carries the key. program: what it is run with, "" when that is not known."""
    name = PurePath(program).name.lower()
    for prefix, advice in _BY_PROGRAM.items():
        if name.startswith(prefix):
            return advice
    return FALLBACK

"""Real SDKs, each with one propagator, behind a sidecar: whatever trace a keyed request brings, the key goes on.

The application knows nothing of the sidecar and forwards what its SDK forwards. Every row is a process with the real
packages (see `installed.py`), every column a request that somebody may send.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from tests.acceptance.running import accepts, free_port, serving, sidecar
from tests.propagation import installed

TRACE = "0af7651916cd43dd8448eb211c8%05x"
SPAN = "b7ad6b7169203331"

SENT: dict[str, dict[str, str]] = {
    "nothing": {},
    "traceparent": {"traceparent": f"00-{TRACE}-{SPAN}-01"},
    "traceparent in upper case": {"traceparent": f"00-{TRACE.upper().replace('%05X', '%05x')}-{SPAN.upper()}-01"},
    "traceparent that is none": {"traceparent": "undefined", "x-request-id": "undefined"},
    "b3": {"b3": f"{TRACE}-{SPAN}-1"},
    "b3 in many lines, not sampled": {"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "0"},
    "datadog": {"x-datadog-trace-id": "1230000%05d", "x-datadog-parent-id": "77", "x-datadog-sampling-priority": "1"},
    "a load balancer's root": {"x-amzn-trace-id": "Root=1-67891233-abcdef0123456789abc%05x"},
    "a request id": {"x-request-id": "order-%05d"},
}
"""By what a person would call it; %05x or %05d is another number for each request."""


@dataclass(frozen=True)
class Row:
    """An application. kind: its folder; name: for people; environment: what makes it use one propagator."""

    kind: str
    name: str
    environment: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


_OTEL = ("tracecontext", "tracecontext,baggage", "b3", "b3multi", "jaeger", "xray", "ottrace")
_QUIET = (("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "false"), ("DD_REMOTE_CONFIGURATION_ENABLED", "false"))

ROWS = [
    *(Row("python", f"python {name}", (("SDK", "opentelemetry"), ("OTEL_PROPAGATORS", name))) for name in _OTEL),
    Row("python", "ddtrace", (("SDK", "ddtrace"), *_QUIET)),
    *(
        Row("python", f"ddtrace {style}", (("SDK", "ddtrace"), ("DD_TRACE_PROPAGATION_STYLE", style), *_QUIET))
        for style in ("datadog", "b3multi", "tracecontext")
    ),
    Row("python", "sentry", (("SDK", "sentry"),)),
    Row("python", "elastic", (("SDK", "elastic"),)),
    *(Row("node", f"node {name}", (("PROPAGATOR", name),)) for name in _OTEL),
    *(Row("go", f"go {name}", (("OTEL_PROPAGATORS", name),)) for name in _OTEL),
]


class Calls:
    """What the application calls: remembers the requests."""

    def __init__(self) -> None:
        self.seen: list[web.Request] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        return web.Response(text="called")


@contextlib.asynccontextmanager
async def running(row: Row, calls: str) -> AsyncIterator[int]:
    """The application of a row; yields its port."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(await asyncio.to_thread(installed.command, row.kind)),
        env={**os.environ, **dict(row.environment), "PORT": str(port), "CALLS": calls},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await accepts(port, process)
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.timeout(900)  # the first test of a kind installs it
@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_the_key_goes_on(row: Row) -> None:
    upstream = web.Application()
    calls = Calls()
    upstream.router.add_get("/", calls.answer)
    inbound, outbound = free_port(), free_port()
    numbers = itertools.count(1)

    def numbered(fields: dict[str, str]) -> dict[str, str]:
        number = next(numbers)
        return {name: value % number if "%" in value else value for name, value in fields.items()}

    async with (
        serving(upstream) as target,
        running(row, f"http://127.0.0.1:{outbound}/") as app,
        sidecar(
            "--workload", "shop/users", "--inbound", f"127.0.0.1:{inbound}=127.0.0.1:{app}",
            "--outbound", f"127.0.0.1:{outbound}=127.0.0.1:{target}", port=inbound,
        ),
        aiohttp.ClientSession() as client,
    ):  # fmt: skip

        async def ask(fields: dict[str, str]) -> tuple[list[str], str]:
            """The baggage of the call, and who served the request."""
            async with client.get(f"http://127.0.0.1:{inbound}/", headers=fields) as answer:
                assert answer.status == 200, await answer.text()
                assert await answer.text() == "called"
                return calls.seen[-1].headers.getall("baggage", []), answer.headers.get("skycap-served-by", "")

        for number, (name, fields) in enumerate(SENT.items()):
            key = f"agent-{number}"
            baggage, served = await ask({**numbered(fields), "baggage": f"routing-key={key}"})
            assert any(f"routing-key={key}" in value for value in baggage), f"{row.name}: the key is lost with {name}"
            assert served == "shop/users;baseline", f"{row.name}: with {name}"
            baggage, served = await ask(numbered(fields))
            assert not any("routing-key" in value for value in baggage), f"{row.name}: nobody's call, with {name}"
            assert served == ""

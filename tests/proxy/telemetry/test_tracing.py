"""Spans as a real collector receives them from the real exporter."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from proxy.base.problems import ConfigurationError
from proxy.telemetry.tracing import Tracing, open_tracing, traces_endpoint
from tests.proxy.feed.eventually import eventually
from tests.proxy.telemetry.otlp_collector import Collector, values

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
REQUEST: dict[str, Any] = {
    "direction": "inbound",
    "key": "agent-42",
    "decision": "shadow",
    "sandbox": "agent-42",
    "revision": 3,
    "method": "GET",
    "path": "/users/7?secret=1",
    "status": 200,
    "error": "",
    "carrier": {"traceparent": f"00-{TRACE}-{PARENT}-01".encode(), "b3": None},
    "start_ns": 1_700_000_000_000_000_000,
    "end_ns": 1_700_000_000_250_000_000,
}


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    runner = await collector.start()
    yield collector
    collector.released.set()
    await runner.cleanup()


@pytest.fixture(autouse=True)
def no_variables_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


def opened(collector: Collector, environ: Mapping[str, str] | None = None) -> Tracing:
    tracing = open_tracing(collector.url, environ or {}, workload="shop/users", version="1.2.3")
    assert tracing is not None
    return tracing


async def spans_of(collector: Collector, *requests: dict[str, Any]) -> list[Span]:
    tracing = opened(collector)
    for request in requests:
        tracing.record(**REQUEST | request)
    await asyncio.to_thread(tracing.close, 20)
    assert len(collector.spans) == len(requests)
    return collector.spans


async def span_of(collector: Collector, **changes: Any) -> Span:
    [span] = await spans_of(collector, changes)
    return span


async def test_an_inbound_request(collector: Collector) -> None:
    span = await span_of(collector)
    assert collector.paths == ["/v1/traces"]
    assert collector.scopes == [("skycap", "1.2.3")]
    assert collector.resources[0]["service.name"] == "users.shop"
    assert span.name == "GET shop/users"
    assert span.kind == Span.SPAN_KIND_SERVER
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (REQUEST["start_ns"], REQUEST["end_ns"])
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert values(span.attributes) == {
        "http.request.method": "GET",
        "url.path": "/users/7",
        "http.response.status_code": 200,
        "skycap.direction": "inbound",
        "skycap.workload": "shop/users",
        "skycap.routing_key": "agent-42",
        "skycap.decision": "shadow",
        "skycap.sandbox": "agent-42",
        "skycap.revision": 3,
    }


async def test_an_outbound_request_served_by_the_baseline(collector: Collector) -> None:
    span = await span_of(collector, direction="outbound", decision="forward", sandbox="", revision=0)
    assert span.kind == Span.SPAN_KIND_CLIENT
    assert "skycap.sandbox" not in values(span.attributes)
    assert "skycap.revision" not in values(span.attributes)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"status": 503, "error": "shadow-unreachable"}, "shadow-unreachable"),
        ({"status": 500}, "500"),
        ({"status": 0}, "no-answer"),
        ({"status": 404}, None),
        ({"status": 404, "direction": "outbound"}, "404"),
        ({"status": 302, "direction": "outbound"}, None),
    ],
)
async def test_what_counts_as_an_error(collector: Collector, change: dict[str, Any], error: str | None) -> None:
    span = await span_of(collector, **change)
    assert values(span.attributes).get("error.type") == error
    assert span.status.code == (Status.STATUS_CODE_ERROR if error else Status.STATUS_CODE_UNSET)
    assert ("http.response.status_code" in values(span.attributes)) == bool(change["status"])


async def test_a_method_that_nobody_knows(collector: Collector) -> None:
    span = await span_of(collector, method="BREW")
    assert span.name == "HTTP shop/users"
    assert values(span.attributes)["http.request.method"] == "_OTHER"
    assert values(span.attributes)["http.request.method_original"] == "BREW"


@pytest.mark.parametrize(
    ("carrier", "trace", "parent"),
    [
        ({"b3": f"{TRACE}-{PARENT}-1"}, TRACE, PARENT),
        ({"b3": f"{TRACE}-{PARENT}"}, TRACE, PARENT),
        ({"b3": f"a3ce929d0e0e4736-{PARENT}-d"}, "0" * 16 + "a3ce929d0e0e4736", PARENT),
        ({"x-b3-traceid": TRACE, "x-b3-spanid": PARENT, "x-b3-sampled": "1"}, TRACE, PARENT),
        ({"x-b3-traceid": TRACE, "x-b3-spanid": PARENT, "x-b3-flags": "1"}, TRACE, PARENT),
        ({"traceparent": f"00-{TRACE}-{PARENT}-01", "b3": f"{'1' * 32}-{'2' * 16}-1"}, TRACE, PARENT),
        ({"traceparent": "00-what", "b3": f"{TRACE}-{PARENT}-1"}, TRACE, PARENT),
        ({}, None, None),
        ({"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"}, None, None),
        ({"traceparent": "\xff\x00", "b3": "\xe9-\xe9-1"}, None, None),
    ],
)
async def test_the_parent(collector: Collector, carrier: dict[str, str], trace: str | None, parent: str | None) -> None:
    span = await span_of(collector, carrier={name: value.encode("latin-1") for name, value in carrier.items()})
    if trace is None:
        assert span.parent_span_id == b""
        assert len(span.trace_id.hex()) == 32
    else:
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace, parent)


async def test_the_trace_state_is_kept(collector: Collector) -> None:
    span = await span_of(collector, carrier=REQUEST["carrier"] | {"tracestate": b"vendor=1,other=2"})
    assert span.trace_state == "vendor=1,other=2"


async def test_a_caller_that_does_not_sample_is_respected(collector: Collector) -> None:
    tracing = opened(collector)
    tracing.record(**REQUEST | {"carrier": {"traceparent": f"00-{TRACE}-{PARENT}-00".encode()}})
    tracing.record(**REQUEST | {"carrier": {"b3": f"{TRACE}-{PARENT}-0".encode()}})
    await asyncio.to_thread(tracing.close, 20)
    assert collector.spans == []


async def test_many_in_few_requests(collector: Collector) -> None:
    assert len(await spans_of(collector, *({"key": f"k{number}"} for number in range(1000)))) == 1000
    assert len(collector.paths) < 10


async def test_more_than_the_queue_holds_costs_no_memory(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100")
    collector.stalled = True
    tracing = opened(collector)
    for _ in range(1000):
        tracing.record(**REQUEST)
    collector.released.set()
    await asyncio.to_thread(tracing.close, 20)
    assert 100 <= len(collector.spans) <= 300  # one batch on its way, one waiting, one more while it went


def flushing() -> bool:
    return any(thread.name == "tracing flush" for thread in threading.enumerate())


async def test_closing_does_not_wait_for_a_collector_that_hangs(collector: Collector) -> None:
    collector.stalled = True
    tracing = opened(collector)
    tracing.record(**REQUEST)
    await asyncio.to_thread(tracing.close, 0.1)
    assert flushing(), "it goes on without who closed it"
    collector.released.set()
    await eventually(lambda: not flushing())


async def test_a_collector_that_is_gone_disturbs_nothing_and_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    nobody = Collector()
    nobody.port = 1
    tracing = opened(nobody)
    for _ in range(5):
        tracing.record(**REQUEST)
    await asyncio.to_thread(tracing.close, 0.1)
    await eventually(lambda: not flushing())
    tracing.record(**REQUEST)
    complaints = [record.msg for record in caplog.records if record.levelno >= logging.WARNING]
    assert 1 <= len(complaints) == len(set(complaints))


async def test_the_service_name_of_the_environment_wins(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    tracing = opened(collector, {"OTEL_SERVICE_NAME": "mine"})
    tracing.record(**REQUEST)
    await asyncio.to_thread(tracing.close, 20)
    assert collector.resources[0]["service.name"] == "mine"


class TestEndpoint:
    @pytest.mark.parametrize(
        ("setting", "environ", "endpoint"),
        [
            ("", {}, ""),
            ("http://c:4318", {}, "http://c:4318/v1/traces"),
            ("http://c:4318/otlp/", {}, "http://c:4318/otlp/v1/traces"),
            ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c"}, "https://c/v1/traces"),
            ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/x"}, "http://c/x"),
            (
                "",
                {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b/x"},
                "http://b/x",
            ),
            ("http://a", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b/x"}, "http://a/v1/traces"),
            ("http://a", {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "http://a/v1/traces"),
            ("http://a", {"OTEL_SDK_DISABLED": "True"}, ""),
            ("http://a", {"OTEL_TRACES_EXPORTER": "none"}, ""),
            ("http://[::1]:4318", {}, "http://[::1]:4318/v1/traces"),
        ],
    )
    def test_where_spans_go(self, setting: str, environ: dict[str, str], endpoint: str) -> None:
        assert traces_endpoint(setting, environ) == endpoint

    @pytest.mark.parametrize("setting", ["c:4318", "ftp://c", "http://", "http://c:x", "http://c:0", "http://[::1"])
    def test_what_is_no_endpoint(self, setting: str) -> None:
        with pytest.raises(ConfigurationError, match="is not http://HOST:PORT") as caught:
            traces_endpoint(setting, {})
        assert repr(setting) in str(caught.value)

    def test_grpc_is_not_spoken(self) -> None:
        with pytest.raises(ConfigurationError, match="'grpc' is not supported: set OTEL_EXPORTER_OTLP_PROTOCOL="):
            traces_endpoint("http://a", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})

    def test_without_an_endpoint_there_is_nothing(self) -> None:
        assert open_tracing("", {}, workload="shop/users", version="1") is None


ROOT = Path(__file__).parents[3]


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_an_endpoint_nothing_of_opentelemetry_is_imported() -> None:
    assert (
        run(
            "import sys\n"
            "from proxy.telemetry.tracing import open_tracing\n"
            "assert open_tracing('', {}, workload='shop/users', version='1') is None\n"
            "print([name for name in sys.modules if name.startswith(('opentelemetry', 'requests'))])\n"
        )
        == "[]"
    )


def test_an_endpoint_without_the_extra_is_told_with_the_remedy() -> None:
    assert (
        run(
            "import sys\n"
            "sys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'] = None\n"
            "from proxy.base.problems import ConfigurationError\n"
            "from proxy.telemetry.tracing import open_tracing\n"
            "try:\n"
            "    open_tracing('http://c:4318', {}, workload='shop/users', version='1')\n"
            "except ConfigurationError as error:\n"
            "    print(error)\n"
        )
        == "spans shall go to http://c:4318/v1/traces, which needs a package: pip install 'skycap[otlp]'"
    )

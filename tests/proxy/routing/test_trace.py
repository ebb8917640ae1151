"""Trace ids in all formats. OpenTelemetry is the judge of those that it has."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.propagators.textmap import TextMapPropagator

from proxy.routing.trace import (
    EXAMPLES,
    KEPT_BYTES,
    MAX_ID_BYTES,
    MAX_IDS,
    TRACE_FIELDS,
    TraceReader,
    names,
    names_none,
    text_id,
)
from tests.proxy.routing.carrying import B3_MULTI, B3_SINGLE, W3C, fields_in, head_of, injected

TRACE = "0af7651916cd43dd8448eb211c803190"
FULL = TRACE.encode()
LOW = b"8448eb211c803190"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"

READER = TraceReader()

TRACES = st.integers(1, 2**128 - 1).filter(lambda trace: trace & (2**64 - 1))
SPANS = st.integers(1, 2**64 - 1)
PROPAGATORS = pytest.mark.parametrize("propagator", [W3C, B3_SINGLE, B3_MULTI], ids=["w3c", "b3", "b3-multi"])


def read(head: bytes, reader: TraceReader = READER) -> list[bytes]:
    return reader.ids(fields_in(head))


def ids(**fields: str) -> list[bytes]:
    return read(head_of({name.replace("_", "-"): value for name, value in fields.items()}))


class TestIds:
    @pytest.mark.parametrize(
        "value",
        [
            PARENT, PARENT.upper(), f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-what-the-future-brings",
            f"\t {PARENT} ",
        ],
    )  # fmt: skip
    def test_traceparent_w3c_trace_context_3_2(self, value: str) -> None:
        assert ids(traceparent=value) == [FULL]
        assert ids(Elastic_Apm_Traceparent=value) == [FULL]

    @pytest.mark.parametrize(
        "value",
        [
            "", "00", f"00-{TRACE[:-1]}", f"ff-{TRACE}-{SPAN}-01", f"0-{TRACE}-{SPAN}-01", f"00-{TRACE[1:]}-{SPAN}-01",
            f"00-{TRACE}0-{SPAN}-01", f"00-{TRACE[:-1]}g-{SPAN}-01", f"00_{TRACE}_{SPAN}_01", TRACE,
            f"00-{'0' * 32}-{SPAN}-01",
        ],
    )  # fmt: skip
    def test_no_traceparent(self, value: str) -> None:
        assert ids(traceparent=value) == []

    @pytest.mark.parametrize("trace", [TRACE, TRACE[16:], TRACE.upper(), "0" * 16 + TRACE[16:]])
    @pytest.mark.parametrize("rest", ["", "-1", "-0", "-d", f"-1-{SPAN}"])
    def test_b3_single(self, trace: str, rest: str) -> None:
        assert ids(b3=f"{trace}-{SPAN}{rest}") == [FULL if trace.lower() == TRACE else LOW]

    @pytest.mark.parametrize(
        "value", ["0", "1", "d", "", TRACE[1:] + "-" + SPAN, "0" * 32 + "-" + SPAN + "-1", "x" * 32]
    )
    def test_no_b3(self, value: str) -> None:
        assert ids(b3=value) == []

    @pytest.mark.parametrize("trace", [TRACE, TRACE[16:], TRACE.upper()])
    def test_b3_multi(self, trace: str) -> None:
        known = FULL if trace.lower() == TRACE else LOW
        assert ids(X_B3_TraceId=trace, X_B3_SpanId=SPAN) == ids(Ot_Tracer_TraceId=trace) == [known]
        assert ids(X_B3_SpanId=SPAN, X_B3_Sampled="1", X_B3_ParentSpanId=SPAN) == []

    @pytest.mark.parametrize(
        ("value", "ident"),
        [
            (f"{TRACE}:{SPAN}:0:1", FULL), (f"{TRACE[16:]}:{SPAN}:0:1", LOW), (f"{TRACE}%3A{SPAN}%3A0%3A1", FULL),
            ("1a:2:0:1", b"000000000000001a"), (f"1{TRACE[16:]}:2:0:1", b"0" * 15 + b"1" + LOW),
            (TRACE.upper() + ":1:0:1", FULL),
        ],
    )  # fmt: skip
    def test_jaeger_drops_leading_zeros(self, value: str, ident: bytes) -> None:
        assert ids(Uber_Trace_Id=value) == [ident]

    @pytest.mark.parametrize(
        ("value", "ident"),
        [(TRACE, FULL), (TRACE[16:], LOW), ("1a", b"000000000000001a"), ("0" * 8 + "1a", b"0" * 14 + b"1a")],
    )
    def test_opentracing_drops_leading_zeros(self, value: str, ident: bytes) -> None:
        """OpenTelemetry's propagator for Python does; one of sixteen traces begins its lower half with one."""
        assert ids(ot_tracer_traceid=value) == [ident]
        assert ids(ot_tracer_traceid=value + "g") == ids(ot_tracer_traceid="0" * 17) == []

    @pytest.mark.parametrize("value", ["", ":1:0:1", "0:1:0:1", "x:1:0:1", TRACE, TRACE + "0:1:0:1", "debug"])
    def test_no_jaeger(self, value: str) -> None:
        assert ids(uber_trace_id=value) == []

    @pytest.mark.parametrize(
        ("value", "ident"),
        [
            (str(int(LOW, 16)), LOW), ("1", b"0000000000000001"), (f" {2**64 - 1}\t", b"ffffffffffffffff"),
            ("0" * 10 + "7", b"0000000000000007"),
        ],
    )  # fmt: skip
    def test_datadog_is_decimal(self, value: str, ident: bytes) -> None:
        assert ids(X_Datadog_Trace_Id=value) == [ident]

    @pytest.mark.parametrize("value", ["", "0", "-1", "+1", "1_0", "12a", "1 2", "1" * 21])
    def test_no_datadog(self, value: str) -> None:
        assert ids(x_datadog_trace_id=value) == []

    @pytest.mark.parametrize(
        ("tags", "ident"),
        [
            (f"_dd.p.tid={TRACE[:16]}", FULL), (f"_dd.p.dm=-1,_dd.p.tid={TRACE[:16]},x=y", FULL), ("_dd.p.dm=-1", LOW),
            (f"_dd.p.tid={TRACE[:15]}", LOW), (f"_dd.p.tid={TRACE[:16]}0", LOW), (f"_dd.p.tid={'0' * 16}", LOW),
        ],
    )  # fmt: skip
    def test_datadogs_upper_half_is_a_tag(self, tags: str, ident: bytes) -> None:
        assert ids(X_Datadog_Trace_Id=str(int(LOW, 16)), X_Datadog_Tags=tags) == [ident]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("X-Amzn-Trace-Id", f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={SPAN};Sampled=1"),
            ("X-Amzn-Trace-Id", f"Self=1-67891234-12456789abcdef012345678;Root=1-{TRACE[:8]}-{TRACE[8:]}"),
            ("X-Cloud-Trace-Context", f"{TRACE}/123;o=1"), ("X-Cloud-Trace-Context", TRACE),
            ("sentry-trace", f"{TRACE}-{SPAN}-1"), ("sentry-trace", f"{TRACE}-{SPAN}"),
            ("Request-Id", f"|{TRACE}.{SPAN}."), ("Request-Id", f"|{TRACE}.1.2_3."), ("request-id", TRACE),
            ("request-id", f"00-{TRACE}-{SPAN}-01"), ("ot-tracer-traceid", TRACE),
            ("sw8", f"1-{base64.b64encode(FULL).decode()}-c2VnbWVudA==-3-c3Zj-aW5z-ZXA=-YWRkcg=="),
        ],
    )  # fmt: skip
    def test_ids_with_a_span_beside_them(self, field: str, value: str) -> None:
        """The span changes with every hop; the trace does not."""
        assert read(head_of({field: value})) == [FULL]

    @pytest.mark.parametrize(
        ("field", "value", "ident"),
        [
            ("request-id", "|AbC.1.", b"=abc"), ("request-id", "abc", b"=abc"),
            ("request-id", "|a-b-c.1.2.", b"=a-b-c"),
            ("sw8", f"1-{base64.b64encode(b'Abc.1.2').decode()}-a-3-b-c-d-e", b"=abc.1.2"),
        ],
    )  # fmt: skip
    def test_roots_that_are_text(self, field: str, value: str, ident: bytes) -> None:
        assert read(head_of({field: value})) == [ident]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("x-amzn-trace-id", ""), ("x-amzn-trace-id", "Root=1-5759e988"), ("x-amzn-trace-id", f"Parent={SPAN}"),
            ("x-amzn-trace-id", f"Root=1-{'0' * 8}-{'0' * 24}"), ("x-cloud-trace-context", TRACE[1:] + "/1"),
            ("sentry-trace", "1"), ("request-id", "|"), ("request-id", "|undefined.1."), ("request-id", "x" * 300),
            ("sw8", "1-YWJj"), ("sw8", "1-*-a-3-b-c-d-e"), ("sw8", "1--a-3-b-c-d-e"), ("sw8", ""),
        ],
    )  # fmt: skip
    def test_none_of_them(self, field: str, value: str) -> None:
        assert read(head_of({field: value})) == []

    @pytest.mark.parametrize("value", ["7", "f9ed4675-1c53-4513-a61c-3b3b4e25b4c0", "a b", "\x80", "x" * KEPT_BYTES])
    def test_request_id_stands_for_itself(self, value: str) -> None:
        assert ids(x_request_id=value) == [b"=" + value.lower().encode("latin-1")]
        padded = f"  {value.swapcase()}\t "
        assert ids(X_Request_Id=padded) == [b"=" + value.lower().encode("latin-1")]

    def test_a_long_one_weighs_no_more_than_a_short_one(self) -> None:
        one, other = ids(x_request_id="x" * MAX_ID_BYTES), ids(x_request_id="x" * (MAX_ID_BYTES - 1))
        assert len(one) == len(other) == 1
        assert one != other
        assert len(one[0]) <= KEPT_BYTES

    @pytest.mark.parametrize("value", ["x" * (MAX_ID_BYTES + 1), ""])
    def test_no_request_id(self, value: str) -> None:
        assert ids(x_request_id=value) == []

    @pytest.mark.parametrize("value", [" ", "\t", "  \t "])
    def test_white_space_is_no_request_id(self, value: str) -> None:
        """All requests with an empty one would be one trace, whatever their keys."""
        assert ids(x_request_id=value) == []

    def test_configured_fields_stand_for_themselves(self) -> None:
        reader = TraceReader(["X-Correlation", "x.y", "X-Amzn-Trace-Id"])
        head = head_of({"x-correlation": "C 1", "x-y": "no pattern", "x.y": "2", "x-request-id": "3"})
        assert read(head, reader) == [b"=3", b"=c 1", b"=2"]
        assert reader.configured(fields_in(head)) == [b"=c 1", b"=2"]
        assert read(head) == [b"=3"]
        assert READER.configured(fields_in(head)) == []
        assert reader.configured(fields_in(head_of({"x.y": "undefined"}))) == []

    def test_a_field_that_is_understood_stays_so_when_it_is_configured(self) -> None:
        reader = TraceReader(["X-Amzn-Trace-Id", "sentry-trace"])
        assert reader.fields == ()
        assert read(head_of({"sentry-trace": f"{TRACE}-{SPAN}-1"}), reader) == [FULL]

    def test_each_once_in_the_order_of_what_is_understood(self) -> None:
        found = ids(X_Request_Id="1", b3=f"{TRACE}-{SPAN}", uber_trace_id="1:2:0:1", traceparent=PARENT)
        assert found == [FULL, b"0000000000000001", b"=1"]
        sw8 = f"1-{base64.b64encode(FULL).decode()}-a-3-b-c-d-e"
        assert ids(x_b3_traceid=TRACE, traceparent=PARENT, sw8=sw8) == [FULL]

    def test_eight_at_most(self) -> None:
        """A hundred lines of guesses are a stranger's."""
        lines = [("x-request-id", str(number)) for number in range(1, 120)]
        assert read(head_of(*lines)) == [b"=%d" % number for number in range(1, MAX_IDS + 1)]

    def test_names_are_whole_names(self) -> None:
        assert ids(my_traceparent=PARENT, b3x=f"{TRACE}-{SPAN}", x_request_ids="1", x="traceparent: " + PARENT) == []

    def test_no_head_no_ids(self) -> None:
        assert read(head_of()) == []

    def test_what_was_seen(self) -> None:
        """For the notice of a lost key: whatever stands there, usable or not."""
        reader = TraceReader(["x-mine"])
        head = head_of(("B3", "0"), ("x-mine", ""), ("traceparent", "undefined"), ("b3", "1"), ("x", "y"))
        assert reader.seen(fields_in(head)) == ["traceparent", "b3", "x-mine"]
        assert READER.seen(fields_in(head_of())) == []
        assert all(READER.seen(fields_in(head_of({name: ""}))) == [name] for name in TRACE_FIELDS)

    @PROPAGATORS
    @given(trace=TRACES, span=SPANS, sampled=st.booleans())
    @settings(deadline=None, max_examples=40)
    def test_we_read_what_opentelemetry_writes(
        self, propagator: TextMapPropagator, trace: int, span: int, sampled: bool
    ) -> None:
        known = b"%032x" % trace if trace >> 64 else b"%016x" % trace
        assert read(head_of(injected(propagator, trace, span, sampled))) == [known]


class TestNone:
    @pytest.mark.parametrize(
        "value",
        [
            "undefined", "null", "None", "nil", "NaN", "-", "--", "0", "unknown", "[object Object]", "N/A", "(null)",
            "<nil>", "", " ", '""', "''", '"', "00000000-0000-0000-0000-000000000000", "0" * 32, "{" + "0" * 32 + "}",
            "{00000000-0000-0000-0000-000000000000}", "ffffffff-ffff-ffff-ffff-ffffffffffff", "${REQUEST_ID}",
            "{{requestId}}", "%s", "%REQ(X-REQUEST-ID)%", "%{REQUEST_ID}e", "%!s(<nil>)", "#{id}", "req-%s",
            "req-${ID}",
            "$request_id", "{request_id}", "<uuid>", '"undefined"', "string", "$(uuidgen)", "a-{{b}}",
        ],
    )  # fmt: skip
    def test_values_that_stand_for_none(self, value: str) -> None:
        assert names_none(value.lower().encode())
        assert ids(x_request_id=value) == []
        assert read(head_of({"x-mine": value}), TraceReader(["x-mine"])) == []

    @pytest.mark.parametrize(
        "value",
        [
            "1", "10", "a", "f9ed4675-1c53-4513-a61c-3b3b4e25b4c0", "0f", "{f9ed4675-1c53-4513-a61c-3b3b4e25b4c0}",
            "a-0", "nullable", "none-1", "100%", "50%st", "-1", "ffffffff", "0x1", "a$b", "a%20b",
        ],
    )  # fmt: skip
    def test_values_that_do_not(self, value: str) -> None:
        """Few as some of them may be: whose they are is for the correlation to say."""
        assert ids(x_request_id=value) == [b"=" + value.encode()]

    def test_too_long(self) -> None:
        assert text_id(b"x" * (MAX_ID_BYTES + 1)) == b""


class TestNames:
    def test_128_bits_are_known_by_64_as_well(self) -> None:
        assert names([FULL, b"=1", LOW]) == [FULL, b"=1", LOW, b"~" + LOW]
        assert names([FULL, b"1" * 16 + LOW]) == [FULL, b"1" * 16 + LOW, b"~" + LOW]
        assert names([b"=" + b"1" * 31]) == [b"=" + b"1" * 31], "text of that length is none"

    def test_what_a_specification_prints(self) -> None:
        for trace in (b"4bf92f3577b34da6a3ce929d0e0e4736", b"0af7651916cd43dd8448eb211c80319c"):
            assert {*names([trace]), *names([trace[16:]])} <= EXAMPLES


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "line",
    [
        b"x-request-id:" + b" " * 64_000 + b"x" * 300, b"x-request-id:" + b" \t" * 32_000, b"sw8:" + b"-" * 65_000,
        b"traceparent:" + b" " * 65_000, b"x-amzn-trace-id:" + b"root=1-" * 9_000, b"request-id:" + b"|" * 65_000,
        b"b3:" + b"0" * 65_000, b"uber-trace-id:" + b"0" * 65_000, b"x-datadog-trace-id:" + b"1" * 65_000,
        b"x-b3-traceid:" + b"\t" * 65_000 + b"g", b"x-datadog-trace-id: 1\r\nx-datadog-tags:" + b"_dd.p.tid=" * 6_000,
        b"x-request-id: " + b"${" * 99, b"x-request-id: " + b"%" * 199, b"x-cloud-trace-context:" + b"0" * 65_000,
    ],
)  # fmt: skip
def test_hostile_heads_of_64_kib(line: bytes) -> None:
    """Read at once; see tests/proxy/wire/test_grammar.py for what makes a quadratic search impossible."""
    found = read(b"GET / HTTP/1.1\r\nhost: shop\r\n" + line + b"\r\n\r\n")
    assert all(len(ident) <= KEPT_BYTES + 1 for ident in found)

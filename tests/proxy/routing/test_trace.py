"""Trace ids in all formats, and the formats that a keyed request is given: OpenTelemetry is the judge of both."""

from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.propagators.textmap import TextMapPropagator

from proxy.routing.trace import MAX_ID_BYTES, TRACE_HEADERS, TraceReader, missing_context, plain_context
from proxy.wire.head import HeadParser, Limits
from tests.proxy.routing.carrying import B3_MULTI, B3_SINGLE, W3C, extracted, fields_of, head_of, injected

TRACE = "0af7651916cd43dd8448eb211c80319c"
LOW = b"8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"

READER = TraceReader()
PARSER = HeadParser(Limits())

TRACES = st.integers(1, 2**128 - 1).filter(lambda trace: trace & (2**64 - 1))
SPANS = st.integers(1, 2**64 - 1)
PROPAGATORS = pytest.mark.parametrize("propagator", [W3C, B3_SINGLE, B3_MULTI], ids=["w3c", "b3", "b3-multi"])


def ids(**fields: str) -> list[bytes]:
    return READER.ids(head_of({name.replace("_", "-"): value for name, value in fields.items()}))


def low_bits(trace: int) -> bytes:
    return b"%016x" % (trace & (2**64 - 1))


def completed(fields: dict[str, str], seed: int = 1) -> tuple[dict[str, str], list[bytes]]:
    """All fields of a keyed request behind us, and all ids under which it is remembered."""
    head = head_of(fields)
    found = READER.ids(head)
    lines, added = missing_context(head, found, random.Random(seed).getrandbits)
    new = fields_of(lines)
    assert not {name.lower() for name in fields} & new.keys(), "nothing is written twice"
    assert not set(found) & set(added)
    return {**fields, **new}, found + added


class TestIds:
    @pytest.mark.parametrize(
        "value",
        [
            PARENT, PARENT.upper(), f"00-{TRACE}-{SPAN}-00", f"cc-{TRACE}-{SPAN}-01-what-the-future-brings",
            f"\t {PARENT} ",
        ],
    )  # fmt: skip
    def test_traceparent_w3c_trace_context_3_2(self, value: str) -> None:
        assert ids(traceparent=value) == [LOW]

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
        assert ids(b3=f"{trace}-{SPAN}{rest}") == [LOW]

    @pytest.mark.parametrize(
        "value", ["0", "1", "d", "", TRACE[1:] + "-" + SPAN, "0" * 32 + "-" + SPAN + "-1", "x" * 32]
    )
    def test_no_b3(self, value: str) -> None:
        assert ids(b3=value) == []

    @pytest.mark.parametrize("trace", [TRACE, TRACE[16:], TRACE.upper()])
    def test_b3_multi(self, trace: str) -> None:
        assert ids(X_B3_TraceId=trace, X_B3_SpanId=SPAN) == [LOW]
        assert ids(X_B3_SpanId=SPAN, X_B3_Sampled="1", X_B3_ParentSpanId=SPAN) == []

    @pytest.mark.parametrize(
        ("value", "ident"),
        [
            (f"{TRACE}:{SPAN}:0:1", LOW), (f"{TRACE[16:]}:{SPAN}:0:1", LOW), (f"{TRACE}%3A{SPAN}%3A0%3A1", LOW),
            ("1a:2:0:1", b"000000000000001a"), (f"1{TRACE[16:]}:2:0:1", LOW), (TRACE.upper() + ":1:0:1", LOW),
        ],
    )  # fmt: skip
    def test_jaeger_drops_leading_zeros(self, value: str, ident: bytes) -> None:
        assert ids(Uber_Trace_Id=value) == [ident]

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

    @pytest.mark.parametrize("value", ["7", "f9ed4675-1c53-4513-a61c-3b3b4e25b4c0", "a b", "\x80", "x" * MAX_ID_BYTES])
    def test_request_id_stands_for_itself(self, value: str) -> None:
        assert ids(x_request_id=value) == [b"=" + value.lower().encode("latin-1")]
        padded = f"  {value.swapcase()}\t "[: MAX_ID_BYTES + 2]
        assert ids(X_Request_Id=padded) == [b"=" + value.lower().encode("latin-1")]

    @pytest.mark.parametrize("value", ["x" * (MAX_ID_BYTES + 1), ""])
    def test_no_request_id(self, value: str) -> None:
        assert ids(x_request_id=value) == []

    @pytest.mark.parametrize("value", [" ", "\t", "  \t "])
    def test_white_space_is_no_request_id(self, value: str) -> None:
        """All requests with an empty one would be one trace, whatever their keys."""
        assert ids(x_request_id=value) == []

    def test_configured_headers_stand_for_themselves(self) -> None:
        reader = TraceReader(["X-Amzn-Trace-Id", "x.y"])
        head = head_of({"x-amzn-trace-id": "Root=1-5759", "x-y": "no pattern", "x.y": "2", "x-request-id": "3"})
        assert reader.ids(head) == [b"=root=1-5759", b"=2", b"=3"]
        assert READER.ids(head) == [b"=3"]

    def test_each_once_in_the_order_of_their_lines(self) -> None:
        found = ids(X_Request_Id="1", b3=f"{TRACE}-{SPAN}", uber_trace_id="1:2:0:1", traceparent=PARENT)
        assert found == [b"=1", LOW, b"0000000000000001"]
        datadog = str(int(LOW, 16))
        assert ids(x_datadog_trace_id=datadog, x_b3_traceid=TRACE[16:], traceparent=PARENT) == [LOW]

    def test_names_are_whole_names(self) -> None:
        assert ids(my_traceparent=PARENT, b3x=f"{TRACE}-{SPAN}", x_request_ids="1", x="traceparent: " + PARENT) == []

    def test_no_head_no_ids(self) -> None:
        assert READER.ids(head_of({})) == []
        assert set(TRACE_HEADERS) == {
            "traceparent", "b3", "x-b3-traceid", "uber-trace-id", "x-datadog-trace-id", "x-request-id",
        }  # fmt: skip

    @PROPAGATORS
    @given(trace=TRACES, span=SPANS, sampled=st.booleans())
    @settings(deadline=None, max_examples=40)
    def test_we_read_what_opentelemetry_writes(
        self, propagator: TextMapPropagator, trace: int, span: int, sampled: bool
    ) -> None:
        assert READER.ids(head_of(injected(propagator, trace, span, sampled))) == [low_bits(trace)]


class TestMissingContext:
    @PROPAGATORS
    @given(trace=TRACES, span=SPANS, sampled=st.booleans())
    @settings(deadline=None, max_examples=40)
    def test_every_other_format_names_the_same_trace(
        self, propagator: TextMapPropagator, trace: int, span: int, sampled: bool
    ) -> None:
        """An application that understands one format only sees what its caller wrote in another."""
        sent = injected(propagator, trace, span, sampled)
        fields, known = completed(sent)
        assert {name: fields[name] for name in sent} == sent
        assert extracted(W3C, fields) == (trace, span, sampled)
        assert extracted(B3_SINGLE, fields) == (trace, span, sampled)
        assert extracted(B3_MULTI, fields) == (trace, span, sampled)
        assert int(uuid.UUID(fields["x-request-id"])) == trace
        assert low_bits(trace) in known

    def test_a_fresh_one(self) -> None:
        fields, known = completed({})
        found = extracted(W3C, fields)
        assert found is not None
        assert found == extracted(B3_SINGLE, fields)
        assert found[2], "a request with a key is a test that somebody wants to look at"
        assert known == [low_bits(found[0]), b"=" + fields["x-request-id"].encode()]
        assert completed({}, seed=2)[0] != fields

    def test_a_fresh_one_is_never_zero(self) -> None:
        head = head_of({})
        lines, added = missing_context(head, [], lambda bits: 0)
        fields = fields_of(lines)
        assert extracted(W3C, fields) == extracted(B3_SINGLE, fields) == (1, 1, True)
        assert added[0] == b"0000000000000001"

    @pytest.mark.parametrize(
        "sent",
        [
            {}, {"traceparent": PARENT}, {"b3": f"{TRACE}-{SPAN}-1"}, {"b3": f"{TRACE[16:]}-{SPAN}"},
            {"x-b3-traceid": TRACE},
            {"x-b3-traceid": TRACE[16:], "x-b3-spanid": SPAN, "x-b3-sampled": "0"},
            {"uber-trace-id": f"{TRACE}:{SPAN}:0:1"},
            {"uber-trace-id": "1a:2:0:1"}, {"x-datadog-trace-id": "12345"}, {"x-request-id": "abc"}, {"b3": "0"},
            {"traceparent": "malformed"}, {"b3": "malformed"}, {"x-b3-traceid": "malformed"},
            {"x-request-id": "x" * 300},
            {"traceparent": "malformed", "b3": f"{TRACE}-{SPAN}-1"}, {"traceparent": PARENT, "b3": "malformed"},
            {"traceparent": PARENT, "b3": f"{TRACE}-{SPAN}-1", "x-request-id": "1"},
            {"traceparent": PARENT, "x-request-id": "1"}, {"x-request-id": "1", "x-datadog-trace-id": "7"},
            {"tracestate": "a=b"}, {"x-b3-sampled": "1"}, {"x-b3-flags": "1"}, {"x-b3-spanid": SPAN},
        ],
        ids=str,
    )  # fmt: skip
    def test_whatever_single_line_an_application_forwards_is_known_again(self, sent: dict[str, str]) -> None:
        fields, known = completed(sent)
        written = fields.keys() - sent.keys()
        for name in written:
            alone = READER.ids(head_of({name: fields[name]}))
            assert alone, f"{name} of ours names no trace"
            assert set(alone) <= set(known)
        for name in ("traceparent", "b3", "x-request-id"):
            assert name in fields or (name == "b3" and "x-b3-traceid" in fields)

    @pytest.mark.parametrize(
        ("sent", "trace", "span", "sampled"),
        [
            ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, TRACE, SPAN, False),
            ({"traceparent": f"00-{TRACE}-{SPAN}-03"}, TRACE, SPAN, True),
            ({"traceparent": f"00-{TRACE}-{SPAN}-fe"}, TRACE, SPAN, False),
            ({"traceparent": PARENT.upper()}, TRACE, SPAN, True),
            ({"b3": f"{TRACE}-{SPAN}-0"}, TRACE, SPAN, False),
            ({"b3": f"{TRACE}-{SPAN}-d"}, TRACE, SPAN, True),
            ({"b3": f"{TRACE}-{SPAN}"}, TRACE, SPAN, True),
            ({"b3": f"{TRACE}-{SPAN}-1-{SPAN[::-1]}"}, TRACE, SPAN, True),
            ({"b3": f"{TRACE[16:]}-{SPAN}-1"}, TRACE[16:], SPAN, True),
            ({"b3": f"{TRACE}-{SPAN}-1".upper()}, TRACE, SPAN, True),
            ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN}, TRACE, SPAN, True),
            ({"x-b3-traceid": TRACE[16:], "x-b3-spanid": SPAN, "x-b3-sampled": "true"}, TRACE[16:], SPAN, True),
            ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "0"}, TRACE, SPAN, False),
            ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "False"}, TRACE, SPAN, False),
        ],
        ids=str,
    )
    def test_span_and_sampling_are_kept(self, sent: dict[str, str], trace: str, span: str, sampled: bool) -> None:
        fields, _ = completed(sent)
        ours = {name: value for name, value in fields.items() if name not in sent}
        expected = (int(trace, 16), int(span, 16), sampled)
        for propagator, name in ((W3C, "traceparent"), (B3_SINGLE, "b3")):
            if name in ours:
                assert extracted(propagator, ours) == expected
        assert ours

    @pytest.mark.parametrize(
        "sent", [{"uber-trace-id": f"{TRACE[16:]}:{SPAN}:0:1"}, {"x-datadog-trace-id": str(int(LOW, 16))}], ids=str
    )
    def test_other_formats_keep_their_trace(self, sent: dict[str, str]) -> None:
        fields, known = completed(sent)
        found = extracted(W3C, fields)
        assert found is not None
        assert found == extracted(B3_SINGLE, fields)
        assert found[0] == int(LOW, 16)
        assert known == [LOW, b"=" + fields["x-request-id"].encode()]

    @pytest.mark.parametrize("sent", [{"b3": "0"}, {"x-b3-sampled": "0"}, {"x-b3-sampled": "false"}], ids=str)
    def test_a_caller_that_denies_sampling_is_not_sampled(self, sent: dict[str, str]) -> None:
        """B3: a sampling decision may come without a trace."""
        fields, _ = completed(sent)
        found = extracted(W3C, fields)
        assert found is not None
        assert not found[2]

    @pytest.mark.parametrize(
        "sent",
        [
            {"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, {"b3": f"{'0' * 32}-{SPAN}-1"}, {"b3": f"{'0' * 16}-{SPAN}-1"},
            {"x-b3-traceid": "0" * 32, "x-b3-spanid": SPAN}, {"x-b3-traceid": "0" * 16},
            {"uber-trace-id": "0:0:0:0"}, {"x-datadog-trace-id": "0"},
        ],
        ids=str,
    )  # fmt: skip
    def test_a_trace_of_zeros_is_none_w3c_trace_context_3_2_2_3(self, sent: dict[str, str]) -> None:
        """What followed from it would be the same for all such requests: one trace with the keys of many."""
        one, other = completed(sent, seed=1), completed(sent, seed=2)
        assert not set(one[1]) & set(other[1])
        for fields, known in (one, other):
            assert all(ident.strip(b"=0-") for ident in known)
            ours = {name: value for name, value in fields.items() if name not in sent}
            assert any(extracted(propagator, ours) for propagator in (W3C, B3_SINGLE))

    def test_a_span_of_zeros_is_none_w3c_trace_context_3_2_2_4(self) -> None:
        fields, known = completed({"traceparent": f"00-{TRACE}-{'0' * 16}-01"})
        assert LOW in known
        assert extracted(B3_SINGLE, {"b3": fields["b3"]}) is not None

    def test_values_that_are_malformed_are_not_replaced(self) -> None:
        sent = {"traceparent": "x", "b3": "y", "x-request-id": ""}
        fields, known = completed(sent)
        assert fields == sent
        assert len(known) == 1
        assert b"=" not in known


class TestPlainContext:
    """The shortcut for a request with a `traceparent` and nothing unusual says the same as the long way."""

    @pytest.mark.parametrize(
        ("flags", "request_id"), [("00", None), ("01", None), ("01", b"abc"), ("02", b"1"), ("03", None)]
    )
    def test_completes_a_traceparent(self, flags: str, request_id: bytes | None) -> None:
        sent = {"traceparent": f"00-{TRACE}-{SPAN}-{flags}"}
        known, lines = plain_context(sent["traceparent"].encode(), request_id)
        added = fields_of(lines)
        assert extracted(B3_SINGLE, added) == (int(TRACE, 16), int(SPAN, 16), flags in ("01", "03"))
        assert known == [LOW, b"=" + (request_id or added["x-request-id"].encode())]
        assert ("x-request-id" in added) is (request_id is None)

    @given(
        trace=TRACES,
        span=SPANS,
        flags=st.integers(0, 255),
        version=st.integers(0, 254),
        request_id=st.none() | st.from_regex(r"[!-@\[-~]{1,200}", fullmatch=True),
    )
    @settings(deadline=None, max_examples=60)
    def test_agrees_with_missing_context(
        self, trace: int, span: int, flags: int, version: int, request_id: str | None
    ) -> None:
        parent = f"{version:02x}-{trace:032x}-{span:016x}-{flags:02x}"
        sent = {"traceparent": parent} | ({} if request_id is None else {"x-request-id": request_id})
        head = head_of(sent)
        found = READER.ids(head)
        lines, added = missing_context(head, found, lambda bits: pytest.fail("nothing random is needed"))
        short_ids, short_lines = plain_context(parent.encode(), None if request_id is None else request_id.encode())
        assert short_lines == lines
        assert sorted(short_ids) == sorted(found + added)

    @pytest.mark.parametrize("trace", ["0" * 32, TRACE], ids=["no-trace", "no-span"])
    def test_a_trace_or_span_of_zeros_takes_the_long_way_w3c_trace_context_3_2_2_3(self, trace: str) -> None:
        parent = f"00-{trace}-{SPAN if trace != TRACE else '0' * 16}-01"
        head = PARSER.request(b"GET / HTTP/1.1\r\nHost: shop\r\ntraceparent: %b\r\n\r\n" % parent.encode())
        assert head is not None
        assert not head.plain


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "line",
    [
        b"x-request-id:" + b" " * 64_000 + b"x" * 300, b"x-request-id:" + b" \t" * 32_000,
        b"traceparent:" + b" " * 65_000,
        b"b3:" + b"0" * 65_000, b"uber-trace-id:" + b"0" * 65_000, b"x-datadog-trace-id:" + b"1" * 65_000,
        b"x-b3-traceid:" + b"\t" * 65_000 + b"g", b"x-b3-sampled:" + b" " * 65_000,
    ],
)  # fmt: skip
def test_hostile_heads_of_64_kib(line: bytes) -> None:
    """Read at once; see tests/proxy/wire/test_grammar.py for what makes a quadratic search impossible."""
    head = b"get / http/1.1\r\nhost: shop\r\n" + line + b"\r\n\r\n"
    found = READER.ids(head)
    assert all(len(ident) <= MAX_ID_BYTES + 1 for ident in found)
    missing_context(head, found, random.Random(1).getrandbits)

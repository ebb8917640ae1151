"""What a keyed request is given. OpenTelemetry is the judge of the formats that it has."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.propagators.textmap import TextMapPropagator

from proxy.routing.context import (
    CONTEXT_FIELDS,
    FORMATS,
    MARK_DIGITS,
    MAX_HEAD_BYTES,
    MAX_HEAD_LINES,
    Completed,
    Format,
    TraceContext,
)
from proxy.routing.template import MAX_TEMPLATES, WRITTEN, parts, template
from proxy.routing.trace import MAX_IDS, TRACE_FIELDS, TraceReader, names
from proxy.wire.fields import lines_of
from proxy.wire.head import HeadParser, Limits
from tests.proxy.routing.carrying import B3_MULTI, B3_SINGLE, W3C, extracted, fields_in, head_of, injected

TRACE = "0af7651916cd43dd8448eb211c803190"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
XRAY = f"Root=1-{TRACE[:8]}-{TRACE[8:]}"
MARK = b"5ca1ab1e"

READER = TraceReader(["x-mine"])
PARSER = HeadParser(Limits(), ["x-mine"])

TRACES = st.integers(1, 2**128 - 1).filter(lambda trace: trace & (2**64 - 1))
SPANS = st.integers(1, 2**64 - 1)
PROPAGATORS = pytest.mark.parametrize("propagator", [W3C, B3_SINGLE, B3_MULTI], ids=["w3c", "b3", "b3-multi"])


def text(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Fields as an application sees them; each stands there once."""
    pairs = [(name.decode(), value.decode()) for name, value in fields]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def completed(context: TraceContext, head: bytes) -> Completed:
    large = len(head) > MAX_HEAD_BYTES or head.count(b"\r\n") > MAX_HEAD_LINES
    return context.complete(fields_in(head), large=large)


def context(seed: int = 1) -> TraceContext:
    return TraceContext(READER, MARK, random.Random(seed).getrandbits)


Sent = dict[str, str] | tuple[str, str]


def added(done: Completed) -> list[tuple[bytes, bytes]]:
    """The fields that are added."""
    return [*done.fields, *(done.template.filled(done.filling) if done.template is not None else ())]


class Seen:
    """A keyed request as the application behind us sees it, and the names under which it is known."""

    def __init__(self, *sent: Sent, seed: int = 1) -> None:
        head = head_of(*sent)
        done = completed(context(seed), head)
        self.names = done.names
        self.repaired = bool(done.drop)
        self.added = text(added(done))
        pairs = [pair for some in sent for pair in (some.items() if isinstance(some, dict) else [some])]
        left = [(name.lower(), value) for name, value in pairs if name.lower().encode() not in done.drop]
        assert not {name for name, _ in left} & self.added.keys(), "nothing stands there twice"
        self.fields = {**dict(left), **self.added}

    def __getitem__(self, name: str) -> str:
        return self.fields[name]


def known(seen: Seen, name: str) -> list[bytes]:
    """The names of what an application forwards that forwards one field only."""
    more = (
        {"x-datadog-tags": seen["x-datadog-tags"]}
        if name == "x-datadog-trace-id" and "x-datadog-tags" in seen.fields
        else {}
    )
    head = head_of({name: seen[name], **more})
    return names(READER.ids(fields_in(head)))


class TestFormats:
    def test_what_is_understood_is_given(self) -> None:
        assert {form.fields[0].decode() for form in FORMATS} == set(TRACE_FIELDS)
        seen = Seen()
        assert seen.fields.keys() >= set(TRACE_FIELDS)
        assert not seen.repaired
        for name in TRACE_FIELDS:
            assert known(seen, name), f"{name} of ours names no trace"
            assert set(known(seen, name)) <= set(seen.names)

    @pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.fields[0].decode())
    def test_what_we_write_we_can_use(self, form: Any) -> None:
        """And so nothing is added by the next sidecar."""
        seen = Seen()
        again = Seen(seen.fields)
        assert again.added == {}
        assert form.read({name: [seen[name.decode()].encode()] for name in form.fields if name.decode() in seen.fields})

    @PROPAGATORS
    @given(trace=TRACES, span=SPANS, sampled=st.booleans())
    @settings(deadline=None, max_examples=30)
    def test_every_other_format_names_the_same_trace(
        self, propagator: TextMapPropagator, trace: int, span: int, sampled: bool
    ) -> None:
        """An application that understands one format only sees what its caller wrote in another."""
        sent = injected(propagator, trace, span, sampled)
        seen = Seen(sent)
        assert {name: seen[name] for name in sent} == sent
        assert extracted(W3C, seen.fields) == (trace, span, sampled)
        assert extracted(B3_SINGLE, seen.fields) == (trace, span, sampled)
        assert extracted(B3_MULTI, seen.fields) == (trace, span, sampled)
        for name in TRACE_FIELDS[:-1]:
            assert known(seen, name)[0] == (b"%032x" % trace if trace >> 64 else b"%016x" % trace)

    @pytest.mark.parametrize("trace", [TRACE, "0" * 16 + TRACE[16:]])
    def test_every_format_leads_to_the_others(self, trace: str) -> None:
        all_of_them = template(WRITTEN, True)
        given_all = text(all_of_them.filled(all_of_them.pick(parts(f"{trace}-{SPAN}".encode(), b"r"))))
        for form in FORMATS[:-1]:
            own = {name.decode(): given_all[name.decode()] for name in form.fields if name.decode() in given_all}
            seen = Seen(own)
            assert not seen.repaired
            assert extracted(W3C, seen.fields) is not None
            assert seen["traceparent"][3:35] == trace, form.fields[0]

    def test_a_request_id_is_made_and_no_other_form_of_the_trace(self) -> None:
        """When the trace turns out to be everybody's, there is one id that is not."""
        one, other = Seen({"traceparent": PARENT}, seed=1), Seen({"traceparent": PARENT}, seed=2)
        assert one["x-request-id"] != other["x-request-id"]
        for seen in (one, other):
            assert uuid.UUID(seen["x-request-id"]).hex.startswith(MARK.decode())
            assert b"=" + seen["x-request-id"].encode() in seen.names


class TestMade:
    def test_a_fresh_one(self) -> None:
        seen = Seen()
        found = extracted(W3C, seen.fields)
        assert found is not None
        assert found == extracted(B3_SINGLE, seen.fields) == extracted(B3_MULTI, seen.fields)
        assert found[2], "a request with a key is a test that somebody wants to look at"
        assert seen["traceparent"][3 : 3 + MARK_DIGITS] == MARK.decode()
        assert Seen(seed=2)["traceparent"] != seen["traceparent"]

    def test_it_is_never_zero(self) -> None:
        head = head_of()
        done = completed(TraceContext(READER, MARK, lambda bits: 0), head)
        assert extracted(W3C, text(added(done))) == (int(MARK + b"0" * 23 + b"1", 16), 1, True)

    @pytest.mark.parametrize("sent", [{"b3": "0"}, {"x-b3-sampled": "0"}, {"x-b3-sampled": "False"}], ids=str)
    def test_a_caller_that_denies_sampling_is_not_sampled(self, sent: dict[str, str]) -> None:
        """B3: a sampling decision may come without a trace."""
        seen = Seen(sent)
        for propagator in (W3C, B3_SINGLE, B3_MULTI):
            found = extracted(propagator, seen.fields)
            assert found is not None
            assert not found[2]

    @pytest.mark.parametrize(
        ("sent", "sampled"),
        [
            ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, False), ({"traceparent": f"00-{TRACE}-{SPAN}-03"}, True),
            ({"traceparent": f"00-{TRACE}-{SPAN}-fe"}, False), ({"b3": f"{TRACE}-{SPAN}-0"}, False),
            ({"b3": f"{TRACE}-{SPAN}-d"}, True), ({"b3": f"{TRACE}-{SPAN}"}, True),
            ({"b3": f"{TRACE}-{SPAN}-1-{SPAN[::-1]}"}, True),
            ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "0"}, False),
            ({"x-b3-traceid": TRACE, "x-b3-spanid": SPAN, "x-b3-sampled": "true"}, True),
            ({"uber-trace-id": f"{TRACE}:{SPAN}:0:0"}, False), ({"uber-trace-id": f"{TRACE}%3A{SPAN}%3A0%3A3"}, True),
            ({"x-amzn-trace-id": f"{XRAY};Parent={SPAN};Sampled=0"}, False),
            ({"x-amzn-trace-id": f"Sampled=1; Parent={SPAN}; {XRAY}"}, True),
            ({"x-cloud-trace-context": f"{TRACE}/{int(SPAN, 16)};o=0"}, False),
            ({"x-cloud-trace-context": f"{TRACE}/{int(SPAN, 16)}"}, True),
            ({"sentry-trace": f"{TRACE}-{SPAN}-0"}, False), ({"sentry-trace": f"{TRACE}-{SPAN}"}, True),
            ({"elastic-apm-traceparent": f"00-{TRACE}-{SPAN}-00"}, False),
            ({"request-id": f"00-{TRACE}-{SPAN}-00"}, False),
            ({"ot-tracer-traceid": TRACE, "ot-tracer-spanid": SPAN, "ot-tracer-sampled": "false"}, False),
        ],
        ids=str,
    )  # fmt: skip
    def test_span_and_sampling_are_kept(self, sent: dict[str, str], sampled: bool) -> None:
        seen = Seen(sent)
        assert not seen.repaired
        assert seen["traceparent"][3:52] == f"{TRACE}-{SPAN}"
        assert extracted(B3_MULTI, seen.fields) == (int(TRACE, 16), int(SPAN, 16), sampled)

    @pytest.mark.parametrize("priority", ["-1", "0", "1", "2"])
    def test_datadogs_priority(self, priority: str) -> None:
        low = str(int(TRACE[16:], 16))
        sent = {
            "x-datadog-trace-id": low, "x-datadog-parent-id": "7", "x-datadog-sampling-priority": priority,
            "x-datadog-tags": f"_dd.p.dm=-1,_dd.p.tid={TRACE[:16]}",
        }  # fmt: skip
        seen = Seen(sent)
        assert not seen.repaired
        assert seen["traceparent"] == f"00-{TRACE}-{7:016x}-0{int(int(priority) > 0)}"


UNUSABLE = {
    "traceparent": [
        PARENT.upper(), f"ff-{TRACE}-{SPAN}-01", "undefined", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-1", f"00-{TRACE[16:]}-{SPAN}-01", f"00-{TRACE}-13235353014750950193-00", PARENT + "-x", "",
        f"00-{TRACE}-{SPAN}-0G", f"0-{TRACE}-{SPAN}-01",
    ],
    "b3": [
        "malformed", "", f"{TRACE}-{SPAN}-1".upper(), f"{'0' * 32}-{SPAN}-1", TRACE, f"{TRACE}-{'0' * 16}",
        f"{TRACE}-{SPAN}-2",
    ],
    "x-b3-traceid": ["", "malformed", TRACE, TRACE.upper(), "0" * 32],
    "uber-trace-id": ["", "0:0:0:0", TRACE, f"{TRACE}:{SPAN}", f"{TRACE}-{SPAN}-0-1"],
    "x-datadog-trace-id": ["", "0", "12345", "-1", "undefined", "9" * 21],
    "x-amzn-trace-id": [
        "", XRAY, f"{XRAY};Parent={SPAN}", f"Root=1-{'0' * 8}-{'0' * 24};Parent={SPAN};Sampled=1", "Self=1",
    ],
    "x-cloud-trace-context": ["", TRACE, f"{'0' * 32}/1;o=1", f"{TRACE}/x"],
    "sentry-trace": ["", "undefined", f"{TRACE}-{SPAN}-2", TRACE],
    "elastic-apm-traceparent": ["", PARENT + "-x"],
    "ot-tracer-traceid": ["", TRACE, "0" * 16],
    "request-id": ["", "|", "|undefined.1.", "0" * 32, "x" * 300],
    "sw8": ["", "1-a-b", "1-*-a-3-b-c-d-e"],
    "x-request-id": ["", "undefined", "-", "0", "x" * 300, "${ID}"],
}  # fmt: skip


class TestRepairs:
    @pytest.mark.parametrize(
        ("name", "value"), [(name, value) for name, values in UNUSABLE.items() for value in values]
    )
    def test_what_cannot_be_used_is_missing_w3c_trace_context_4_3(self, name: str, value: str) -> None:
        seen = Seen({name: value, "x-other": "1"})
        assert seen.repaired
        assert Seen(seen.fields).added == {}, "now it can"
        assert set(known(seen, name)) <= set(seen.names)
        assert seen["x-other"] == "1"
        assert len({seen["traceparent"][3:35], seen["x-b3-traceid"], seen["uber-trace-id"][:32]}) == 1

    @pytest.mark.parametrize("name", TRACE_FIELDS)
    def test_what_stands_there_twice_cannot_be_used(self, name: str) -> None:
        one, other = Seen(seed=5), Seen(seed=6)
        seen = Seen((name, one[name]), (name, other[name]))
        assert seen.repaired
        assert Seen(seen.fields).added == {}
        assert set(known(seen, name)) <= set(seen.names)

    @pytest.mark.parametrize(
        "sent",
        [
            {"traceparent": PARENT.upper()}, {"traceparent": f"00-{TRACE}-{SPAN}-1"}, {"x-b3-traceid": TRACE},
            {"b3": TRACE}, {"x-amzn-trace-id": XRAY}, {"uber-trace-id": f"{TRACE}:x"}, {"ot-tracer-traceid": TRACE},
            {"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, {"x-cloud-trace-context": TRACE},
        ],
        ids=str,
    )  # fmt: skip
    def test_the_trace_stays_where_it_can_still_be_told(self, sent: dict[str, str]) -> None:
        seen = Seen(sent)
        assert seen["traceparent"][3:35] == TRACE
        assert TRACE.encode() in seen.names

    def test_what_can_be_used_stays_beside_what_cannot(self) -> None:
        seen = Seen({"Traceparent": PARENT, "B3": "malformed", "X-Request-Id": "My-Id", "tracestate": "a=b"})
        assert seen.repaired
        assert (seen["traceparent"], seen["x-request-id"], seen["tracestate"]) == (PARENT, "My-Id", "a=b")
        assert seen["b3"] == f"{TRACE}-{SPAN}-1"

    def test_nothing_else_is_given_when_nothing_else_is_missing(self) -> None:
        every = Seen(seed=5).fields
        seen = Seen({**every, "b3": "malformed"})
        assert seen.repaired
        assert seen.fields == every

    def test_each_field_keeps_its_own_trace(self) -> None:
        """A load balancer's root beside an application's trace."""
        seen = Seen({"traceparent": PARENT, "x-amzn-trace-id": "Root=1-5759e988-bd862e3fe1be46a994272793"})
        assert seen["traceparent"] == PARENT
        assert seen["x-amzn-trace-id"] == f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent={SPAN};Sampled=1"
        assert {TRACE.encode(), b"5759e988bd862e3fe1be46a994272793"} <= set(seen.names)
        other = Seen({"traceparent": PARENT, "uber-trace-id": "1a:2:0:1"})
        assert not other.repaired
        assert {TRACE.encode(), b"000000000000001a"} <= set(other.names)

    def test_only_what_the_application_sees_is_claimed(self) -> None:
        """A hundred guesses of other people's ids are replaced by one of ours."""
        seen = Seen(*[("x-request-id", str(number)) for number in range(100)], ("traceparent", f"00-{TRACE}-{SPAN}-1"))
        assert not {b"=%d" % number for number in range(100)} & set(seen.names)
        assert len(seen.names) == 3

    def test_eight_ids_at_most(self) -> None:
        sent = [("x-mine", f"id-{number}") for number in range(20)]
        seen = Seen(*sent)
        assert len([name for name in seen.names if not name.startswith(b"~")]) == MAX_IDS
        assert b"=" + seen["x-request-id"].encode() in seen.names
        assert seen["traceparent"][3:35].encode() in seen.names

    def test_configured_fields_are_claimed_and_left_alone(self) -> None:
        seen = Seen({"x-mine": "Abc"})
        assert b"=abc" in seen.names
        assert seen["x-mine"] == "Abc"
        assert len(Seen({"x-mine": "undefined"}).names) == 3

    @pytest.mark.parametrize("one", ["0" * 32, "undefined", ""])
    def test_nothing_is_shared_by_those_who_send_none(self, one: str) -> None:
        sent = dict.fromkeys((*TRACE_FIELDS, "x-mine"), one)
        assert not set(Seen(sent, seed=1).names) & set(Seen(sent, seed=2).names)

    def test_what_is_left_out_is_chosen_by_us(self) -> None:
        """One set of names, whatever cannot be used: a pattern is compiled for each set."""
        head = head_of({"sw8": "1"})
        assert completed(context(), head).drop is CONTEXT_FIELDS


class TestRoom:
    @pytest.mark.parametrize(
        "filling",
        [[("cookie", "x" * MAX_HEAD_BYTES)], [(f"x-{number}", "1") for number in range(MAX_HEAD_LINES)]],
        ids=["bytes", "lines"],
    )
    def test_a_large_head_gets_no_more_than_the_core(self, filling: list[tuple[str, str]]) -> None:
        assert Seen(*filling).added.keys() == {"traceparent", "b3", "x-request-id"}
        seen = Seen(*filling, {"uber-trace-id": "undefined"})
        assert seen.added.keys() == {"traceparent", "b3", "x-request-id", "uber-trace-id"}, "and what it needs repaired"

    def test_others_stay_below_what_servers_take(self) -> None:
        lines = lines_of(added(completed(context(), head_of())))
        assert MAX_HEAD_BYTES + len(lines) < 8 * 1024
        assert MAX_HEAD_LINES + lines.count(b"\r\n") < 100


REQUEST_IDS = st.none() | st.from_regex(r"[!-~]{1,80}", fullmatch=True) | st.sampled_from(
    ["undefined", "0", "00-0", "ffffffff-ffff-ffff-ffff-ffffffffffff", "%s", "a-%s", "a{{b", "null)", "(null", "x" * 65]
)  # fmt: skip


class TestPlain:
    """The shortcut for a request with a `traceparent` or none, and nothing unusual, says the same as the long way."""

    @given(
        parent=st.none() | st.tuples(st.sampled_from(["00", "01", "cc"]), TRACES, SPANS, st.integers(0, 255)),
        request_id=REQUEST_IDS,
    )
    @settings(deadline=None, max_examples=300)
    def test_agrees_with_the_long_way(self, parent: tuple[str, int, int, int] | None, request_id: str | None) -> None:
        sent = {} if parent is None else {"traceparent": "{}-{:032x}-{:016x}-{:02x}".format(*parent)}
        if request_id is not None:
            sent["x-request-id"] = request_id
        found = PARSER.request(head_of(sent))
        assert found is not None
        assert found.plain
        short, long = context().plain(found.traceparent, found.request_id), Seen(sent)
        if short is None:
            return
        assert not long.repaired
        ids, given, filling = short
        mine = text(given.filled(filling))
        assert mine.keys() == long.added.keys()
        if parent is not None:
            assert {**mine, "x-request-id": ""} == {**long.added, "x-request-id": ""}
        fields = {**sent, **mine}
        for name in TRACE_FIELDS:
            usable = names(READER.ids(fields_in(head_of({name: fields[name]}))))
            assert set(usable) <= {*ids, *(ident[1:] for ident in ids if ident[:1] == b"~")}, name
        assert Seen(fields).added == {}
        assert len(ids) == len(long.names) == 3

    def test_usual_requests_go_this_way(self) -> None:
        for request_id in (
            b"6f1b1f0e-7b1e-4b6e-9f0a-1234567890ab",
            b"1",
            b"0f-1",
            b"abc_def.1",
            b"00000005-7b1e-4b6e-9f0a-1234567890ab",
        ):
            for parent in (PARENT.encode(), None):
                assert context().plain(parent, request_id) is not None

    def test_what_it_makes(self) -> None:
        done = context().plain(PARENT.encode(), None)
        assert done is not None
        made = text(done[1].filled(done[2]))["x-request-id"]
        assert re.fullmatch(MARK.decode() + "(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made)
        assert done[0] == [TRACE.encode(), b"~" + TRACE[16:].encode(), b"=" + made.encode()]

    def test_a_trace_that_it_makes(self) -> None:
        done = context().plain(None, b"r-1")
        assert done is not None
        fields = text(done[1].filled(done[2]))
        found = extracted(W3C, fields)
        assert found is not None
        assert fields["traceparent"].startswith(f"00-{MARK.decode()}")
        assert found[2], "a request with a key is a test that somebody wants to look at"
        assert done[0] == [fields["traceparent"][3:35].encode(), b"~" + fields["traceparent"][19:35].encode(), b"=r-1"]

    @pytest.mark.parametrize("bits", [0, 1 << 128, 1])
    def test_neither_trace_nor_span_is_zero(self, bits: int) -> None:
        done = TraceContext(READER, MARK, lambda count: bits).plain(None, b"r-1")
        assert done is not None
        fields = text(done[1].filled(done[2]))
        for propagator in (W3C, B3_SINGLE, B3_MULTI):
            assert extracted(propagator, fields) is not None
        assert fields["x-datadog-trace-id"] != "0"

    def test_a_short_trace_takes_the_long_way(self) -> None:
        parent = f"00-{'0' * 16}{TRACE[16:]}-{SPAN}-01"
        assert context().plain(parent.encode(), None) is None


class TestTemplates:
    """What is written at once is what would be written one by one."""

    @given(trace=TRACES, span=SPANS, sampled=st.booleans(), missing=st.sets(st.sampled_from(FORMATS), min_size=1))
    @settings(deadline=None, max_examples=100)
    def test_any_set_of_formats(self, trace: int, span: int, sampled: bool, missing: set[Format]) -> None:
        one = f"{trace:032x}-{span:016x}".encode()
        wanted = [name for form in missing for name in form.fields if name in WRITTEN]
        given_at_once = template(tuple(wanted), sampled)
        fields = given_at_once.filled(given_at_once.pick(parts(one, b"r-1")))
        assert [name for name, _ in fields] == wanted
        assert lines_of(given_at_once.fields) % given_at_once.pick(parts(one, b"r-1")) == lines_of(fields)
        every = template(WRITTEN, sampled)
        assert set(fields) <= set(every.filled(every.pick(parts(one, b"r-1"))))

    def test_they_are_bounded(self) -> None:
        assert template.cache_info().maxsize == MAX_TEMPLATES

    def test_the_value_of_one_hole(self) -> None:
        one = template((b"sentry-trace",), True)
        assert repr(one) == "<Template sentry-trace>"
        assert one.filled(one.pick(parts(PARENT[3:52].encode(), b""))) == [(b"sentry-trace", PARENT[3:52].encode())]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", [*TRACE_FIELDS, "x-datadog-tags", "x-mine"])
@pytest.mark.parametrize("part", [" ", "0", "-", ";", "Root=1-", "%3A", "_dd.p.tid=", "|", ",", "."])
def test_hostile_heads_of_64_kib(name: str, part: str) -> None:
    """Read at once; see tests/proxy/wire/test_grammar.py for what makes a quadratic search impossible."""
    head = head_of({name: part * (65_000 // len(part)) + "x"}, {"x-datadog-trace-id": "1"})
    completed(context(), head)

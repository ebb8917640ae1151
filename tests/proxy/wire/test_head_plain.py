"""The shortcut through a head in which nothing is unusual: what it offers says the same as the fields do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.errors import Refused
from proxy.routing.context import CONTEXT_FIELDS
from proxy.wire.framing import NO_BODY
from proxy.wire.head import HeadParser, Limits, field_values
from tests.proxy.wire.reading import PARSER, get, read_request

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class TestShortcuts:
    """What the head offers beside its fields says the same as they do."""

    @pytest.mark.parametrize(
        "line",
        [
            b"tracestate: a=b", b"skycap-visited: x", b"X-Watched: 1", b"Baggage: second",
            b"Connection: close, x", b"Connection:", b"Connection: closed",
            b"Transfer-Encoding: chunked", b"Upgrade: x", b"Keep-Alive: 1",
        ],
    )  # fmt: skip
    def test_whatever_else_could_matter_makes_a_head_not_plain(self, line: bytes) -> None:
        parser = HeadParser(Limits(), ["x-watched"])
        lines = (b"Baggage: First", b"X-Request-ID: 1", b"traceparent: " + PARENT)
        assert read_request(get(*lines), parser).plain
        for data in (get(*lines, line), get(*lines, line, b"A: b"), get(line, *lines), get(b"A: b", line, *lines)):
            assert not read_request(data, parser).plain

    @pytest.mark.parametrize("name", [*sorted(CONTEXT_FIELDS - {b"traceparent", b"x-request-id"}), b"X-B3-TraceId"])
    def test_trace_context_makes_a_head_traced_and_leaves_it_plain(self, name: bytes) -> None:
        """Load balancers add some to every request, and it says nothing about the message."""
        for data in (
            get(name + b": 1"),
            get(b"traceparent: " + PARENT, name + b":"),
            get(b"A: b", name + b": 1", b"C: d"),
        ):
            head = read_request(data)
            assert head.plain
            assert head.traced

    @pytest.mark.parametrize("line", [b"traceparent: " + PARENT, b"X-Request-ID: 2"])
    def test_two_of_what_a_head_has_once_make_it_traced(self, line: bytes) -> None:
        lines = (b"X-Request-ID: 1", b"traceparent: " + PARENT)
        assert not read_request(get(*lines)).traced
        assert read_request(get(*lines, line)).traced

    def test_names_are_whole_names(self) -> None:
        lines = (
            b"b3x: 1",
            b"my-request-id: 1",
            b"x-b3: 1",
            b"sw80: 1",
            b"request-id2: 1",
            b"x-amzn-trace: 1",
            b"ab3: 1",
        )
        assert not read_request(get(*lines)).traced

    def test_values_of_a_plain_head(self) -> None:
        head = read_request(get(b"BAGGAGE: \tA=B ,c ", b"x-request-id: Ab-9", b"Traceparent: " + PARENT.upper()))
        assert head.plain
        assert head.baggage is not None
        assert head.baggage.strip(b" \t") == b"A=B ,c"
        assert head.request_id == b"ab-9"
        assert head.traceparent == PARENT

    @pytest.mark.parametrize("line", [b"Connection: close", b"CONNECTION:Close\t", b"connection: \t close  "])
    def test_one_end_of_the_connection_is_nothing_unusual(self, line: bytes) -> None:
        """What clients without a pool send with every request."""
        for lines in ([line], [b"A: b", line], [line, b"Baggage: a=b"]):
            head = read_request(get(*lines))
            assert head.plain
            assert (head.keep_alive, head.hop, head.options) == (False, True, frozenset({b"close"}))
            answer = PARSER.response(b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 0", *lines, b"", b""]), b"GET")
            assert answer is not None
            assert answer.plain
            assert (answer.keep_alive, answer.hop, answer.options) == (False, True, frozenset({b"close"}))
        for other in (b"Connection: close", b"connection: keep-alive", b"connection: x-foo", b"connection:"):
            assert not read_request(get(line, other)).plain
            assert not read_request(get(other, line)).plain

    def test_a_hop_that_stands_last_is_nothing_unusual(self) -> None:
        """It is how a sidecar writes it."""
        data = get(b"A: b", b"Baggage: a=b", b"skycap-hop: 0123456789abcdef")
        head = read_request(data)
        assert (head.plain, head.cause) == (True, b"0123456789abcdef")
        assert data[: head.tail].endswith(b"\r\nBaggage: a=b\r\n")
        assert read_request(get(b"A: b")).tail == len(get(b"A: b")) - 2

    @pytest.mark.parametrize(
        "lines",
        [
            [b"skycap-hop: 0123456789abcdef", b"A: b"],
            [b"skycap-hop: 0123456789abcdef", b"skycap-hop: 0123456789abcdef"],
            [b"skycap-hop:0123456789abcdef"],
            [b"skycap-hop: 0123456789abcde"],
            [b"skycap-hop: 0123456789abcdeg"],
            [b"skycap-hop: 0123456789abcdef "],
            [b"skycap-hop:"],
        ],
    )
    def test_a_hop_of_another_form_makes_a_head_not_plain(self, lines: list[bytes]) -> None:
        assert not read_request(get(*lines)).plain

    def test_a_head_without_them(self) -> None:
        head = read_request(get(b"A: b", b"Content-Length: 3"))
        assert head.plain
        assert (head.baggage, head.request_id, head.traceparent) == (None, None, None)

    @pytest.mark.parametrize(
        "line",
        [
            b"traceparent: ff" + PARENT[2:], b"traceparent: " + PARENT[:-1], b"traceparent: " + PARENT + b"-more",
            b"traceparent:", b"x-request-id:", b"x-request-id: a b", b"x-request-id: " + b"a" * 201,
        ],
    )  # fmt: skip
    def test_a_value_of_unusual_form_makes_a_head_traced(self, line: bytes) -> None:
        for head in (read_request(get(line)), read_request(get(line, b"A: b"))):
            assert head.traced
            assert head.plain
            assert (head.traceparent, head.request_id) == (None, None)

    @pytest.mark.parametrize("name", [b"skycap-served-by", b"Skycap-Error", b"skycap-", b"skycap-what-else"])
    def test_an_answer_that_claims_something(self, name: bytes) -> None:
        """Which is for sidecars to do."""
        for line, claims in ((name + b": x", True), (b"x-" + name + b": x", False)):
            for lines in ([line], [b"A: b", line, b"C: d"]):
                answer = PARSER.response(
                    b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 0", *lines, b"", b""]), b"GET"
                )
                assert answer is not None
                assert answer.claims is claims
                assert answer.plain is not claims

    def test_http_1_0_is_not_plain(self) -> None:
        assert not read_request(get(start=b"GET / HTTP/1.0")).plain

    @given(
        st.lists(
            st.sampled_from(
                [
                    b"Baggage: Routing-Key=A", b"baggage:b", b"X-Request-Id: 7", b"x-request-id: a b",
                    b"TraceParent: " + PARENT, b"traceparent: x", b"Content-Length: 4", b"Connection: keep-alive",
                    b"Connection: close", b"b3: 0", b"Accept: */*", b"tracestate: x=y", b"Host-Name: x", b"",
                ]
            ),
            max_size=6,
        )
    )  # fmt: skip
    @settings(deadline=None, max_examples=120)
    def test_any_mixture(self, lines: list[bytes]) -> None:
        data = get(*filter(None, lines))
        try:
            head = PARSER.request(data)
        except Refused:
            assert sum(line.startswith(b"Content-Length") for line in lines) > 1
            return
        assert head is not None
        assert head.keep_alive is (b"Connection: close" not in lines)
        assert head.body == (4 if b"Content-Length: 4" in lines else NO_BODY)
        if head.plain:
            baggage = [head.baggage.strip(b" \t")] if head.baggage is not None else []
            assert baggage == field_values(head, b"baggage")
        if not head.traced:
            parent = [head.traceparent] if head.traceparent is not None else []
            assert parent == field_values(head, b"traceparent")
            request_id = [head.request_id] if head.request_id is not None else []
            assert request_id == field_values(head, b"x-request-id")
        if head.plain:
            assert head.hop is not head.keep_alive

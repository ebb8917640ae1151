"""Which key a request carries: order, tolerance, limits; W3C Baggage as OpenTelemetry reads and writes it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.contract.names import DEFAULT_KEY_NAMES, ROUTING_KEY
from proxy.routing.key import (
    BAGGAGE,
    HEADER,
    KNOWN_ALIASES,
    NO_KEY,
    TRACESTATE,
    KeyReader,
    KeyReading,
    readable_key,
    with_key,
)
from tests.proxy.routing.carrying import W3C, extracted_baggage, injected, injected_baggage

READER = KeyReader(DEFAULT_KEY_NAMES)


def key_in(*lines: bytes) -> str:
    return READER.read(lines).key


class TestPrecedence:
    def test_nothing(self) -> None:
        assert READER.read(()) == NO_KEY == KeyReading()
        assert READER.read([b"a=b"], [b"c=d"]) == NO_KEY
        assert READER.read([b""], [b""], []) == NO_KEY

    def test_baggage_then_tracestate_then_headers(self) -> None:
        baggage, tracestate, headers = [b"routing-key=a"], [b"routing-key=b"], [b"c"]
        assert READER.read(baggage, tracestate, headers) == KeyReading("a", BAGGAGE, 0, (TRACESTATE, "b"))
        assert READER.read([b"x=y"], tracestate, headers) == KeyReading("b", TRACESTATE, 0, (HEADER, "c"))
        assert READER.read((), (), headers) == KeyReading("c", HEADER)

    def test_the_order_of_the_names_counts_not_that_of_the_members(self) -> None:
        lines = [b"sd-routing-key=second,routing-key=first"]
        assert READER.read(lines) == KeyReading("first", BAGGAGE, 0, (BAGGAGE, "second"))
        assert KeyReader(["sd-routing-key", "routing-key"]).read(lines).key == "second"
        assert KeyReader(["sd-routing-key"]).read(lines) == KeyReading("second", BAGGAGE)
        assert READER.read([b"sd-routing-key=a"], [b"routing-key=b"]).key == "a", "the carrier comes first"

    def test_headers_are_read_in_their_order(self) -> None:
        assert READER.read((), (), [b"bad key", b"b", b"c"]) == KeyReading("b", HEADER, 1, (HEADER, "c"))

    def test_names_of_headers_are_kept_in_lower_case(self) -> None:
        reader = KeyReader(DEFAULT_KEY_NAMES, ["Kubernetes-Route-As", "x-virtual-env"])
        assert reader.key_headers == ("kubernetes-route-as", "x-virtual-env")
        assert reader.key_names == ("routing-key", "sd-routing-key")
        assert all(alias == alias.lower() for alias in KNOWN_ALIASES)

    def test_carriers_that_agree_are_no_conflict(self) -> None:
        found = READER.read([b"routing-key=a,sd-routing-key=a"], [b"routing-key=%61"], [b"a"])
        assert found == KeyReading("a", BAGGAGE)

    def test_of_several_members_of_one_name_the_last_wins_as_opentelemetry_has_it(self) -> None:
        value = b"routing-key=a,sd-routing-key=x,routing-key=b"
        assert READER.read([value]) == KeyReading("b", BAGGAGE, 0, (BAGGAGE, "a"))
        assert extracted_baggage(value)["routing-key"] == "b"
        assert READER.read((), [b"routing-key=a", b"routing-key=b"]).key == "b"
        assert READER.read([b"routing-key=a,routing-key=not one"]) == KeyReading("a", BAGGAGE, 1)
        assert READER.read([b"routing-key=a,routing-key=b,routing-key=b"]).conflict == (BAGGAGE, "a")

    def test_the_first_conflict_is_the_one_reported(self) -> None:
        found = READER.read([b"routing-key=a"], [b"routing-key=a, sd-routing-key=b"], [b"c"])
        assert found.conflict == (TRACESTATE, "b")


class TestMembers:
    @pytest.mark.parametrize(
        "value",
        [
            b"routing-key=agent-42", b"a=b,routing-key=agent-42", b"routing-key=agent-42,a=b",
            b"routing-key = agent-42",
            b" \trouting-key\t=\tagent-42 \t", b"routing-key=agent-42;p=1;q", b"routing-key=agent-42 ; p",
            b",,routing-key=agent-42,",
            b"undefined,routing-key=agent-42", b"=x,routing-key=agent-42", b"a=b=c,routing-key=agent-42",
            b"null, routing-key=agent-42",
            b"a=\xff,routing-key=agent-42", b'a="x,routing-key=agent-42', b"routing-key=%61gent%2D42",
            b"routing-key=agent%2d42",
            b"a;p=1,routing-key=agent-42", b"routing-keys=x,my-routing-key=y,routing-key=agent-42",
            b"routing-key,routing-key=agent-42",
        ],
    )  # fmt: skip
    def test_a_malformed_member_costs_no_other_w3c_baggage_3_3(self, value: bytes) -> None:
        assert READER.read([value]) == KeyReading("agent-42", BAGGAGE)
        assert READER.read((), [value]) == KeyReading("agent-42", TRACESTATE)

    def test_several_lines_are_one_list_w3c_baggage_3_2(self) -> None:
        assert key_in(b"a=b", b"", b"c=d,routing-key=x") == "x"
        assert READER.read([b"routing-key=x", b"routing-key=y"]) == KeyReading("y", BAGGAGE, 0, (BAGGAGE, "x"))

    @pytest.mark.parametrize(
        "value",
        [
            b"", b"a", b"=", b"=x", b"routing-key", b"Routing-Key=x", b"routing-key%3Dx", b"%72outing-key=x",
            b"routing.key=x",
            b"a=routing-key=x", b"a=b;routing-key=x", b"xrouting-key=a", b"routing-keyx=a",
        ],
    )  # fmt: skip
    def test_no_key(self, value: bytes) -> None:
        """Names are case-sensitive and not percent-encoded; a property is no member."""
        assert READER.read([value]) == NO_KEY

    @pytest.mark.parametrize(
        "value",
        [
            b"", b"a b", b"a/b", b"a%20b", b"a%2Fb", b"%", b"%zz", b"a%00", b"caf\xe9", b"caf%C3%A9", b"%ff",
            b"a+b", b'"a"',
            b"a=b", b"x" * 64, b"a%0d%0ab", b"a%0a", b"a\x0b",
        ],
    )  # fmt: skip
    def test_a_value_outside_the_grammar_counts_as_no_key_and_is_counted(self, value: bytes) -> None:
        assert READER.read([b"routing-key=" + value]) == KeyReading(malformed=1)
        assert READER.read((), (), [value]) == KeyReading(malformed=1)
        found = READER.read([b"routing-key=%b,sd-routing-key=good" % value], [b"routing-key=" + value])
        assert found == KeyReading("good", BAGGAGE, malformed=2)

    @pytest.mark.parametrize("key", [b"a", b"x" * 63, b"A.b_c-9", b"-", b"...", b"0"])
    def test_the_grammar_of_a_key(self, key: bytes) -> None:
        assert key_in(b"routing-key=" + key) == key.decode()
        assert READER.read((), (), [key]).key == key.decode()

    def test_a_quick_no(self) -> None:
        for value in (b"routing-key=a", b"a=b, sd-routing-key = x", b"xrouting-keyx"):
            assert READER.may_hold_key(value)
        for value in (b"", b"a=b", b"routing_key=a", b"ROUTING-KEY=a"):
            assert not READER.may_hold_key(value)
        reader = KeyReader(["a.b"])
        assert reader.may_hold_key(b"x,a.b=1")
        assert not reader.may_hold_key(b"x,a-b=1"), "a name is no pattern"

    @given(
        lines=st.lists(st.binary(max_size=60) | st.just(b"routing-key=a"), max_size=4), headers=st.lists(st.binary())
    )
    @settings(deadline=None, max_examples=50)
    def test_whatever_comes(self, lines: list[bytes], headers: list[bytes]) -> None:
        found = READER.read(lines, lines, headers)
        assert bool(found.key) == bool(found.carrier)
        assert not found.key or ROUTING_KEY.fullmatch(found.key)
        if b"routing-key=a" in lines:
            assert found.key
        if found.key and found.carrier is not HEADER:
            assert any(READER.may_hold_key(line) for line in lines), "the quick no is never wrong"


MEMBERS = st.dictionaries(
    st.text("abc-_.!'", min_size=1, max_size=9),
    st.text(max_size=12).filter(lambda text: text == text.strip()),
    max_size=8,
)
KEYS = st.from_regex(ROUTING_KEY, fullmatch=True)


class TestOpenTelemetry:
    @given(members=MEMBERS, key=KEYS)
    @settings(deadline=None, max_examples=50)
    def test_we_read_the_baggage_that_it_writes(self, members: dict[str, str], key: str) -> None:
        value = injected_baggage({**members, "routing-key": key})
        assert READER.read([value]) == KeyReading(key, BAGGAGE)

    @given(members=MEMBERS, key=KEYS)
    @settings(deadline=None, max_examples=50)
    def test_it_reads_the_baggage_that_we_write(self, members: dict[str, str], key: str) -> None:
        value = injected_baggage(members)
        before = extracted_baggage(value)
        written = with_key([value] if value else [], "routing-key", key)
        assert extracted_baggage(written) == {**before, "routing-key": key}

    def test_it_reads_our_key_beside_members_that_are_odd(self) -> None:
        written = with_key([b"a=1,,undefined, b = 2 ;p", b"", b",c=3,"], "routing-key", "agent-42")
        assert extracted_baggage(written)["routing-key"] == "agent-42"
        assert extracted_baggage(written)["a"] == "1"

    def test_we_read_the_tracestate_that_it_writes_w3c_trace_context_3_3(self) -> None:
        fields = injected(W3C, 1, 2, sampled=True, state={"vendor": "t:1", "routing-key": "agent-42"})
        assert READER.read((), [fields["tracestate"].encode()]) == KeyReading("agent-42", TRACESTATE)


class TestWithKey:
    def test_alone(self) -> None:
        for lines in ([], [b""], [b" ,\t, "], [b"", b","]):
            assert with_key(lines, "routing-key", "a") == b"routing-key=a"

    @pytest.mark.parametrize(
        ("lines", "value"),
        [
            ([b"a=b"], b"routing-key=k,a=b"),
            ([b"a=b;p=1 , c"], b"routing-key=k,a=b;p=1 , c"),
            ([b"a=b", b"c=%20d"], b"routing-key=k,a=b,c=%20d"),
            ([b"a=b,", b"", b",c"], b"routing-key=k,a=b,,,c"),
            ([b"\xff=\x01"], b"routing-key=k,\xff=\x01"),
            ([b"routing-key=not a key"], b"routing-key=k,routing-key=not a key"),
        ],
    )
    def test_other_members_stay_byte_for_byte(self, lines: list[bytes], value: bytes) -> None:
        written = with_key(lines, "routing-key", "k")
        assert written == value
        assert key_in(written) == "k"

    @pytest.mark.parametrize("held", [b",".join(b"a%d=1" % n for n in range(180)), b"a=" + b"x" * 20_000])
    def test_there_is_always_room_for_it_w3c_baggage_3_3_2(self, held: bytes) -> None:
        """64 members and 8,192 bytes are what must be let through, not what may be sent."""
        assert with_key([held], "routing-key", "k") == b"routing-key=k," + held

    def test_the_name_is_the_configured_one(self) -> None:
        assert with_key([], "tenant", "k") == b"tenant=k"


class TestWithoutKeys:
    @pytest.mark.parametrize(
        ("lines", "left"),
        [
            ([b"a=b"], b"a=b"),
            ([b"routing-key=x"], b""),
            ([b"a=b, routing-key=x;p ,c"], b"a=b,c"),
            ([b"routing-key=x,a=1", b"sd-routing-key=%79,b=2"], b"a=1,b=2"),
            ([b"routing-key=not a key,b=2,routing-key=x"], b"routing-key=not a key,b=2"),
            ([b"xrouting-key=x,,=,routing-key"], b"xrouting-key=x,,=,routing-key"),
        ],
    )
    def test_what_is_left_stays_byte_for_byte(self, lines: list[bytes], left: bytes) -> None:
        assert READER.without_keys(lines) == left

    @given(lines=st.lists(st.sampled_from([b"a=1", b"routing-key=x", b"sd-routing-key=y,b=2", b",", b""]), max_size=4))
    def test_whoever_reads_it_next_finds_one_key(self, lines: list[bytes]) -> None:
        found = READER.read(lines)
        if found.key:
            normalised = with_key([READER.without_keys(lines)], "routing-key", found.key)
            assert READER.read([normalised]) == KeyReading(found.key, BAGGAGE)


def test_a_readable_key() -> None:
    assert readable_key(b"agent%2D42") == "agent-42"
    assert readable_key(b"feature/login") == readable_key(b"") == ""


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", [b",", b"=", b";", b" ", b"%", b"routing-key=", b"routing-key=x,", b"%61", b"a=b,"])
def test_hostile_baggage_of_64_kib(part: bytes) -> None:
    """Read at once: a list is split, never searched again from each of its characters."""
    value = part * (65_536 // len(part))
    found = READER.read([value], [value], [value])
    assert found.key in ("", "x")
    with_key([READER.without_keys([value])], "routing-key", "k")

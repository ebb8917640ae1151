"""The JSON form of routes: what is legal, what every illegal document is told, and that nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.contract import routes
from proxy.contract.addresses import why_no_shadow
from proxy.contract.routes import (
    MAX_ENDPOINTS,
    Endpoint,
    OnUnavailable,
    Route,
    State,
    decode_route,
    decode_routes,
    decode_table,
    decode_tombstone,
    encode_route,
    encode_tombstone,
    parse_endpoint,
)
from proxy.errors import ContractError

MINIMAL: dict[str, Any] = {"workload": "shop/users", "key": "agent-42", "endpoints": ["127.0.0.1:9102"]}


def problems_of(document: object) -> list[tuple[str, str]]:
    with pytest.raises(ContractError) as caught:
        decode_route(document)
    return caught.value.problems


def table_problems_of(document: object) -> list[tuple[str, str]]:
    with pytest.raises(ContractError) as caught:
        decode_table(document)
    return caught.value.problems


class TestEndpoint:
    @pytest.mark.parametrize(
        ("text", "host", "port"),
        [
            ("127.0.0.1:9102", "127.0.0.1", 9102),
            ("[::1]:8080", "::1", 8080),
            ("[2001:DB8:0:0::1]:1", "2001:db8::1", 1),
            ("users:80", "users", 80),
            ("users.shop.svc.cluster.local.:65535", "users.shop.svc.cluster.local.", 65535),
            ("my_host-1.a2:443", "my_host-1.a2", 443),
            ("3com.example:80", "3com.example", 80),
        ],
    )
    def test_reads(self, text: str, host: str, port: int) -> None:
        endpoint = parse_endpoint(text)
        assert (endpoint.host, endpoint.port) == (host, port)
        assert parse_endpoint(str(endpoint)) == endpoint

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("users", "is not HOST:PORT"),
            ("users:", "is not HOST:PORT"),
            ("users:0", "is not HOST:PORT"),
            ("users:65536", "is not HOST:PORT"),
            ("users:+80", "is not HOST:PORT"),
            ("users:8_0", "is not HOST:PORT"),
            ("users:٨٠", "is not HOST:PORT"),
            (":80", "no valid host"),
            ("us ers:80", "no valid host"),
            ("users\n:80", "no valid host"),
            ("-users:80", "no valid host"),
            ("a..b:80", "no valid host"),
            ("a" * 64 + ":80", "no valid host"),
            ("a." * 127 + ":80", "no valid host"),
            ("[users]:80", "no valid host"),
            ("[::1:80", "no valid host"),
            ("http://users:80", "no valid host"),
            ("::1:80", "brackets"),
            ("[127.0.0.1]:80", "brackets"),
            ("[fe80::1%eth0]:80", "zone"),
            ("x" * 300, "..."),
        ],
    )
    def test_refuses(self, text: str, why: str) -> None:
        with pytest.raises(ValueError, match=r".") as caught:
            parse_endpoint(text)
        assert why in str(caught.value)
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize(
        "host",
        [
            "169.254.169.254",
            "[fe80::1]",
            "[::ffff:169.254.169.254]",
            "[::169.254.169.254]",
            "[64:ff9b::169.254.169.254]",
            "[2002:a9fe:a9fe::1]",
            "2852039166",  # the same in one number, as inet_aton reads it
            "0xa9fea9fe",
            "169.16689662",
            "169.254.0xa9fe",
            "0251.254.169.254.",
            "127.1",
            "127.0.0.01",
        ],
    )
    def test_refuses_link_local_in_every_spelling(self, host: str) -> None:
        with pytest.raises(ValueError, match=r"link-local|no valid host"):
            parse_endpoint(f"{host}:80")

    def test_shows_itself_and_compares_by_value(self) -> None:
        assert repr(Endpoint("::1", 80)) == "<Endpoint [::1]:80>"
        assert len({Endpoint("a", 1), Endpoint("a", 1), Endpoint("a", 2)}) == 2
        assert Endpoint("a", 1) != "a:1"


class TestRoute:
    def test_three_fields_are_enough(self) -> None:
        route = decode_route(MINIMAL)
        assert route == Route("shop/users", "agent-42", (Endpoint("127.0.0.1", 9102),))
        assert (route.sandbox, route.revision) == ("agent-42", 1)
        assert (route.state, route.on_unavailable) == (State.READY, OnUnavailable.ERROR)

    def test_all_fields(self) -> None:
        route = decode_route(
            MINIMAL | {"sandbox": "b", "revision": 2, "state": "failed", "onUnavailable": "baseline", "endpoints": []}
        )
        assert route == Route("shop/users", "agent-42", (), "b", 2, State.FAILED, OnUnavailable.BASELINE)

    def test_absent_and_null_sandbox_are_the_key(self) -> None:
        assert decode_route(MINIMAL | {"sandbox": None}).sandbox == "agent-42"

    @pytest.mark.parametrize("key", ["Agent_42", "a.b", "-", "x" * 63])
    def test_a_key_that_is_no_dns_label_survives_the_round_trip(self, key: str) -> None:
        route = decode_route(MINIMAL | {"key": key})
        assert decode_route(encode_route(route)) == route

    @pytest.mark.parametrize(
        ("change", "path", "why"),
        [
            ({"workload": None}, "workload", "is required"),
            ({"workload": "users"}, "workload", "'users' is not NAMESPACE/NAME"),
            ({"workload": "shop/users/x"}, "workload", "is not NAMESPACE/NAME"),
            ({"workload": "shop/users\n"}, "workload", "is not NAMESPACE/NAME"),
            ({"key": ""}, "key", "is not 1 to 63"),
            ({"key": "a b"}, "key", "is not 1 to 63"),
            ({"key": "x" * 64}, "key", "is not 1 to 63"),
            ({"key": 42}, "key", "must be text, not a number: put it in quotes"),
            ({"key": True}, "key", "must be text, not true or false: put it in quotes"),
            ({"sandbox": "Big"}, "sandbox", "'Big' is not a DNS label"),
            ({"sandbox": ["b"]}, "sandbox", "must be text, not a list"),
            ({"revision": 0}, "revision", "0 is not a whole number from 1"),
            ({"revision": 1.5}, "revision", "1.5 is not a whole number from 1"),
            ({"revision": True}, "revision", "True is not"),
            ({"revision": "1"}, "revision", "'1' is not"),
            ({"revision": 2**53}, "revision", "is not a whole number"),
            ({"revision": 16**9000}, "revision", "a number is not a whole number"),
            ({"revision": None}, "revision", "nothing is not"),
            ({"state": "Ready"}, "state", "'Ready' is none of 'ready', 'pending', 'failed', 'ended'"),
            ({"state": ["ready"]}, "state", "a list is none of"),
            ({"onUnavailable": "retry"}, "onUnavailable", "'retry' is none of 'error', 'baseline'"),
            ({"endpoints": None}, "endpoints", "is required and must be a list"),
            ({"endpoints": "127.0.0.1:1"}, "endpoints", "must be a list"),
            ({"endpoints": []}, "endpoints", "a ready route needs at least one"),
            ({"endpoints": ["a:1"] * (MAX_ENDPOINTS + 1)}, "endpoints", "has 65 entries, 64 are allowed"),
            ({"endpoints": ["a:1", 7]}, "endpoints[1]", "7 is not HOST:PORT"),
            ({"endpoints": ["a:1", "b"]}, "endpoints[1]", "'b' is not HOST:PORT"),
            ({"onunavailable": "baseline"}, "onunavailable", "unknown field"),
            ({7: "x"}, "7", "unknown field"),
            ({"since": "2026-01-31T12:00:00Z"}, "since", "is for a route whose state is `ended`"),
            ({"why": "deleted"}, "why", "is for a route whose state is `ended`"),
            ({"y" * 100: "x"}, repr("y" * 77) + "...", "unknown field"),
        ],
    )
    def test_each_problem_has_a_path(self, change: dict[Any, Any], path: str, why: str) -> None:
        [(where, message)] = problems_of(MINIMAL | change)
        assert where == path
        assert why in message

    @pytest.mark.parametrize(
        ("document", "kind"), [(None, "nothing"), ([], "a list"), ("x", "text"), (b"x", "a bytes")]
    )
    def test_must_be_an_object(self, document: object, kind: str) -> None:
        assert problems_of(document) == [("", f"must be an object, not {kind}")]

    def test_all_problems_at_once(self) -> None:
        found = problems_of({"workload": "x", "endpoints": [], "state": "ready", "sandbox": "-", "what": 1})
        assert [path for path, _ in found] == ["what", "workload", "key", "sandbox", "endpoints"]

    def test_a_bomb_of_aliases_is_described_not_written_out(self) -> None:
        levels = ["- &l0 [x, x, x, x, x, x, x, x, x, x]"]
        levels += [f"- &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
        bomb = yaml.safe_load("\n".join(levels))[-1]
        found = problems_of(dict.fromkeys(("workload", "key", "sandbox", "revision", "state", "onUnavailable"), bomb))
        assert len(found) == 7
        assert problems_of(MINIMAL | {"endpoints": [bomb]}) == [("endpoints[0]", "a list is not HOST:PORT")]

    def test_shows_itself(self) -> None:
        assert repr(decode_route(MINIMAL)) == "<Route shop/users agent-42 -> 127.0.0.1:9102 rev=1 ready>"
        nowhere = decode_route(MINIMAL | {"endpoints": [], "state": "pending"})
        assert repr(nowhere) == "<Route shop/users agent-42 -> nowhere rev=1 pending>"

    def test_compares_by_value(self) -> None:
        assert decode_route(MINIMAL) != decode_route(MINIMAL | {"revision": 2})
        assert decode_route(MINIMAL) != MINIMAL
        assert len({decode_route(MINIMAL), decode_route(dict(MINIMAL))}) == 1


LABEL = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
ENDPOINTS = st.builds(
    Endpoint,
    st.one_of(
        st.ip_addresses().filter(lambda address: not why_no_shadow(address)).map(str),
        LABEL.filter(lambda text: not text[-1].isdigit()).filter(lambda name: not routes._NUMERIC.fullmatch(name)),
    ),
    st.integers(1, 65535),
)
ROUTES = st.builds(
    Route,
    st.builds("{}/{}".format, LABEL, LABEL),
    st.from_regex(r"[A-Za-z0-9._-]{1,63}", fullmatch=True),
    st.lists(ENDPOINTS, min_size=1, max_size=4).map(tuple),
    st.one_of(st.just(""), LABEL),
    st.integers(1, 2**53 - 1),
    st.sampled_from([State.READY, State.PENDING, State.FAILED]),
    st.sampled_from(OnUnavailable),
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # which is how busy the machine is
@given(ROUTES)
def test_what_is_encoded_is_decoded(route: Route) -> None:
    assert decode_route(encode_route(route)) == route


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["workload", "key", "endpoints", "state", "revision", "sandbox"]), JUNK))
def test_nothing_but_a_contract_error_comes_of_junk(document: dict[str, Any]) -> None:
    assert problems_of(document)


class TestEnded:
    """A tombstone."""

    ENDED = MINIMAL | {"state": "ended", "endpoints": []}

    def test_needs_no_endpoints(self) -> None:
        route = decode_route({"workload": "shop/users", "key": "agent-42", "state": "ended"})
        assert route == Route("shop/users", "agent-42", (), state=State.ENDED)

    def test_says_when_and_why(self) -> None:
        route = decode_route(self.ENDED | {"since": "2026-01-31T12:00:00Z", "why": "its TTL of 4h was over"})
        assert (route.since, route.why) == ("2026-01-31T12:00:00Z", "its TTL of 4h was over")
        assert decode_route(encode_route(route)) == route
        assert decode_tombstone(encode_tombstone(route)) == route
        assert set(encode_tombstone(route)) == {
            "workload", "key", "sandbox", "revision", "onUnavailable", "since", "why",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("change", "path", "why"),
        [
            ({"endpoints": ["127.0.0.1:1"]}, "endpoints", "a route that has ended has none"),
            ({"since": "yesterday"}, "since", "'yesterday' is not a time in UTC, like 2026-01-31T12:00:00Z"),
            ({"since": 7}, "since", "7 is not a time in UTC"),
            ({"why": "two\nlines"}, "why", "is not text of 1 to 200 characters in one line"),
            ({"why": "x" * 201}, "why", "is not text of 1 to 200 characters in one line"),
            ({"why": ["x"]}, "why", "a list is not text"),
        ],
    )
    def test_what_a_person_gets_wrong(self, change: dict[str, Any], path: str, why: str) -> None:
        [(where, message)] = problems_of(self.ENDED | change)
        assert where == path
        assert why in message
        if path != "endpoints":  # they decide nothing, so another program may say what it likes
            assert decode_route(self.ENDED | change, lenient=True) == decode_route(self.ENDED)


KNOWN = {"ports", "asleep", "since", "why"}
"""Fields that a route may have, and MINIMAL has not."""


class TestLenient:
    """From another program, which may be newer than this one."""

    def test_unknown_fields_are_ignored(self) -> None:
        newer = MINIMAL | {"weight": 7, "endpoints2": [], "revision": 3, "": None}
        assert decode_route(newer, lenient=True) == decode_route(MINIMAL | {"revision": 3})

    @pytest.mark.parametrize("state", ["paused", "", "READY", "x" * 1000])
    def test_an_unknown_state_is_pending(self, state: str) -> None:
        """The baseline would be a wrong answer, and 503 at once may be one, too."""
        assert decode_route(MINIMAL | {"state": state}, lenient=True).state is State.PENDING

    def test_an_unknown_policy_is_error(self) -> None:
        assert decode_route(MINIMAL | {"onUnavailable": "mirror"}, lenient=True).on_unavailable is OnUnavailable.ERROR

    @pytest.mark.parametrize(
        "change",
        [{"workload": "x"}, {"key": "a b"}, {"state": 7}, {"onUnavailable": None}, {"endpoints": "a:1"},
         {"endpoints": ["169.254.169.254:80"]}, {"revision": 0}, {"sandbox": "Big"}],
    )  # fmt: skip
    def test_nonsense_stays_nonsense(self, change: dict[str, Any]) -> None:
        with pytest.raises(ContractError):
            decode_route(MINIMAL | change, lenient=True)

    @given(st.dictionaries(st.text(max_size=12).filter(lambda name: name not in KNOWN), JUNK, max_size=5))
    def test_whatever_is_added_changes_nothing(self, more: dict[str, Any]) -> None:
        assert decode_route(more | encode_route(decode_route(MINIMAL)), lenient=True) == decode_route(MINIMAL)


class TestTable:
    def test_reads_in_order(self) -> None:
        table = decode_table({"routes": [MINIMAL, MINIMAL | {"key": "b"}]})
        assert [route.key for route in table] == ["agent-42", "b"]

    def test_may_be_empty(self) -> None:
        assert decode_table({"routes": []}) == []

    @pytest.mark.parametrize(
        ("document", "found"),
        [
            (None, [("", "must be an object with `routes`, not nothing")]),
            ([], [("", "must be an object with `routes`, not a list")]),
            ({}, [("routes", "is required and must be a list")]),
            ({"routes": None}, [("routes", "is required and must be a list")]),
            ({"routes": {}}, [("routes", "is required and must be a list")]),
            ({"route": []}, [("route", "unknown field"), ("routes", "is required and must be a list")]),
        ],
    )
    def test_must_be_an_object_with_a_list(self, document: object, found: list[tuple[str, str]]) -> None:
        assert table_problems_of(document) == found

    def test_all_problems_of_all_routes(self) -> None:
        bad = {
            "routes": [MINIMAL | {"key": "a b"}, MINIMAL, None, MINIMAL, MINIMAL | {"state": "x"}],
            "version": 1,
        }
        assert table_problems_of(bad) == [
            ("routes[0].key", "'a b' is not 1 to 63 characters of A-Za-z0-9._-"),
            ("routes[2]", "must be an object, not nothing"),
            ("routes[3]", "repeats the workload and key of routes[1]"),
            ("routes[4].state", "'x' is none of 'ready', 'pending', 'failed', 'ended'"),
            ("version", "unknown field"),
        ]

    def test_the_same_key_of_two_workloads_is_no_repetition(self) -> None:
        assert len(decode_table({"routes": [MINIMAL, MINIMAL | {"workload": "shop/orders"}]})) == 2

    def test_has_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(routes, "MAX_ROUTES", 2)
        documents = [MINIMAL | {"key": f"k{n}"} for n in range(3)]
        assert len(decode_table({"routes": documents[:2]})) == 2
        assert table_problems_of({"routes": documents}) == [("routes", "has more than 2 entries")]

    def test_piece_by_piece_good_routes_come_before_the_verdict(self) -> None:
        reading = decode_routes([MINIMAL, {}])
        assert next(reading).key == "agent-42"
        with pytest.raises(ContractError, match=r"routes\[1\]\.workload: is required"):
            next(reading)


class TestAsleep:
    def test_a_pending_route_says_so_and_no_other_does(self) -> None:
        asleep = Route("shop/users", "a", (), state=State.PENDING, asleep=True)
        said = encode_route(asleep)
        assert said["asleep"] is True
        assert decode_route(said, lenient=True) == asleep
        assert not decode_route(said | {"state": "ready", "endpoints": ["127.0.0.1:1"]}, lenient=True).asleep
        assert not decode_route(said | {"asleep": "yes"}, lenient=True).asleep
        assert "asleep" not in encode_route(Route("shop/users", "a", (), state=State.PENDING))

    def test_in_a_file_it_means_nothing_since_nobody_could_wake_it(self) -> None:
        said = MINIMAL | {"state": "pending", "endpoints": [], "asleep": True}
        assert problems_of(said) == [("asleep", "unknown field")]


class TestPorts:
    """A shadow that is a copy of a whole pod answers on every port of its baseline."""

    ROUTE = Route("shop/users", "a", (Endpoint("10.0.0.7", 8080),), ports={9090: 9091})

    def test_where_it_leads(self) -> None:
        assert self.ROUTE.led(0) == (Endpoint("10.0.0.7", 8080),)
        assert self.ROUTE.led(9090) == (Endpoint("10.0.0.7", 9091),)
        assert self.ROUTE.led(7000) == (Endpoint("10.0.0.7", 7000),)
        assert Route("shop/users", "a", (Endpoint("10.0.0.7", 8080),)).led(9090) == (Endpoint("10.0.0.7", 8080),)

    def test_there_and_back(self) -> None:
        said = encode_route(self.ROUTE)
        assert said["ports"] == {"9090": 9091}
        assert decode_route(said) == decode_route(said, lenient=True) == self.ROUTE
        assert "ports" not in encode_route(Route("shop/users", "a", (Endpoint("10.0.0.7", 8080),)))
        assert decode_route(MINIMAL | {"ports": {}}).ports == {}

    @pytest.mark.parametrize(
        "ports", [1, [], {"a": 1}, {"0": 1}, {"70000": 1}, {"1": 0}, {"1": "2"}, {"1": True}, dict.fromkeys("x" * 65)]
    )
    def test_what_is_none(self, ports: object) -> None:
        assert [path for path, _ in problems_of(MINIMAL | {"ports": ports})] == ["ports"]

    def test_there_are_not_many(self) -> None:
        many = {str(port): port for port in range(1, 66)}
        assert problems_of(MINIMAL | {"ports": many}) == [("ports", "must be an object of at most 64 ports by port")]

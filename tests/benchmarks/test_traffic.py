"""The requests of the load are real, and no two are alike."""

from __future__ import annotations

import h11
import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.load import wrk
from benchmarks.traffic import FORKED, KEY_PREFIX, UNFORKED, Traffic, lua_expression
from proxy.contract.names import ROUTING_KEY


def fields(data: bytes) -> dict[str, str]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    return {name.decode(): value.decode() for name, value in request.headers}


def test_a_request_has_ten_fields_and_names_its_key_among_other_members() -> None:
    found = fields(Traffic(("agent-007",)).head(1, Traffic(("agent-007",)).template()))
    assert len(found) == 10
    assert found["baggage"] == "tenant=acme,routing-key=agent-007,user.tier=gold;source=gateway"


def test_without_keys_the_baggage_has_no_routing_key() -> None:
    found = fields(Traffic().head(1, Traffic().template()))
    assert len(found) == 10
    assert "routing-key" not in found["baggage"]


def test_trace_span_and_request_id_change_with_every_request_and_every_run() -> None:
    traffic = Traffic()
    first_run, second_run = traffic.template(), traffic.template()
    heads = [fields(traffic.head(number, template)) for template in (first_run, second_run) for number in (1, 2, 3)]
    for name in ("traceparent", "x-request-id"):
        assert len({head[name] for head in heads}) == len(heads)
    version, trace, span, flags = heads[0]["traceparent"].split("-")
    assert [len(part) for part in (version, trace, span, flags)] == [2, 32, 16, 2]
    assert int(trace, 16)
    assert int(span, 16)


def test_keys_come_in_turn() -> None:
    traffic = Traffic(("a", "b"))
    template = traffic.template()
    members = [fields(traffic.head(number, template))["baggage"].split(",")[1] for number in range(4)]
    assert members == ["routing-key=a", "routing-key=b", "routing-key=a", "routing-key=b"]


def test_the_peers_prefix_tells_forked_keys_from_others() -> None:
    assert all(key.startswith(KEY_PREFIX) for key in FORKED)
    assert not any(KEY_PREFIX in key for key in UNFORKED)
    assert all(ROUTING_KEY.fullmatch(key) for key in FORKED + UNFORKED)
    assert len(set(FORKED)) == len(set(UNFORKED)) == 100


def test_an_upload_announces_its_length_and_a_single_use_connection_its_end() -> None:
    traffic = Traffic(path="/upload", body=0, close=True)
    data = traffic.head(0, traffic.template())
    assert data.startswith(b"PUT /upload HTTP/1.1\r\n")
    assert fields(data)["content-length"] == "0"
    assert fields(data)["connection"] == "close"


def test_a_lua_expression_concatenates_text_number_and_key() -> None:
    assert lua_expression('a "@N@"\r\n@KEY@') == '"a \\"" .. n .. "\\"\\r\\n" .. key'


def test_the_script_of_wrk_is_filled_in() -> None:
    text = wrk.script(Traffic(("k1", "k2")), seed="ab" * 12)
    assert 'local keys = { "k1", "k2" }' in text
    assert '"GET / HTTP/1.1\\r\\n' in text
    assert ".. n .." in text
    assert ".. key .." in text
    assert "@" not in text.replace("@N@", "N")


def test_the_result_line_of_wrk_is_found_among_its_other_output() -> None:
    line = (
        'skycap-benchmark {"requests": 10, "microseconds": 2000000, "bytes": 5, "connect": 0, "read": 3, '
        '"write": 0, "status": 1, "timeout": 0}'
    )
    driven = wrk.parse(f"Running 2s test\n  1 threads\n{line}\nmore\n")
    assert driven == wrk.Driven(10, 2.0, {"read": 3, "status": 1})


@pytest.mark.parametrize("output", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"])
def test_output_without_a_result_is_an_error_that_quotes_it(output: str) -> None:
    with pytest.raises(BenchmarkError, match=r"no result: (nothing|unable to connect)"):
        wrk.parse(output)

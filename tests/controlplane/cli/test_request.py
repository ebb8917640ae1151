"""`skycap request`: what is sent, what is shown, how it ends."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from controlplane.asking.answer import BODY_LIMIT
from tests.controlplane.cli.conftest import Origin, Skycap

SERVED = ("skycap-served-by", "shop/frontend;baseline, shop/users;sandbox=agent-42;rev=3")

FINE = {"key": "", "conflict": "", "lost": False, "status": 0, "stub": ""}


def test_the_key_goes_into_the_baggage(skycap: Skycap, origin: Origin) -> None:
    assert skycap("request", "agent-42", f"{origin.url}/a?b=c").code == 0
    [(method, path, headers, body)] = origin.asked
    assert (method, path, body) == ("GET", "/a?b=c", b"")
    assert ("baggage", "routing-key=agent-42") in headers


def test_own_baggage_is_kept_behind_it(skycap: Skycap, origin: Origin) -> None:
    skycap("request", "k", origin.url, "-H", "Baggage: user=ada", "-H", "X-A: 1", "-H", "X-A:2")
    fields = [(name.lower(), value) for name, value in origin.asked[0][2]]
    assert [value for name, value in fields if name == "baggage"] == ["routing-key=k", "user=ada"]
    assert [value for name, value in fields if name == "x-a"] == ["1", "2"]


@pytest.mark.parametrize(
    ("data", "kind"), [('{"a": 1}', "application/json"), ("hello", "application/octet-stream")]
)  # fmt: skip
def test_data_makes_it_a_post(skycap: Skycap, origin: Origin, data: str, kind: str) -> None:
    skycap("request", "k", origin.url, "-d", data)
    method, _, headers, body = origin.asked[0]
    assert (method, body, dict(headers)["content-type"]) == ("POST", data.encode(), kind)


def test_data_from_a_file_and_a_type_of_ones_own(skycap: Skycap, origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"\x00\x01")
    skycap("request", "k", origin.url, "-X", "put", "-d", f"@{tmp_path / 'body'}", "-H", "content-type: a/b")
    method, _, headers, body = origin.asked[0]
    types = [value for name, value in headers if name.lower() == "content-type"]
    assert (method, body, types) == ("PUT", b"\x00\x01", ["a/b"])


def test_the_answer_for_people(skycap: Skycap, origin: Origin) -> None:
    origin.headers = [SERVED]
    ended = skycap("request", "agent-42", origin.url)
    lines = ended.out.splitlines()
    assert lines[0].startswith("HTTP 200 OK  in ")
    assert lines[1:] == [
        "",
        "SERVED BY      COPY",
        "shop/frontend  baseline",
        "shop/users     sandbox agent-42, revision 3",
        "",
        "hello",
    ]
    assert ended.err == ""


def test_the_answer_for_programs(skycap: Skycap, origin: Origin) -> None:
    origin.headers = [SERVED]
    document = json.loads(skycap("request", "agent-42", f"{origin.url}/x", "-o", "json").out)
    assert document.pop("seconds") > 0
    assert [name for name, _ in document.pop("headers")][-2:] == ["skycap-served-by", "Content-Length"]
    assert re.fullmatch(r"[0-9a-f]{32}", document.pop("trace"))
    assert document == {
        "method": "GET",
        "url": f"{origin.url}/x",
        "key": "agent-42",
        "status": 200,
        "reason": "OK",
        "servedBy": [
            {"workload": "shop/frontend", "sandbox": "", "revision": None, "reason": "", "error": "", **FINE},
            {"workload": "shop/users", "sandbox": "agent-42", "revision": 3, "reason": "", "error": "", **FINE},
        ],
        "servedByMore": False,
        "skycapError": "",
        "body": "hello\n",
        "bodyCut": False,
        "calls": [],
    }


def test_it_begins_a_trace_unless_the_sender_has_one(skycap: Skycap, origin: Origin) -> None:
    skycap("request", "k", origin.url)
    skycap("request", "k", origin.url, "-H", "TraceParent: 00-" + "ab" * 16 + "-" + "cd" * 8 + "-01")
    sent = [{name.lower(): value for name, value in asked[2]}["traceparent"] for asked in origin.asked]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", sent[0])
    assert sent[1] == "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


def test_a_refusal_ends_with_1_and_shows_whose_it_is(skycap: Skycap, origin: Origin) -> None:
    served_by = ("skycap-served-by", "shop/users;error=shadow-unreachable")
    origin.status, origin.headers = 503, [("skycap-error", "shadow-unreachable"), served_by]
    ended = skycap("request", "k", origin.url)
    assert ended.code == 1
    assert "HTTP 503 Service Unavailable" in ended.out
    assert "shop/users  nobody (shadow-unreachable)" in ended.out
    assert "answered by the sidecar itself, not by an application: shadow-unreachable" in ended.out


def test_no_sidecar_on_the_way_is_said(skycap: Skycap, origin: Origin) -> None:
    assert "the answer did not come through a sidecar" in skycap("request", "k", origin.url).out


def test_a_malformed_field_is_said_and_not_guessed_at(skycap: Skycap, origin: Origin) -> None:
    origin.headers = [("skycap-served-by", "shop/users;sandbox=a,")]
    ended = skycap("request", "k", origin.url)
    assert "skycap-served-by is malformed: " in ended.out
    assert "shop/users" not in ended.out


def test_escape_sequences_are_shown_not_obeyed(skycap: Skycap, origin: Origin) -> None:
    origin.body = "\x1b[31mred\x9b2J\u202e tab\there\r\n".encode()
    out = skycap("request", "k", origin.url).out
    assert out.endswith("\\x1b[31mred\\x9b2J\\u202e tab\there\n")


@pytest.mark.parametrize(
    ("body", "shown"), [(b"", "(no body)"), (b"\x00\xff", "(2 bytes that are no text)"), (b"\xff", "(1 bytes")]
)  # fmt: skip
def test_bodies_that_cannot_be_shown(skycap: Skycap, origin: Origin, body: bytes, shown: str) -> None:
    origin.body = body
    assert shown in skycap("request", "k", origin.url).out


def test_a_large_body_is_cut(skycap: Skycap, origin: Origin) -> None:
    origin.body = b"x" * (BODY_LIMIT + 1)
    document = json.loads(skycap("request", "k", origin.url, "-o", "json").out)
    assert (len(document["body"]), document["bodyCut"]) == (BODY_LIMIT, True)
    origin.body = b"x" * BODY_LIMIT
    assert not json.loads(skycap("request", "k", origin.url, "-o", "json").out)["bodyCut"]


def test_redirects_are_shown(skycap: Skycap, origin: Origin) -> None:
    origin.status, origin.headers = 302, [("Location", "http://127.0.0.1:1/")]
    ended = skycap("request", "k", origin.url)
    assert (ended.code, "HTTP 302 Found" in ended.out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a b", "http://127.0.0.1/"), "'a b' is not 1 to 63 characters of A-Za-z0-9._-"),
        (("k", "nonsense"), "'nonsense' is not a URL"),
        (("k", "ftp://127.0.0.1/"), "is not a URL"),
        (("k", "http://127.0.0.1/", "-H", "nothing"), "'nothing' is not NAME: VALUE"),
        (("k", "http://127.0.0.1/", "-H", "a: b\nc: d"), "is not NAME: VALUE"),
        (("k", "http://127.0.0.1/", "-H", "a b: c"), "is not NAME: VALUE"),
        (("k", "http://127.0.0.1/", "-d", "@/nowhere"), "/nowhere cannot be read: No such file or directory"),
        (("k", "http://127.0.0.1/", "--timeout", "0"), "0.0 is not in the range"),
        (("k", "http://127.0.0.1/", "-X", "A B"), "'A B' is not a method"),
        (("k",), "Missing argument 'URL'"),
    ],
)
def test_wrong_usage_is_one_line(skycap: Skycap, arguments: tuple[str, ...], said: str) -> None:
    ended = skycap("request", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith("skycap: ")
    assert said in ended.err


def test_nobody_there(skycap: Skycap) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused for as long as it is held
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert skycap("request", "k", url) == (5, "", f"skycap: {url} cannot be reached: Connection refused\n")


def test_no_answer_in_time(skycap: Skycap) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ended = skycap("request", "k", url, "--timeout", "0.2")
        assert ended == (5, "", f"skycap: {url} did not answer within 0.2 s\n")


def test_an_expectation_that_is_met_and_one_that_is_not(skycap: Skycap, origin: Origin) -> None:
    origin.headers = [("skycap-served-by", "shop/users;sandbox=agent-42;rev=3, shop/cart;baseline")]
    assert skycap("request", "agent-42", origin.url, "--expect", "shop/users@3").code == 0
    ended = skycap("request", "agent-42", origin.url, "--expect", "shop/users", "--expect", "shop/cart")
    assert (ended.code, ended.err) == (1, "skycap: shop/cart was served by baseline, not by a shadow\n")
    assert "Invalid value for '--expect'" in skycap("request", "k", origin.url, "--expect", "users").err


def test_a_key_that_nobody_has_is_said_with_those_that_are_near(skycap: Skycap, origin: Origin) -> None:
    origin.headers = [("skycap-served-by", "shop/users;baseline;key=unknown")]
    sandbox = {"metadata": {"name": "agent-42"}, "spec": {"forks": []}}
    origin.body = json.dumps({"items": [sandbox]}).encode()  # it plays the registry too
    ended = skycap("request", "agent-24", origin.url, "--registry", origin.url)
    assert ended.code == 0
    assert ended.err == (
        "skycap: no sandbox has the routing key 'agent-24', so the baseline served (did you mean 'agent-42'?)\n"
    )
    assert "baseline (key unknown)" in ended.out
    alone = skycap("request", "agent-24", origin.url, "--registry", "http://127.0.0.1:1")
    assert alone.err == "skycap: no sandbox has the routing key 'agent-24', so the baseline served\n"


def test_a_key_that_may_be_lost_or_disputed_is_said(skycap: Skycap, origin: Origin) -> None:
    origin.headers = [
        ("skycap-served-by", "shop/users;sandbox=a;rev=1;lost=1, shop/cart;baseline;conflict=b, truncated")
    ]
    lines = skycap("request", "a", origin.url).err.splitlines()
    assert lines[0].startswith("skycap: shop/users made a call that may have lost the key, so the baseline may have")
    assert lines[1:] == [
        "skycap: shop/cart: the request names the key 'b' as well, which lost",
        "skycap: there were more hops than the answer had room for",
    ]
    document = json.loads(skycap("request", "a", origin.url, "-o", "json").out)
    assert (document["servedBy"][0]["lost"], document["servedByMore"]) == (True, True)


def test_a_key_that_cannot_be_read_is_said(skycap: Skycap, origin: Origin) -> None:
    origin.headers = [("skycap-served-by", "shop/users;baseline;key=invalid")]
    assert "cannot be read, so that it counts as none" in skycap("request", "a", origin.url).err

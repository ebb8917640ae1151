"""What a hop is written as, read again by the contract's own reader."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest

from proxy.contract.hops import INBOUND, MAX_BODY_BYTES, Captured, Hop, decode_hop
from proxy.feed.hop_lines import hop_line
from proxy.telemetry.hops import Capture, Told

FIXED = b'"key":"a","workload":"shop/users","side":"inbound","decision":"baseline"'


def told(**fields: Any) -> Told:
    defaults: dict[str, Any] = {
        "fixed": FIXED, "id": b"00000001000000ff", "parent": b"0000000100000001", "began": 1764280000.1234,
        "trace": b"4bf92f", "method": b"GET", "path": b"/users?x=1", "status": 500, "error": "", "seconds": 0.0124,
        "first_byte": 0.01, "request_bytes": 0, "answer_bytes": 0, "further": b"", "capture": None,
    }  # fmt: skip
    return Told(**{**defaults, **fields})


def test_a_hop_without_messages() -> None:
    assert decode_hop(hop_line(told())) == Hop(
        "00000001000000ff", "a", "shop/users", INBOUND, time=1764280000.123, parent="0000000100000001", trace="4bf92f",
        decision="baseline", method="GET", path="/users?x=1", status=500, duration_ms=12.4, first_byte_ms=10.0,
    )  # fmt: skip


@pytest.mark.parametrize("text", [b'/"x"', b"/\\", b"/\xff", "/käse".encode(), b"/\x01", b'", "key": "other'])
def test_what_a_stranger_chose_stays_inside_its_field(text: bytes) -> None:
    hop = decode_hop(hop_line(told(path=text, trace=text, method=text)))
    assert (hop.key, hop.path) == ("a", text.decode("utf-8", "backslashreplace"))
    assert hop.path == hop.trace == hop.method


def test_a_long_path_is_cut() -> None:
    assert len(decode_hop(hop_line(told(path=b"/" * 5000))).path) == 1024


def answer(fields: bytes, body: bytes, size: int | None = None, **more: Any) -> Captured:
    """What is told of an answer with these fields, of whose body `body` was kept."""
    head = b"HTTP/1.1 500 Oops\r\n" + fields + b"\r\n"
    request = b"GET / HTTP/1.1\r\nhost: a\r\nAuthorization: Bearer s3cret\r\nx-mine: 7\r\n\r\n"
    capture = Capture(request, len(request), head + body, len(head))
    capture.no_room = more.pop("no_room", False)
    line = hop_line(told(capture=capture, answer_bytes=len(body) if size is None else size, **more))
    assert b"s3cret" not in line
    hop = decode_hop(line)
    assert hop.request == Captured((("host", "a"), ("authorization", "(redacted)"), ("x-mine", "7")))
    assert hop.response is not None
    return hop.response


JSON = b"content-type: application/json\r\n"


def test_a_text_is_told_as_it_is() -> None:
    found = answer(JSON, '{"error": "käse"}'.encode())
    assert (found.body, found.truncated, found.length) == ('{"error": "käse"}', False, 18)
    assert found.headers == (("content-type", "application/json"),)


def test_the_values_of_secret_fields_are_not_told() -> None:
    found = answer(b"Set-Cookie: id=1\r\nx-api-key: k\r\nx-other: o\r\n", b"")
    assert found.headers == (("set-cookie", "(redacted)"), ("x-api-key", "(redacted)"), ("x-other", "o"))


def test_only_the_beginning_was_kept() -> None:
    found = answer(JSON, '{"error": "kä'.encode()[:-1], size=9000)
    assert (found.body, found.truncated, found.length) == ('{"error": "k', True, 9000)


def test_chunks_are_taken_apart() -> None:
    found = answer(JSON + b"transfer-encoding: chunked\r\n", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (found.body, found.truncated) == ("abcde", False)


def test_chunks_that_are_none_are_no_text() -> None:
    assert answer(b"transfer-encoding: chunked\r\n", b"zz\r\n").omitted == "not text"


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_compressed_text_is_undone(pack: Any, coding: bytes) -> None:
    found = answer(JSON + b"content-encoding: " + coding + b"\r\n", pack(b'{"a": 1}'))
    assert (found.body, found.truncated) == ('{"a": 1}', False)


def test_a_bomb_is_undone_as_far_as_a_body_goes() -> None:
    found = answer(JSON + b"content-encoding: gzip\r\n", gzip.compress(b"a" * 10_000_000))
    assert found.body is not None
    assert (len(found.body), found.truncated) == (MAX_BODY_BYTES, True)


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (b"content-type: image/png\r\n", b"\x89PNG"),
        (b"content-type: text/plain\r\n", b"\xff\xfe\xfd\xfc\xfb"),
        (b"content-encoding: gzip\r\n", b"no gzip"),
        (b"content-encoding: br\r\n", b"text"),
    ],
)
def test_what_is_no_text_is_told_by_its_length(fields: bytes, body: bytes) -> None:
    found = answer(fields, body)
    assert (found.body, found.omitted, found.length) == (None, "not text", len(body))


@pytest.mark.parametrize(
    "media",
    ["", "text/html; charset=utf-8", "application/problem+json", "application/vnd.api+json", "application/xml"],
)
def test_these_are_text(media: str) -> None:
    assert answer(b"content-type: %b\r\n" % media.encode() if media else b"", b"x").body == "x"


def test_why_there_is_no_body_is_said() -> None:
    assert answer(JSON, b"", size=10, no_room=True).omitted == "no room"
    assert answer(JSON, b"", size=10).omitted == "not captured"
    assert answer(JSON, b"").omitted == ""


def test_a_body_of_control_characters_keeps_its_line_whole() -> None:
    body = bytes(range(32)) * 500
    line = hop_line(told(capture=Capture(b"", 0, b"HTTP/1.1 500 x\r\n\r\n" + body, 18), answer_bytes=len(body)))
    assert line.count(b"\n") == 1
    assert json.loads(line)["response"]["body"] == body.decode()

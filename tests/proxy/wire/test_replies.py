"""Our own answers: problem documents (RFC 9457) that nobody can mistake for the application's."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from proxy.errors import BAD_REQUEST, DRAINING, FAILURES, LOOP, SHADOW_UNREACHABLE, Failure
from proxy.wire.fields import Field
from proxy.wire.head import ResponseHead, field_values
from proxy.wire.replies import CONNECTED, REASONS, problem
from tests.proxy.wire.reading import read_response


def reply(
    failure: Failure,
    detail: str = "what is wrong",
    *,
    sandbox: str = "",
    close: bool = False,
    fields: Sequence[Field] = (),
) -> tuple[ResponseHead, bytes]:
    """The head as a client reads it, and the body that its framing gives it."""
    head, body = problem(failure, detail, workload="shop/users", sandbox=sandbox, close=close, fields=fields)
    read = read_response(head + body)
    assert read.data[read.end :] == body
    assert read.body == len(body)
    return read, body


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.code)
def test_every_failure_has_a_readable_answer(failure: Failure) -> None:
    head, body = reply(failure)
    assert head.status == failure.status
    assert head.data.startswith(b"HTTP/1.1 %d %b\r\n" % (failure.status, REASONS[failure.status]))
    assert field_values(head, b"content-type") == [b"application/problem+json"]
    assert field_values(head, b"skycap-error") == [failure.code.encode()]
    assert head.keep_alive
    document = json.loads(body)
    expected = {
        "type": f"urn:skycap:error:{failure.code}",
        "title": failure.title,
        "status": failure.status,
        "detail": "what is wrong",
        "code": failure.code,
        "workload": "shop/users",
    }
    if failure.hint:
        expected["hint"] = failure.hint
    assert document == expected
    assert body.endswith(b"}\n"), "a line of its own on a terminal"


def test_the_sandbox_is_named_when_it_was_one() -> None:
    assert json.loads(reply(SHADOW_UNREACHABLE, sandbox="agent-42")[1])["sandbox"] == "agent-42"


def test_close_is_announced_rfc_9112_9_6() -> None:
    head, _ = reply(DRAINING, close=True)
    assert not head.keep_alive
    assert field_values(head, b"connection") == [b"close"]
    assert field_values(reply(DRAINING)[0], b"connection") == []


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.code)
def test_503_says_when_to_come_back_rfc_9110_10_2_3(failure: Failure) -> None:
    assert field_values(reply(failure)[0], b"retry-after") == ([b"1"] if failure.status == 503 else [])


def test_further_fields() -> None:
    head, _ = reply(LOOP, fields=[(b"skycap-served-by", b"shop/users;error=loop"), (b"x", b"y")], close=True)
    assert field_values(head, b"skycap-served-by") == [b"shop/users;error=loop"]
    assert field_values(head, b"x") == [b"y"]
    assert not head.keep_alive


@pytest.mark.parametrize("detail", ['"quotes" and \\', "é\u2028\U0001f4a9", "\r\n\r\nHTTP/1.1 200 OK", "\x00\x1b[2J"])
def test_a_detail_stays_inside_the_document(detail: str) -> None:
    _, body = reply(BAD_REQUEST, detail)
    assert json.loads(body)["detail"] == detail
    assert body.isascii()
    assert body.count(b"\n") == 1
    assert b"\r" not in body


def test_connected_has_no_framing_fields_rfc_9110_9_3_6() -> None:
    assert CONNECTED == b"HTTP/1.1 200 OK\r\n\r\n"
    assert field_values(read_response(CONNECTED), b"content-length") == []

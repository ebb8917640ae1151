"""gRPC as its users know it, with the real client and server of grpcio."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.http2.conftest import KEY, Place

pytestmark = pytest.mark.timeout(180)
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
KEYED = (("baggage", f"routing-key={KEY}"),)
SECONDS = 30


@pytest.fixture
def shop(place: Place) -> Place:
    for port, name in ((place.app, "base"), (place.shadow, "shadow")):
        place.serve(sys.executable, "-m", "tests.http2.shop", str(port), name, port=port)
    place.guard()
    return place


@pytest.fixture
def channel(shop: Place) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{shop.port}", options=UNLIMITED) as channel:
        yield channel


def failure(call: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def test_unary_calls(channel: Any) -> None:
    unary = channel.unary_unary("/shop.Users/Unary")
    answer, call = unary.with_call(b"a", timeout=SECONDS)
    assert answer == b"base:a"
    assert dict(call.initial_metadata()) == {"x-initial": "1"}
    assert dict(call.trailing_metadata()) == {"x-trailing": "2"}
    answer, call = unary.with_call(b"b", timeout=SECONDS, metadata=KEYED)
    assert answer == b"shadow:b"
    told = dict(call.initial_metadata())
    assert told["skycap-served-by"] == f"shop/users;sandbox={KEY};rev=1"
    assert dict(call.trailing_metadata()) == {"x-trailing": "2"}
    seen = json.loads(unary(b"metadata", timeout=SECONDS, metadata=(*KEYED, ("x-own", "1"))))
    assert seen["baggage"] == f"routing-key={KEY}"
    assert seen["x-own"] == "1"
    assert seen["traceparent"][3:35] == seen["b3"][:32]


def test_each_stream_of_a_channel_goes_by_its_own_key(channel: Any) -> None:
    unary = channel.unary_unary("/shop.Users/Unary")
    calls = [unary.future(b"%d" % n, timeout=SECONDS, metadata=KEYED if n % 2 else ()) for n in range(500)]
    assert [call.result() for call in calls] == [b"%b:%d" % (b"shadow" if n % 2 else b"base", n) for n in range(500)]


def test_streaming(channel: Any) -> None:
    download = channel.unary_stream("/shop.Users/Download")
    upload = channel.stream_unary("/shop.Users/Upload")
    echo = channel.stream_stream("/shop.Users/Echo")
    for metadata in ((), KEYED):
        assert list(download(b"2000", timeout=SECONDS, metadata=metadata)) == [b"%d" % n for n in range(2000)]
        assert upload(iter([b"x" * 1000] * 1000), timeout=SECONDS, metadata=metadata) == b"1000000"
        messages = [b"%d" % n * 50 for n in range(500)]
        assert list(echo(iter(messages), timeout=SECONDS, metadata=metadata)) == messages


def test_messages_go_back_and_forth_on_an_open_stream(channel: Any) -> None:
    def asked() -> Iterator[bytes]:
        for number in range(5):
            yield b"%d" % number
            while len(heard) <= number:
                time.sleep(0.001)

    heard: list[bytes] = []
    for message in channel.stream_stream("/shop.Users/Echo")(asked(), timeout=SECONDS):
        heard += [message]
    assert heard == [b"%d" % number for number in range(5)]


def test_large_messages(channel: Any) -> None:
    message = b"m" * (24 << 20)
    answer = channel.unary_unary("/shop.Users/Unary")(message, timeout=SECONDS)
    assert answer == b"base:" + message


def test_compression_passes_untouched(channel: Any) -> None:
    unary = channel.unary_unary("/shop.Users/Unary")
    assert unary(b"z" * 10_000, timeout=SECONDS, compression=grpc.Compression.Gzip) == b"base:" + b"z" * 10_000


def test_an_applications_own_error(channel: Any, shop: Place) -> None:
    error = failure(lambda: channel.unary_unary("/shop.Users/Unary")(b"fail", timeout=SECONDS, metadata=KEYED))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such user: \u00e4")
    assert dict(error.initial_metadata())["skycap-served-by"].startswith("shop/users;sandbox")
    assert shop.figure("skycap_grpc_calls_total", 'direction="inbound",status="5"') == 1


def test_a_method_that_nobody_has(channel: Any) -> None:
    error = failure(lambda: channel.unary_unary("/shop.Users/None")(b"", timeout=SECONDS, metadata=KEYED))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    told = dict((*error.initial_metadata(), *error.trailing_metadata()))
    assert told["skycap-served-by"].startswith("shop/users;sandbox"), "also where the trailers are all there is"


def test_an_error_of_our_own(channel: Any) -> None:
    gone = (("baggage", "routing-key=gone"),)
    error = failure(lambda: channel.unary_unary("/shop.Users/Unary")(b"", timeout=SECONDS, metadata=gone))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "sandbox gone's shadow of shop/users does not accept connections" in error.details()
    assert dict(error.trailing_metadata())["skycap-error"] == "shadow-unreachable"


def test_a_deadline_runs_out_at_the_caller(channel: Any) -> None:
    error = failure(lambda: channel.unary_unary("/shop.Users/Unary")(b"wait", timeout=0.3, metadata=KEYED))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_call_that_is_cancelled_ends_at_the_server(channel: Any, shop: Place) -> None:
    unary = channel.unary_unary("/shop.Users/Unary")
    calls = [unary.future(b"wait") for _ in range(16)]  # all threads that the server has
    time.sleep(0.05)
    for call in calls:
        call.cancel()
    assert unary(b"after", timeout=SECONDS) == b"base:after", "the server has its threads back"


def test_a_thousand_streams_at_once(channel: Any) -> None:
    echo = channel.stream_stream("/shop.Users/Echo")
    download = channel.unary_stream("/shop.Users/Download")
    calls = [download(b"20", timeout=2 * SECONDS, metadata=KEYED if n % 3 else ()) for n in range(1000)]
    assert all(list(call) == [b"%d" % n for n in range(20)] for call in calls)
    assert list(echo(iter([b"a"]), timeout=SECONDS)) == [b"a"]

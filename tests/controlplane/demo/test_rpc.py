"""The shop's gRPC, met by the client and the server of grpcio."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
import requests

from controlplane.demo.shop import rpc
from tests.acceptance.running import free_port
from tests.controlplane.demo.conftest import running

SECONDS = 20.0
B3 = {"b3": "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1"}


@contextmanager
def server(behaviour: Any) -> Iterator[str]:
    """The URL of a server of grpcio, all of whose methods behave so."""

    class Handler(grpc.GenericRpcHandler):
        def service(self, call: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(behaviour)

    served = grpc.server(futures.ThreadPoolExecutor(2))
    served.add_generic_rpc_handlers((Handler(),))
    port = served.add_insecure_port("127.0.0.1:0")
    served.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        served.stop(None).wait()


@pytest.fixture(scope="module")
def rates() -> Iterator[str]:
    """HOST:PORT of the service."""
    with running({"rates": ("rates.py", {})}, {"rates": free_port()}) as addresses:
        yield addresses["rates"].removeprefix("http://")


def test_a_client_of_grpc_is_answered_and_told_what_there_is_not(rates: str) -> None:
    channel: Any
    with grpc.insecure_channel(rates) as channel:
        answers = [channel.unary_unary("/shop.Rates/List").future(b"{}", timeout=SECONDS) for _ in range(20)]
        assert {json.loads(answer.result())["CHF"] for answer in answers} == {"0.94"}
        for method, message, code, details in (
            ("Nothing", b"{}", grpc.StatusCode.UNIMPLEMENTED, "there is no shop.Rates/Nothing here"),
            ("List", b"{", grpc.StatusCode.UNKNOWN, "the message is not JSON"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(f"/shop.Rates/{method}")(message, timeout=SECONDS)
            refused: Any = caught.value
            assert refused.code() is code
            assert details in refused.details()


def test_both_protocols_are_served_on_one_port(rates: str) -> None:
    assert requests.get(f"http://{rates}/health", timeout=SECONDS).json() == {"service": "rates", "status": "ok"}
    assert requests.get(f"http://{rates}/nothing", timeout=SECONDS).status_code == 404


async def test_a_server_of_grpc_is_asked_as_its_own_clients_ask() -> None:
    seen: dict[str, str] = {}

    def answer(request: bytes, context: Any) -> bytes:
        seen.update({name: value for name, value in context.invocation_metadata() if isinstance(value, str)})
        assert context.time_remaining() < SECONDS
        return b'{"said": %b}' % request

    with server(answer) as url:
        assert await rpc.call(url, "shop.Some/Thing", ["\u00e4"], {"x-own": "1"}, SECONDS) == {"said": ["\u00e4"]}
    assert seen["x-own"] == "1"


async def test_what_a_server_refuses_with_comes_back() -> None:
    def refuse(_: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, "no \u00e4 here")
        return b""

    with server(refuse) as url, pytest.raises(rpc.RpcError) as caught:
        await rpc.call(url, "shop.Some/Thing", {}, {}, SECONDS)
    assert (caught.value.status, caught.value.message) == (5, "no \u00e4 here")


async def test_a_server_that_keeps_silent_is_not_waited_for() -> None:
    cancelled = threading.Event()

    def wait(_: bytes, context: Any) -> bytes:
        context.add_callback(cancelled.set)
        cancelled.wait(SECONDS)
        return b"{}"

    with server(wait) as url:
        with pytest.raises(TimeoutError):
            await rpc.call(url, "shop.Some/Thing", {}, {}, 0.2)
        assert await asyncio.to_thread(cancelled.wait, SECONDS)


def test_payments_hands_its_part_of_the_trace_on_as_metadata(shop: dict[str, str]) -> None:
    seen: list[dict[str, Any]] = []

    def answer(_: bytes, context: Any) -> bytes:
        seen.append(dict(context.invocation_metadata()))
        return b'{"EUR": "2"}'

    with server(answer) as url:
        urls = {"USERS_URL": shop["users"], "RATES_URL": url}
        with running({"payments": ("payments.py", urls)}, {"payments": free_port()}) as addresses:
            body = {"user": "ada", "amount": "1.00"}
            headers = {**B3, "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
            charged = requests.post(f"{addresses['payments']}/charges", json=body, headers=headers, timeout=SECONDS)
    assert charged.json() == {"charged": "2.00 EUR"}
    assert B3.items() <= seen[0].items()
    assert "traceparent" not in seen[0]


def test_rates_that_are_not_there_are_named(shop: dict[str, str]) -> None:
    urls = {"USERS_URL": shop["users"], "RATES_URL": f"http://127.0.0.1:{free_port()}"}
    with running({"payments": ("payments.py", urls)}, {"payments": free_port()}) as addresses:
        body = {"user": "ada", "amount": "1.00"}
        refused = requests.post(f"{addresses['payments']}/charges", json=body, timeout=SECONDS)
    assert (refused.status_code, refused.json()["service"]) == (502, "payments")
    assert refused.json()["error"].startswith("rates cannot be reached: ")

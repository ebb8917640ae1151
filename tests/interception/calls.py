"""gRPC for tests of interception: `python -m tests.interception.calls serve ADDRESS NAME [NEXT]`, `... call ADDRESS`.

The server answers with its name and the key that it was told, and with what NEXT says, which it tells the trace and
nothing else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc

METHOD = "/shop.Users/Get"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECONDS = 20


def told(metadata: Any, name: str) -> str:
    return next((str(value) for key, value in metadata if key == name), "")


class Handler(grpc.GenericRpcHandler):
    """One method, whose messages are bytes."""

    def __init__(self, name: str, following: str) -> None:
        self._name = name
        self._channel = grpc.insecure_channel(following) if following else None

    def service(self, call: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._get)

    def _get(self, request: bytes, context: Any) -> bytes:
        metadata = context.invocation_metadata()
        key = re.search("routing-key=([^,;]*)", told(metadata, "baggage"))
        said = f"{self._name}({key[1] if key else ''})"
        if self._channel is not None:
            trace = (("traceparent", told(metadata, "traceparent")),)
            following: Any = self._channel.unary_unary(METHOD)
            said += " " + following(b"", timeout=SECONDS, metadata=trace).decode()
        return said.encode()


def serve(address: str, name: str, following: str = "") -> None:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Handler(name, following),))
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


def call(address: str, key: str = "") -> None:
    metadata = [("traceparent", PARENT), *([("baggage", f"routing-key={key}")] if key else [])]
    with grpc.insecure_channel(address) as channel:
        asked: Any = channel.unary_unary(METHOD)
        answer, made = asked.with_call(b"", timeout=SECONDS, metadata=metadata, wait_for_ready=True)
        print(answer.decode(), told(made.initial_metadata(), "skycap-served-by"), sep="|")


if __name__ == "__main__":
    programs: dict[str, Callable[..., None]] = {"serve": serve, "call": call}
    programs[sys.argv[1]](*sys.argv[2:])

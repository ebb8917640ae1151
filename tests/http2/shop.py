"""A gRPC application for tests: `python -m tests.http2.shop PORT NAME`. It says who answered, and what it was told."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc


def unary(request: bytes, context: Any) -> bytes:
    metadata = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
    context.send_initial_metadata((("x-initial", "1"),))
    context.set_trailing_metadata((("x-trailing", "2"),))
    if request == b"fail":
        context.abort(grpc.StatusCode.NOT_FOUND, "no such user: \u00e4")
    if request == b"wait":
        ended = []
        context.add_callback(lambda: ended.append(1))
        while not ended:
            time.sleep(0.005)
        print("cancelled", flush=True)
    if request == b"metadata":
        return json.dumps(metadata).encode()
    return sys.argv[2].encode() + b":" + request


def download(request: bytes, context: Any) -> Iterator[bytes]:
    for number in range(int(request)):
        yield b"%d" % number


def upload(requests: Iterator[bytes], context: Any) -> bytes:
    return b"%d" % sum(map(len, requests))


def echo(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    yield from requests


class Handler(grpc.GenericRpcHandler):
    """Methods without generated code: messages are bytes."""

    def service(self, call: Any) -> Any:
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "Download": grpc.unary_stream_rpc_method_handler(download),
            "Upload": grpc.stream_unary_rpc_method_handler(upload),
            "Echo": grpc.stream_stream_rpc_method_handler(echo),
        }.get(call.method.rpartition("/")[2])


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Handler(),))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()

"""What the services of this environment have in common. Each forwards `traceparent` and nothing else.

A service that fails answers 500 without a word and prints its traceback, as most do; what a called service answered
with 400 and above is handed on as it came.
"""

from __future__ import annotations

import json
import os
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import local
from typing import Any

_request = local()


class Refused(Exception):  # noqa: N818 (it is no error of this service)
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.body = json.dumps({"detail": detail}).encode()


def ask(name: str, path: str) -> Any:
    """The JSON that another service answers."""
    carried = {"traceparent": _request.traceparent} if _request.traceparent else {}
    call = urllib.request.Request(f"{os.environ[name.upper() + '_URL']}{path}", headers=carried)
    try:
        with urllib.request.urlopen(call, timeout=10) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        refused = Refused(error.code, "")
        refused.body = error.read()
        raise refused from None


def serve(routes: dict[str, Callable[..., dict]]) -> None:
    """Answer GET /NAME/ARGUMENT/... with what the function of that name returns, at PORT."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name, *arguments = self.path.strip("/").split("/")
            _request.traceparent = self.headers.get("traceparent")
            try:
                found = {"up": True} if name == "health" else routes[name](*arguments)
                self.reply(200, json.dumps(found).encode())
            except Refused as refused:
                self.reply(refused.status, refused.body)
            except Exception:  # noqa: BLE001 (the last line before a connection without an answer)
                traceback.print_exc()
                self.reply(500, b"")

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()

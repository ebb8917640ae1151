"""A small real service for tests, standard library only. What it does is decided by the path.

GET /health          200
GET /who             its pid, port, MARK and arguments
GET /call/NAME/PATH  asks its upstream NAME for /PATH, handing on `traceparent` and `baggage`
GET /slow/SECONDS    answers late
GET /exit/CODE       ends at once
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        what, *rest = self.path.strip("/").split("/")
        if what == "exit":
            print(f"leaving with {rest[0]}")
            os._exit(int(rest[0]))
        if what == "slow":
            time.sleep(float(rest[0]))
        if what == "call":
            self._call(rest[0], "/".join(rest[1:]))
        else:
            document = {
                "pid": os.getpid(),
                "port": int(os.environ["PORT"]),
                "mark": os.environ.get("MARK", ""),
                "sandbox": os.environ.get("SKYCAP_SANDBOX", ""),
                "key": os.environ.get("SKYCAP_ROUTING_KEY", ""),
                "arguments": sys.argv[1:],
                "cwd": str(Path.cwd()),
            }
            self._answer(200, json.dumps(document).encode())

    def _call(self, name: str, path: str) -> None:
        carried = {key: self.headers[key] for key in ("traceparent", "baggage") if key in self.headers}
        call = urllib.request.Request(f"{os.environ[name.upper() + '_URL']}/{path}", headers=carried)
        try:
            with urllib.request.urlopen(call, timeout=10) as answer:
                self._answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, error.read())
        except OSError as error:
            self._answer(599, str(error).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        print(self.requestline)


class Server(ThreadingHTTPServer):
    """On 127.0.0.1, or where LISTEN says."""

    host = os.environ.get("LISTEN", "127.0.0.1")
    address_family = socket.AF_INET6 if ":" in host else socket.AF_INET


if __name__ == "__main__":
    Server((Server.host, int(os.environ["PORT"])), Handler).serve_forever()

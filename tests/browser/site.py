"""A service with a page, as an application has one that knows nothing of previews: absolute links, cookies, events."""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

KEPT = ("baggage", "traceparent", "x-request-id")


class Site(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        host = self.headers["host"]
        if self.path == "/moved":
            self.answer(302, b"", ("location", f"http://{host}/?moved"))
        elif self.path == "/events":
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(b"data: hello\n\n")
            self.close_connection = True
        elif self.path.startswith("/?") or self.path == "/":
            fields = {name: self.headers[name] for name in KEPT if name in self.headers}
            with urlopen(Request(f"{os.environ['USERS_URL']}/users/ada", headers=fields), timeout=20) as answer:
                name = answer.read().decode()
            page = f"""<!doctype html><html lang="en"><head><title>Shop</title><link rel="icon" href="data:,"></head>
                <body><main><h1>Shop</h1><p id="user">{name}</p><p id="cookie">{self.headers["cookie"] or ""}</p>
                <a id="absolute" href="http://{host}/?absolute">again</a></main></body></html>"""
            self.answer(
                200, page.encode(), ("content-type", "text/html; charset=utf-8"),
                ("set-cookie", f"seen=1; Path=/; Domain={host.partition(':')[0]}"),
            )  # fmt: skip
        else:
            self.answer(200 if self.path == "/health" else 404, b"ok", ("content-type", "text/plain"))

    def answer(self, status: int, body: bytes, *fields: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*fields, ("content-length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Site).serve_forever()

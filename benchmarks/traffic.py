"""The requests that the load sends: ten headers as a service behind a gateway sees them, 608 bytes.

No two requests of a run are the same: trace id, span id and request id change with every one, as they do in life,
so that nobody's cache is flattered. Routing keys come in turn from a set, other members stand around them.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass

KEY_PREFIX = "agent-"
"""Of every key that has a fork. Peers look for it; Skycap has one route for each key."""

FORKED = tuple(f"{KEY_PREFIX}{number:03}" for number in range(100))
"""A hundred sandboxes that fork the service."""

UNFORKED = tuple(f"person-{number:03}" for number in range(100))
"""A hundred keys of sandboxes that fork something else: the baseline serves them."""

_TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + "c3ViOjEyMzQ1Njc4OTA" * 5
_PLACE = re.compile(r"@(N|KEY)@")


@dataclass(frozen=True, slots=True)
class Traffic:
    """One kind of request.

    keys:  routing keys in turn; none: `baggage` carries other members only.
    path:  what is asked for.
    close: a new connection for every request.
    body:  length of an upload in bytes; -1: a GET without one.
    """

    keys: tuple[str, ...] = ()
    path: str = "/"
    close: bool = False
    body: int = -1

    def template(self, seed: str = "") -> str:
        """The head with `@N@` for eight hexadecimal digits that differ in every request, and `@KEY@`.

        seed: 24 hexadecimal digits that differ in every run, so that trace ids never repeat; random by default.
        """
        seed = seed or secrets.token_hex(12)
        member = "routing-key=@KEY@," if self.keys else ""
        lines = [
            f"{'GET' if self.body < 0 else 'PUT'} {self.path} HTTP/1.1",
            "host: users.shop.svc.cluster.local:8080",
            "user-agent: python-requests/2.32.3",
            "accept: application/json, text/plain;q=0.9, */*;q=0.8",
            "accept-encoding: gzip, deflate, br",
            f"authorization: Bearer {_TOKEN}",
            "x-forwarded-for: 203.0.113.7, 10.42.0.17",
            "x-tenant-id: acme-europe-1",
            f"x-request-id: @N@-{seed[0:4]}-4{seed[4:7]}-8{seed[7:10]}-{seed[10:22]}",
            f"traceparent: 00-{seed}@N@-{seed[:8]}@N@-01",
            f"baggage: tenant=acme,{member}user.tier=gold;source=gateway",
        ]
        if self.body >= 0:
            lines.append(f"content-length: {self.body}")
        if self.close:
            lines.append("connection: close")
        return "\r\n".join(lines) + "\r\n\r\n"

    def head(self, number: int, template: str) -> bytes:
        """The bytes of the `number`th request of a run."""
        filled = template.replace("@N@", f"{number & 0xFFFFFFFF:08x}")
        if self.keys:
            filled = filled.replace("@KEY@", self.keys[number % len(self.keys)])
        return filled.encode()


def lua_expression(template: str) -> str:
    """A Lua expression that concatenates the head from `n` and `key`. The template must be ASCII."""
    parts = _PLACE.split(template)
    names = {"N": "n", "KEY": "key"}
    # JSON's escapes for printable ASCII, CR and LF are Lua's too.
    return " .. ".join(names[part] if index % 2 else json.dumps(part) for index, part in enumerate(parts) if part)

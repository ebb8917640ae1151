"""No cache keeps an answer to a request with a key, or it hands a shadow's page to everybody (RFC 9111).

A cache between the client and a sidecar, or the client's own, knows the URL and not the key. So an answer to a request
with a key says that it varies with `baggage`, beside what the application says it varies with, and that it is not to
be stored; the fields that could say otherwise go. Answers to requests without a key stay as they are: a page of the
baseline that is in such a cache already is handed to requests with a key as well (README, "Limits").
"""

from __future__ import annotations

from typing import Final

from proxy.wire.fields import Addition, field_lines

UNCACHED: Final = Addition(((b"vary", b"baggage"), (b"cache-control", b"no-store")))

UNCACHED_LINES: Final = b"\r\n" + field_lines(UNCACHED)
"""As they stand in a head: a sidecar on the way from here has said it all."""

CACHING: Final = frozenset(
    {b"cache-control", b"cdn-cache-control", b"surrogate-control", b"expires", b"x-accel-expires"}
)
"""RFC 9111 section 5, RFC 9213, and what nginx and others heed before those."""

"""Two connections joined: bytes both ways, no messages (RFC 9110 sections 7.8 and 9.3.6).

Each direction ends by itself: an end of one side's bytes is passed on as an end, and only when both have ended is
the tunnel over. Flow control stays with the exchange, whose streams these are.
"""

from __future__ import annotations

from proxy.exchange.ports import Stream


class Tunnel:
    """What an exchange becomes after 101 or CONNECT."""

    __slots__ = ("_client", "_ends", "_upstream")

    def __init__(self, client: Stream, upstream: Stream) -> None:
        self._client = client
        self._upstream = upstream
        self._ends = 0

    def client_received(self, data: bytes) -> None:
        self._upstream.write(data)

    def upstream_received(self, data: bytes) -> None:
        self._client.write(data)

    def client_eof(self) -> bool:
        """True: the client's connection stays open for the other direction."""
        return self._end(self._upstream)

    def upstream_eof(self) -> bool:
        """True: the upstream's connection stays open for the other direction."""
        return self._end(self._client)

    def _end(self, other: Stream) -> bool:
        self._ends += 1
        if not other.is_closing():
            other.write_eof()
        return self._ends < 2

"""Two connections joined: bytes both ways, no messages (RFC 9110 sections 7.8 and 9.3.6).

Each direction ends by itself: an end of one side's bytes is passed on as an end, and only when both have ended is
the tunnel over. Flow control stays with the exchange, whose streams these are.
"""

from __future__ import annotations

from proxy.exchange.ports import Stream


class Tunnel:
    """What an exchange becomes after 101 or CONNECT."""

    __slots__ = ("_client", "_client_ended", "_upstream", "_upstream_ended")

    def __init__(self, client: Stream, upstream: Stream) -> None:
        self._client = client
        self._upstream = upstream
        self._client_ended = False
        self._upstream_ended = False

    def client_received(self, data: bytes) -> None:
        self._upstream.write(data)

    def upstream_received(self, data: bytes) -> None:
        self._client.write(data)

    def client_eof(self) -> bool:
        """True: the client's connection stays open for the other direction. An end may be told again: uvloop does
        so when reading was paused and goes on."""
        if not self._client_ended:
            self._client_ended = True
            _pass_end_on(self._upstream)
        return not self._upstream_ended

    def upstream_eof(self) -> bool:
        """True: the upstream's connection stays open for the other direction."""
        if not self._upstream_ended:
            self._upstream_ended = True
            _pass_end_on(self._client)
        return not self._client_ended


def _pass_end_on(stream: Stream) -> None:
    if not stream.is_closing():
        stream.write_eof()

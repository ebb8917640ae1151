"""Two connections joined: bytes both ways, no messages (RFC 9110 sections 7.8 and 9.3.6).

Each direction ends by itself: an end of one side's bytes is passed on as an end, and only when both have ended is
the tunnel over. Flow control stays with the relay, whose streams these are.

A direction that brings much at a time, several times in a row, is bulk: it is worth moving it otherwise (port
`Splicer`), which messages of a few bytes are not.
"""

from __future__ import annotations

from typing import Final

from proxy.exchange.ports import Stream

BULK_BYTES: Final = 64 * 1024
BULK_READS: Final = 4


class Tunnel:
    """What an exchange becomes after 101 or CONNECT."""

    __slots__ = ("_client", "_client_ended", "_from_client", "_from_upstream", "_upstream", "_upstream_ended")

    def __init__(self, client: Stream, upstream: Stream) -> None:
        self._client = client
        self._upstream = upstream
        self._client_ended = False
        self._upstream_ended = False
        self._from_client = 0
        self._from_upstream = 0

    def client_received(self, data: bytes) -> bool:
        """Pass bytes on. True: this direction is bulk."""
        self._upstream.write(data)
        self._from_client = self._from_client % BULK_READS + 1 if len(data) >= BULK_BYTES else 0
        return self._from_client == BULK_READS

    def upstream_received(self, data: bytes) -> bool:
        """Pass bytes on. True: this direction is bulk."""
        self._client.write(data)
        self._from_upstream = self._from_upstream % BULK_READS + 1 if len(data) >= BULK_BYTES else 0
        return self._from_upstream == BULK_READS

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

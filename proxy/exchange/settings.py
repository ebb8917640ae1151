"""The numbers that bound an exchange. One wheel tick is TICK_SECONDS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TICK_SECONDS: Final = 0.1

NO_LIMIT: Final = 1 << 40
"""Ticks that never pass: 3,000 years."""


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """Times in ticks (NO_LIMIT for none), sizes in bytes.

    header_ticks:   from the first byte of a request head to its last (30 s): what a slow-loris gets. The same for a
                    line between chunks, and for the trailers.
    idle_ticks:     between two requests of a client (10 min), longer than common load balancers, so that they close
                    first and no request crosses our close.
    connect_ticks:  for one dial (5 s).
    response_ticks: from the request's last byte to the answer's head (5 min); an application with slower answers
                    than that is known to its team.
    stream_ticks:   without any byte in a body or a tunnel (1 h): event streams may be silent for long, and a dead
                    peer is found by TCP keep-alive.
    linger_ticks:   for the rest of an upload whose answer is already complete (5 s, as nginx's lingering_timeout).
    hold_ticks:     for a pending shadow (10 s).
    sync_ticks:     for a first table (2 s).
    upload_rate:    bytes of content per second, at least, averaged over the request, after response_ticks (1): what
                    holds a connection of the client and one of the application has to send. 0 for none.
    held_bytes:     of requests that came ahead of their turn (pipelining) or before their upstream was connected;
                    beyond it, reading pauses.
    replay_bytes:   of a request kept until its answer begins, so that it can be sent again.
    splice_bytes:   of a body still to come, from which on the kernel moves them (256 KiB: below, what it saves is less
                    than what it costs to begin); NO_LIMIT for never.
    uncached:       answers to requests with a key say that no cache may keep them.
    """

    header_ticks: int = 300
    idle_ticks: int = 6000
    connect_ticks: int = 50
    response_ticks: int = 3000
    stream_ticks: int = 36000
    linger_ticks: int = 50
    hold_ticks: int = 100
    sync_ticks: int = 20
    upload_rate: int = 1
    held_bytes: int = 64 * 1024
    replay_bytes: int = 64 * 1024
    splice_bytes: int = 256 * 1024
    uncached: bool = True

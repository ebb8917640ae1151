"""The life of an exchange: its phases and what leads from one to the next.

    IDLE ──head──▶ ROUTING ──connected──▶ WAITING ──final head──▶ ANSWERING ──body done──▶ IDLE | LINGER | CLOSED
      ▲               │  held up, dialling    │  1xx, retry             │
      └───────────────┴──── our own answer ───┘                         └─ 101, CONNECT ─▶ TUNNEL ─▶ CLOSED

IDLE       no request is in hand; `held` may have the beginning of one
ROUTING    a head was read; the request waits for a route or for a connection
WAITING    it is on its way; its answer has not begun. Until it does, what was sent is kept for one retry
ANSWERING  the answer's head has been forwarded; from here on a failure can only cut the connection
TUNNEL     bytes both ways, no messages any more
LINGER     the answer is complete but the request is not: discard its rest, so that the client can read the answer
CLOSED     the connection has ended or is about to
"""

from __future__ import annotations

from typing import Final

IDLE: Final = 0
ROUTING: Final = 1
WAITING: Final = 2
ANSWERING: Final = 3
TUNNEL: Final = 4
LINGER: Final = 5
CLOSED: Final = 6
PHASES: Final = ("idle", "routing", "waiting", "answering", "tunnel", "linger", "closed")

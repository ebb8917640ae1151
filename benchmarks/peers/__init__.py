"""The proxies that are measured, each configured to do the same with as little work as it can.

A peer is described by a `Peer`: which program, which configuration, how to start it. `PEERS` is the order in which
they take turns and stand in the tables.
"""

from benchmarks.peers.known import ALL_PEERS
from benchmarks.peers.peer import Hop, Peer, Site

__all__ = ["ALL_PEERS", "Hop", "Peer", "Site"]

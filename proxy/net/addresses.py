"""What is our own: a sidecar that dials itself would call itself for ever."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from collections.abc import Iterable

from proxy.contract.addresses import Address, forms

_log = logging.getLogger("skycap.connections")


class ForbiddenError(OSError):
    """An address must not be dialled. `str()` is a phrase."""


class OwnAddresses:
    """The sockets that this sidecar listens on. `add` after binding, when the port is known.

    connections: of a sidecar that connections are redirected to, else None.
    """

    def __init__(self) -> None:
        self.connections: OwnConnections | None = None
        self._exact: set[tuple[str, int]] = set()
        self._wildcard_ports: set[int] = set()

    def add(self, sockets: Iterable[socket.socket]) -> None:
        for listening in sockets:
            if listening.family in (socket.AF_INET, socket.AF_INET6):
                host, port = listening.getsockname()[:2]
                if ipaddress.ip_address(host).is_unspecified:
                    self._wildcard_ports.add(port)
                else:
                    self._exact.add((str(ipaddress.ip_address(host)), port))

    def __contains__(self, address: object) -> bool:
        """`address`: (numeric host, port)."""
        if not isinstance(address, tuple):
            return False
        host, port = address[:2]
        try:
            numeric = ipaddress.ip_address(str(host).partition("%")[0])
        except ValueError:
            return False
        return any(self._has(form, port) for form in forms(numeric))

    def _has(self, address: Address, port: int) -> bool:
        if address.is_unspecified:  # as a destination, 0.0.0.0 and :: mean this machine
            return port in self._wildcard_ports or any(own == port for _, own in self._exact)
        text = str(address)
        return (text, port) in self._exact or (port in self._wildcard_ports and is_local(text))


Ends = tuple[str, int, str, int]
"""Source and destination of a connection, as the end that made it sees them."""


class OwnConnections:
    """The connections that we made and those that were redirected to us: none may be both.

    A redirection that does not spare our own calls hands each of them back to us, and we would make it again. Whichever
    end of such a connection is told of second finds the first.
    """

    def __init__(self) -> None:
        self._made: set[Ends] = set()
        self._arrived: set[Ends] = set()
        self._told = False

    def __repr__(self) -> str:
        return f"<OwnConnections made={len(self._made)} arrived={len(self._arrived)}>"

    def made(self, ends: Ends) -> bool:
        """We have made a connection. False when it has arrived at ourselves."""
        self._made.add(ends)
        return ends not in self._arrived or self._tell()

    def arrived(self, ends: Ends) -> bool:
        """A redirected connection has arrived. False when it is one that we have made."""
        self._arrived.add(ends)
        return ends not in self._made or self._tell()

    def _tell(self) -> bool:
        """Say once what is wrong. Returns False, the answer to the question that found it."""
        if not self._told:
            self._told = True
            _log.error(
                "a connection of our own came back to us: the sidecar runs as user %d and group %d, which the "
                "redirection does not spare; see --proxy-uid of `skycap intercept install`",
                os.getuid(), os.getgid(),
            )  # fmt: skip
        return False

    def unmade(self, ends: Ends) -> None:
        self._made.discard(ends)

    def left(self, ends: Ends) -> None:
        self._arrived.discard(ends)


def is_local(host: str) -> bool:
    """One of this machine's addresses: only those can be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True

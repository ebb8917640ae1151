"""What is read on a connection of HTTP/2: cut frames are joined, and nobody has more than a share of a turn."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from proxy.exchange.h2.intake import Intake
from proxy.wire.h2.faults import ConnectionFault
from proxy.wire.h2.frames import HEAD_BYTES, HEADERS, head_of, share

FAIR_WORK: Final = 2_048
"""What is done for one connection in one turn of the loop (`share`): 10 ms interpreted, for frames of a byte or for
requests that we answer ourselves. Large frames never reach it: 128 of them are 2 MiB."""

SMALL: Final = 4_096
"""A read of so few bytes cannot be much work."""


class Inlet(Intake):
    """
    held: the beginning of a frame that is not complete, or what waits for its turn.
    turn: there was more to do than is fair: `held` goes on in the loop's next turn.
    """

    __slots__ = ("held", "turn")

    def __init__(self) -> None:
        super().__init__()
        self.held = b""
        self.turn = False

    @abstractmethod
    def frames(self, data: bytes) -> None:
        """From the beginning of a frame on; what is not complete is held. Raises ConnectionFault."""

    @abstractmethod
    def earliest(self, fault: ConnectionFault) -> ConnectionFault:
        """That fault, or the one before it: grants are looked at behind all that was read with them."""

    @abstractmethod
    def failed(self, fault: ConnectionFault) -> None:
        """The peer has broken a rule of connections."""

    def received(self, data: bytes) -> None:
        """Bytes from the peer."""
        if self.closed:
            return
        if self.turn:
            self.held += data
            return
        try:
            held, self.held = self.held, b""
            if not held:
                if len(data) > SMALL:
                    self._share(data)
                else:
                    self.frames(data)
            else:
                # Only the frame that was cut is joined; what follows it stays where it is.
                rest = HEAD_BYTES + (head_of(held)[0] >> 8) - len(held) if len(held) >= HEAD_BYTES else 0
                if rest <= 0 or held[3] == HEADERS:
                    self._share(held + data)
                elif rest > len(data):
                    self.held = held + data
                else:
                    self.frames(held + data[:rest])
                    if rest < len(data) and not self.closed:
                        self._share(data[rest:])
        except ConnectionFault as fault:
            first = self.earliest(fault)
            if not self.closed:  # else a grant before it has ended the connection
                self.failed(first)
        self.client.flush()

    def _share(self, data: bytes) -> None:
        """Look at what one connection may have in one turn; the others have theirs before it goes on."""
        if len(data) > SMALL and (stop := share(data, FAIR_WORK)) < len(data):
            self.frames(data[:stop])
            if not self.closed:
                self.held += data[stop:]
                self.turn = True
                assert self.stream is not None  # it has come from there
                self.stream.pause_reading()
                self.client.side.wheel.soon(self.turn_came)
            return
        self.frames(data)

    def turn_came(self) -> None:
        if self.turn and not self.closed and not self.client.clogged:
            self.turn = False
            assert self.stream is not None
            self.stream.resume_reading()
            self.received(b"")

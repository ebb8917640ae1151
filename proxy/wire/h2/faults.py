"""What a peer did that RFC 9113 does not let it: the two kinds of error, and their codes (section 7)."""

from __future__ import annotations

from typing import Final

NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
SETTINGS_TIMEOUT: Final = 4
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
CONNECT_ERROR: Final = 10
ENHANCE_YOUR_CALM: Final = 11


class Fault(Exception):  # noqa: N818 (it is an answer, not a fault of the program)
    """code: of section 7; detail: a phrase that names what is wrong, and the section of the RFC that says so."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class ConnectionFault(Fault):
    """Section 5.4.1: the connection ends with GOAWAY."""


class StreamFault(Fault):
    """Section 5.4.2: the stream ends with RST_STREAM, the others go on."""

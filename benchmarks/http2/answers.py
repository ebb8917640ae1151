"""Header blocks of answers. Proxies repeat themselves: each block is decoded once, judged, and known from then on."""

from __future__ import annotations

from hpack import Decoder, HPACKError

ROLE = "x-origin"
"""The field by which the echo application says who it is."""

_KNOWN = 100_000
"""Of blocks; a proxy that makes a new one for every answer is decoded every time."""


class SpoiledError(ValueError):
    """An answer that is not the one to this request. `str()` says why."""


def decode(block: bytes) -> dict[str, str]:
    """The fields of a block of a peer that may use no table. Raises SpoiledError."""
    decoder = Decoder()
    try:
        return {_text(name): _text(value) for name, value in decoder.decode(block)}
    except HPACKError as error:
        raise SpoiledError(f"a header block that cannot be read: {error}") from None


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


class Judge:
    """What a head, and the trailers, must say.

    role: who has to answer; looked for where the origin names itself in a field, else "".
    """

    def __init__(self, role: str, *, grpc: bool) -> None:
        self._role = role
        self._grpc = grpc
        self._heads: set[bytes] = set()
        self._trailers: set[bytes] = set()

    def head(self, block: bytes) -> None:
        """Raises SpoiledError unless the status is 200, from the right one."""
        if block in self._heads:
            return
        fields = decode(block)
        if fields.get(":status") != "200":
            raise SpoiledError(f"status {fields.get(':status')}: {_reason(fields)}")
        if self._role and fields.get(ROLE) != self._role:
            raise SpoiledError(f"expected {self._role}, and {fields.get(ROLE, 'nobody')} answered")
        if len(self._heads) < _KNOWN:
            self._heads.add(block)

    def trailers(self, block: bytes) -> None:
        """Raises SpoiledError unless they say that the call was good."""
        if block in self._trailers:
            return
        fields = decode(block)
        if self._grpc and fields.get("grpc-status") != "0":
            raise SpoiledError(f"grpc-status {fields.get('grpc-status')}: {_reason(fields)}")
        if len(self._trailers) < _KNOWN:
            self._trailers.add(block)


def _reason(fields: dict[str, str]) -> str:
    return fields.get("grpc-message") or fields.get("skycap-error") or "no reason given"

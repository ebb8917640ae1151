"""One request with a routing key, and what its answer tells about who served it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from controlplane.asking.cause import why
from controlplane.asking.served_by import FIELD, Hop, parse_served_by
from proxy.contract.names import DEFAULT_KEY_NAMES

BODY_LIMIT = 1 << 20
"""Bytes of a body that are kept: more than anybody reads in a terminal."""


class NoAnswerError(Exception):
    """Nobody gave a whole answer. `str()` is one line for a person.

    reason:    why, to stand behind an address and a colon.
    connected: something accepted the connection.
    """

    def __init__(self, message: str, reason: str, *, connected: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.connected = connected


class NotAUrlError(ValueError):
    """There is nothing that could be asked. `str()` is one line for a person."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    hops:      who served the request, from the entry inwards; empty for a request without a key, whose answer
               passes through untouched.
    more_hops: there were more than the field had room for.
    malformed: why `hops` could not be read, or "".
    error:     the value of `skycap-error`: the answer is a sidecar's and not an application's. Else "".
    body:      at most BODY_LIMIT bytes; `cut` says that there was more.
    seconds:   from the start of the request to the end of the body.
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    hops: tuple[Hop, ...]
    malformed: str
    error: str
    body: bytes
    cut: bool
    charset: str
    seconds: float
    more_hops: bool = False

    @property
    def text(self) -> str | None:
        """The body as text, None when it is none."""
        if b"\0" in self.body:
            return None
        try:
            return self.body.decode(self.charset)
        except (UnicodeDecodeError, LookupError):
            return None

    def document(self) -> dict[str, Any]:
        """The stable JSON shape of an answer; `body` is null when it is no text."""
        return {
            "status": self.status,
            "reason": self.reason,
            "seconds": round(self.seconds, 6),
            "servedBy": [hop.document() for hop in self.hops],
            "servedByMore": self.more_hops,
            "skycapError": self.error,
            "headers": [list(field) for field in self.headers],
            "body": self.text,
            "bodyCut": self.cut,
        }


async def send(
    method: str,
    url: str,
    key: str = "",
    fields: Iterable[tuple[str, str]] = (),
    data: bytes | None = None,
    seconds: float = 30.0,
) -> Answer:
    """Send one request on a connection of its own, redirects not followed. Raises NoAnswerError and
    NotAUrlError.

    key:     goes into `baggage`, in front of the members that `fields` bring.
    seconds: for all of it.
    """
    # In lower case, because aiohttp takes two spellings of one name for a replacement.
    headers = [(name.lower(), value) for name, value in fields]
    if key:
        headers.insert(0, ("baggage", f"{DEFAULT_KEY_NAMES[0]}={key}"))
    started = time.monotonic()
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=seconds)) as session,
            session.request(method, url, headers=headers, data=data, allow_redirects=False) as response,
        ):
            body = await _read(response.content, BODY_LIMIT + 1)
            charset = response.charset or "utf-8"
            return _answer(response.status, response.reason, response.headers, body, charset, started)
    except TimeoutError:
        raise NoAnswerError(f"{url} did not answer within {seconds:g} s", "no answer in time", connected=True) from None
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
        raise NotAUrlError(f"{url!r} is not a URL such as http://127.0.0.1:8080/") from None
    except aiohttp.ClientConnectorError as error:
        raise NoAnswerError(f"{url} cannot be reached: {why(error)}", why(error), connected=False) from None
    except (aiohttp.ClientError, OSError) as error:
        raise NoAnswerError(f"{url} gave no whole answer: {why(error)}", why(error), connected=True) from None


async def _read(content: aiohttp.StreamReader, limit: int) -> bytes:
    parts: list[bytes] = []
    left = limit
    while left and (part := await content.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _answer(
    status: int, reason: str | None, headers: Mapping[str, str], body: bytes, charset: str, started: float
) -> Answer:
    fields = tuple(headers.items())
    hops: list[Hop] = []
    more = False
    malformed = ""
    try:
        hops, more = parse_served_by(value for name, value in fields if name.lower() == FIELD)
    except ValueError as error:
        malformed = f"{FIELD} is malformed: {error}"
    return Answer(
        status=status,
        reason=reason or "",
        headers=fields,
        hops=tuple(hops),
        more_hops=more,
        malformed=malformed,
        error=headers.get("skycap-error", ""),
        body=body[:BODY_LIMIT],
        cut=len(body) > BODY_LIMIT,
        charset=charset,
        seconds=time.monotonic() - started,
    )

"""A JSON body: bounded, in UTF-8, strict (`proxy.base.strict`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web

from controlplane.api.refused import Refused
from controlplane.model.problem import FieldProblem, show
from controlplane.model.size import MAX_ENTRIES, check_size
from proxy.base.strict import DocumentError, parse_json

MAX_BODY_BYTES = 1 << 20
"""A sandbox with 32 forks, 256 variables each, is a tenth of it."""

AT_ONCE_BYTES = 16 << 10
"""What is larger is not read on the loop: some milliseconds."""

BODY_SECONDS = 30.0
"""For a body to arrive."""

_T = TypeVar("_T")


async def read_json(request: web.Request) -> Any:
    """The document in the body. Raises Refused: 400, 408, 413, 415; DocumentError for one that holds too much."""
    data = await _read(request)
    return await _off_the_loop(len(data), parse_body, data)


async def read_as(request: web.Request, parse: Callable[[Any], _T], entries: int = MAX_ENTRIES) -> _T:
    """What `parse` makes of the document in the body. Raises what `read_json` raises, and what `parse` does.

    entries: of one list or object, at most. A large one is read and judged in a thread, so that everybody else is
    answered meanwhile.
    """
    data = await _read(request)
    return await _off_the_loop(len(data), lambda body: parse(parse_body(body, entries)), data)


async def read_bytes(request: web.Request, most: int) -> bytes:
    """A body that is no document. Raises Refused: 408, 413, 415."""
    if request.content_type != "application/octet-stream":
        detail = f"the body must be application/octet-stream, not {show(request.content_type)}"
        headers = {"accept": "application/octet-stream"}
        raise Refused(415, "not-bytes", "The media type is not supported", detail, headers=headers)
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.content.iter_any():
                data += part
                if len(data) > most:
                    raise _too_large(most)
    except TimeoutError:
        raise Refused(408, "body-timeout", "The body did not arrive in time") from None
    return bytes(data)


async def _off_the_loop(size: int, work: Callable[[bytes], _T], data: bytes) -> _T:
    return await asyncio.to_thread(work, data) if size > AT_ONCE_BYTES else work(data)


async def _read(request: web.Request) -> bytes:
    if request.content_type != "application/json":
        said = request.headers.get("content-type")
        detail = f"the body must be application/json, not {show(said)}" if said else "the body has no content-type"
        raise Refused(
            415, "not-json", "The media type is not supported", detail, headers={"accept": "application/json"}
        )
    if (request.charset or "utf-8").lower().replace("_", "-") not in ("utf-8", "utf8"):
        raise Refused(415, "not-utf-8", "The character set is not supported", "JSON is UTF-8 (RFC 8259 section 8.1)")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        # Most bodies come with their head: nothing to wait for, so no timer.
        async with asyncio.timeout(None if request.content.is_eof() else BODY_SECONDS):
            data = await request.read()
    except TimeoutError:
        raise Refused(408, "body-timeout", "The body did not arrive in time") from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None
    return data


def parse_body(data: bytes, entries: int = MAX_ENTRIES) -> Any:
    """The document in `data`. Raises Refused (400); DocumentError for one that holds too much."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad(f"byte {error.start} is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise _bad("it begins with a byte order mark (BOM; RFC 8259 section 8.1)")
    try:
        document = parse_json(text)
    except DocumentError as error:
        place = f"line {error.line}, column {error.column}: " if error.line else ""
        raise _bad(f"{place}{error.problem}") from None
    check_size(document, entries)
    return document


def _bad(detail: str) -> Refused:
    return Refused(400, "bad-json", "The body is not JSON", detail, problems=[FieldProblem(path="", message=detail)])


def _too_large(most: int = MAX_BODY_BYTES) -> Refused:
    return Refused(413, "body-too-large", "The body is too large", f"{most} bytes are allowed")

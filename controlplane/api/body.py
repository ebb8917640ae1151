"""A JSON body: bounded, in UTF-8, said once.

Python's parser takes more than JSON is: NaN, repeated fields, depth until the stack ends. A field that is given
twice would let two readers see two documents, so it is refused like a misspelt one.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from aiohttp import web

from controlplane.api.refused import Refused
from controlplane.model.problem import FieldProblem, show

MAX_BODY_BYTES = 1 << 20
"""A sandbox with 32 forks, 256 variables each, is a tenth of it."""

BODY_SECONDS = 30.0
"""For a body to arrive."""


async def read_json(request: web.Request) -> Any:
    """The document in the body. Raises Refused: 400, 408, 413, 415."""
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
    return parse_json(data)


def parse_json(data: bytes) -> Any:
    """The document in `data`. Raises Refused (400)."""
    try:
        text = data.decode("utf-8")
        if text.startswith("\ufeff"):
            raise ValueError("it begins with a byte order mark (BOM; RFC 8259 section 8.1)")
        return _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise _bad(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _bad(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise _bad("it is nested too deeply") from None
    except ValueError as error:
        raise _bad(str(error)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the field {show(twice)} is given twice in one object")
    return document


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _bad(detail: str) -> Refused:
    return Refused(400, "bad-json", "The body is not JSON", detail, problems=[FieldProblem(path="", message=detail)])


def _too_large() -> Refused:
    return Refused(413, "body-too-large", "The body is too large", f"{MAX_BODY_BYTES} bytes are allowed")

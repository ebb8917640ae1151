"""Lists: in pages, or as a whole in pieces, and never all at once.

    GET /v1/sandboxes?limit=100                 {"items": [...], "continue": "YWdlbnQtNDI"}
    GET /v1/sandboxes?limit=100&continue=...    what follows; no `continue` on the last page

A token names the last item of the page before, so what is made or deleted meanwhile neither repeats an item nor
loses one. Without a limit the whole list is sent, in pieces: five thousand sandboxes made at a stretch held everybody
else up for a third of a second.
"""

from __future__ import annotations

import asyncio
import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Callable, Sequence

from aiohttp import web
from pydantic import BaseModel

from controlplane.api.operations import Parameter, Values
from controlplane.api.refused import Refused
from controlplane.model.problem import FieldProblem, Grammar

PIECE = 50
"""Items made at a stretch, some 60 us each."""

LIMIT = Parameter(
    "limit", "query", Grammar(r"[1-9][0-9]{0,3}", "a whole number from 1 to 9999"), "at most so many items"
)
CONTINUE = Parameter(
    "continue", "query", Grammar(r"[A-Za-z0-9_-]{1,512}", "a token of the page before"), "what follows the page before"
)
PAGED = (LIMIT, CONTINUE)


async def send_items(
    request: web.Request, values: Values, names: Sequence[str], get: Callable[[str], BaseModel | None]
) -> web.StreamResponse:
    """A list, or the page of it that was asked for.

    names: of all items, sorted.
    get:   one of them, None when it has gone meanwhile.
    """
    start = bisect_right(names, _last(values["continue"])) if "continue" in values else 0
    end = min(start + int(values["limit"]), len(names)) if "limit" in values else len(names)
    tail = f',"continue":"{_token(names[end - 1])}"' if start < end < len(names) else ""
    page = names[start:end]
    if len(page) <= PIECE or request.method == "HEAD" or request.version < (1, 1):
        text = ",".join(_texts(page, get))
        return web.Response(text=f'{{"items":[{text}]{tail}}}', content_type="application/json")
    response = web.StreamResponse(headers={"content-type": "application/json; charset=utf-8"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        await _send(response, page, get, tail)
    except BaseException:
        if request.transport is not None:
            request.transport.abort()  # half a list must not look like a whole one
        raise
    return response


async def _send(
    response: web.StreamResponse, names: Sequence[str], get: Callable[[str], BaseModel | None], tail: str
) -> None:
    before = '{"items":['
    for place in range(0, len(names), PIECE):
        if texts := _texts(names[place : place + PIECE], get):
            await response.write((before + ",".join(texts)).encode())
            before = ","
        await asyncio.sleep(0)
    await response.write(f"{'' if before == ',' else before}]{tail}}}".encode())
    await response.write_eof()


def _texts(names: Sequence[str], get: Callable[[str], BaseModel | None]) -> list[str]:
    found = (get(name) for name in names)
    return [one.model_dump_json(by_alias=True, exclude_none=True) for one in found if one is not None]


def _token(name: str) -> str:
    return urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _last(token: str) -> str:
    try:
        return urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except (binascii.Error, ValueError):
        problem = FieldProblem(path="?continue", message="is no token of a page before")
        raise Refused(400, "bad-query", "The query is malformed", problems=[problem]) from None

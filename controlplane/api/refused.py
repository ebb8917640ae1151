"""How the registry says no: one exception for the API's own refusals, one place that turns all into answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from controlplane.hops.port import HopsUnavailableError
from controlplane.life.refusals import Closing, Conflict, NotFound, Refusal, TooMany
from controlplane.model.problem import DocumentError, FieldProblem, Problem
from controlplane.store.port import StoreError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

RETRY_SECONDS = 1
"""Said in `retry-after` when the fault is ours and may pass."""


class Refused(Exception):  # noqa: N818 (it is an answer, not a fault of the program)
    """An answer that is no success, ready to be written.

    title:    one phrase, the same for every occurrence of `code`.
    detail:   what is wrong here.
    hint:     what to do next.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str = "",
        *,
        hint: str | None = None,
        problems: Sequence[FieldProblem] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail or title)
        self.headers = headers or {}
        self.problem = Problem(
            type=f"urn:skycap:problem:{code}",
            title=title,
            status=status,
            detail=detail,
            code=code,
            hint=hint,
            problems=list(problems) if problems is not None else None,
        )

    def response(self) -> web.Response:
        text = self.problem.model_dump_json(exclude_none=True)
        return web.Response(
            status=self.problem.status, text=text, content_type=MEDIA_TYPE, headers=self.headers or None
        )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every way to fail becomes a problem document here, and nowhere else."""
    try:
        return await handler(request)
    except Refused as refused:
        return refused.response()
    except (DocumentError, Refusal, StoreError, HopsUnavailableError) as error:
        return _refused(error).response()
    except web.HTTPException as error:
        return _of_http(request, error).response()
    except (ConnectionResetError, ConnectionAbortedError):
        raise  # the client has gone: there is nobody to answer
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return Refused(500, "internal-error", "The registry has a fault", hint="Its log says more.").response()


def _refused(error: Exception) -> Refused:
    for kind, make in _KINDS.items():
        if isinstance(error, kind):
            return make(error)
    raise AssertionError(f"no answer for {error!r}")


def _invalid(error: Exception) -> Refused:
    assert isinstance(error, DocumentError)
    count = error.count
    detail = f"{count} problem{'s' if count != 1 else ''}; nothing was stored"
    return Refused(422, "invalid", "The document does not fit", detail, problems=error.problems)


def _conflict(error: Exception) -> Refused:
    assert isinstance(error, Conflict)
    return Refused(409, "conflict", "The request contradicts what is there", str(error), problems=error.problems)


def _store(error: Exception) -> Refused:
    assert isinstance(error, StoreError)
    if error.full:
        return Refused(507, "store-full", "The registry's store is full", str(error), hint="Free space on its disk.")
    return _later("store-unavailable", "The registry's store cannot be written", str(error))


def _later(code: str, title: str, detail: str) -> Refused:
    return Refused(503, code, title, detail, headers={"retry-after": str(RETRY_SECONDS)})


_KINDS: dict[type[Exception], Callable[[Exception], Refused]] = {
    DocumentError: _invalid,
    Conflict: _conflict,
    NotFound: lambda error: Refused(404, "not-found", "There is nothing of that name", str(error)),
    TooMany: lambda error: Refused(507, "too-many", "A limit of the registry is reached", str(error)),
    Closing: lambda error: _later("shutting-down", "The registry is shutting down", str(error)),
    StoreError: _store,
    HopsUnavailableError: lambda error: _later("hops-unavailable", "Requests cannot be looked up", str(error)),
}


def _of_http(request: web.Request, error: web.HTTPException) -> Refused:
    """What aiohttp itself refused: no such path, no such method, too large."""
    headers = {"allow": error.headers["allow"]} if "allow" in error.headers else {}
    code, detail = _SPOKEN.get(error.status, ("http-error", ""))
    title = HTTPStatus(error.status).phrase
    return Refused(error.status, code, title, detail.format(request=request), headers=headers)


_SPOKEN = {
    404: ("no-such-path", "{request.path} is not a path of the registry; /openapi.json lists them"),
    405: ("no-such-method", "{request.path} does not know {request.method}"),
    413: ("body-too-large", "the body is larger than the registry accepts"),
}

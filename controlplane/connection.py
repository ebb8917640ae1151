"""One connection pool to a registry: how a request of the client travels, and what becomes of a refusal."""

from __future__ import annotations

import io
import json
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
from pydantic import BaseModel, TypeAdapter, ValidationError

from controlplane.asking.cause import why
from controlplane.model.problem import FieldProblem, Problem
from controlplane.rest import DEFAULT_URL
from proxy.base.access import USER, local_token
from proxy.contract.watch import MAX_EVENT_BYTES, Event, EventParser

_T = TypeVar("_T", bound=BaseModel)

PAGE = 500
"""Items that a list is asked for at once."""


class RegistryError(Exception):
    """The registry said no, or nothing. `str()` is for a person: title, detail and every field's problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(_sentence(problem))

    @property
    def status(self) -> int:
        """The HTTP status; 0 when there was no answer."""
        return self.problem.status

    @property
    def code(self) -> str:
        return self.problem.code

    @property
    def problems(self) -> list[FieldProblem]:
        return self.problem.problems or []


class Connection:
    """A connection pool to one registry.

    url:     `http://HOST:PORT`, without a path.
    token:   bearer token. None: that of the registry of our own user on this machine, read anew for every request, for
             it is another one when the registry has been started again.
    timeout: seconds for one request, the waiting ones not counted.
    environ: says where the state of our user is; our own environment by default.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        timeout: float = 10.0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._token = token
        self._environ = os.environ if environ is None else environ
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()

    async def _events(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncGenerator[Event, None]:
        """A `text/event-stream`, until the registry ends it."""
        signed = self._headers()
        parser = EventParser(MAX_EVENT_BYTES)
        try:
            async with self._session.get(
                f"{self.url}{path}",
                params=query,
                headers={**signed, **headers},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeout),
            ) as answer:
                if not self._outdated(answer, signed):
                    if answer.status != 200:
                        raise RegistryError(await _problem(answer))
                    async for data in answer.content.iter_any():
                        for event in parser.feed(data):
                            yield event
                    return
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        async for event in self._events(path, query, headers):
            yield event

    async def _pages(self, kind: type[_T], path: str, narrowed: Sequence[tuple[str, str]] = ()) -> list[_T]:
        """A whole list, page by page. narrowed: the query that says which items."""
        found: list[_T] = []
        query = [*narrowed, ("limit", str(PAGE))]
        while True:
            document = await self._call("GET", path, query=query)
            found += read_items(kind, document)
            token = document.get("continue")
            if not isinstance(token, str):
                return found
            query = [*narrowed, ("limit", str(PAGE)), ("continue", token)]

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        body: Mapping[str, Any] | None = None,
        extra: float = 0.0,
        data: bytes | None = None,
    ) -> Any:
        """One request; its JSON answer, None when there is no content. `extra` seconds are granted for waiting.

        data: a body that is no document.
        """
        signed = self._headers()
        try:
            async with self._session.request(
                method,
                f"{self.url}{path}",
                params=query,
                json=body,
                data=io.BytesIO(data) if data is not None else None,
                headers=signed,
                timeout=aiohttp.ClientTimeout(total=self._timeout + extra),
                allow_redirects=False,
            ) as answer:
                if not self._outdated(answer, signed):
                    if not 200 <= answer.status < 300:
                        raise RegistryError(await _problem(answer))
                    text = await answer.text()
                    return json.loads(text) if text else None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        except ValueError as error:
            raise RegistryError(_foreign(200, f"{self.url}{path} answered no JSON")) from error
        return await self._call(method, path, query, body, extra, data)

    def _outdated(self, answer: aiohttp.ClientResponse, signed: Mapping[str, str]) -> bool:
        """Whether a request was refused for a token that is another one since.

        A registry listens a moment before its tokens are written, and what is sent in that moment waits.
        """
        return answer.status == 401 and self._headers() != signed

    def _headers(self) -> dict[str, str]:
        token = local_token(self.url, USER, self._environ) if self._token is None else self._token
        return {"authorization": f"Bearer {token}"} if token else {}

    def _unreachable(self, error: Exception) -> RegistryError:
        return RegistryError(
            Problem(
                type="urn:skycap:problem:registry-unreachable",
                title="The registry cannot be reached",
                status=0,
                code="registry-unreachable",
                detail=f"{self.url}: {why(error)}",
                hint="Start it with `skycap controlplane` or `skycap up`, or say where it is.",
            )
        )


def read_model(kind: type[_T], document: Any) -> _T:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise RegistryError(_foreign(200, f"an answer that is no {kind.__name__}")) from error


def read_items(kind: type[_T], document: Any) -> list[_T]:
    try:
        return TypeAdapter(list[kind]).validate_python(document["items"])  # type: ignore[valid-type]
    except (ValidationError, KeyError, TypeError) as error:
        raise RegistryError(_foreign(200, f"an answer that is no list of {kind.__name__}")) from error


async def _problem(answer: aiohttp.ClientResponse) -> Problem:
    """The problem document of a refusal, or one of our own when the peer is no registry."""
    text = (await answer.content.read(MAX_EVENT_BYTES)).decode("utf-8", "replace")
    try:
        return Problem.model_validate_json(text)
    except ValidationError:
        return _foreign(answer.status, f"{answer.url} answered {answer.status}: {text[:200]}".rstrip(": "))


def _foreign(status: int, detail: str) -> Problem:
    return Problem(
        type="urn:skycap:problem:not-a-registry",
        title="The answer does not come from a registry",
        status=status,
        code="not-a-registry",
        detail=detail,
        hint="Check the address: something else may listen there.",
    )


def _sentence(problem: Problem) -> str:
    lines = [f"{problem.title}: {problem.detail}" if problem.detail else problem.title]
    lines += [f"  {item.path}: {item.message}" if item.path else f"  {item.message}" for item in problem.problems or ()]
    return "\n".join(lines)

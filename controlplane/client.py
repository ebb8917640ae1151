"""The registry's client: typed, for whoever asks much or waits while it does other things.

    async with Client("http://127.0.0.1:7070") as registry:
        await registry.apply(sandbox)
        sandbox = await registry.wait("agent-42", seconds=30)

A command that asks one thing takes a shorter way, `controlplane.cli.registry`.

Whatever goes wrong is one exception, `RegistryError`, with the problem document: a refusal of the registry as
it said it, or a `registry-unreachable` of our own.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, TypeAdapter, ValidationError

from controlplane.model.assertion import Claim, Judged
from controlplane.model.copy_log import CopyLog
from controlplane.model.explanation import Explanation
from controlplane.model.feedback import Feedback
from controlplane.model.hop import HopRecord, Trace, TrafficPage
from controlplane.model.problem import FieldProblem, Problem
from controlplane.model.sandbox import SETTLED, Sandbox
from controlplane.model.service_map import ServiceMap
from controlplane.model.sidecar import Sidecar, SidecarReport
from controlplane.model.workload import Workload
from controlplane.rest import DEFAULT_LINES, DEFAULT_URL, MAX_WAIT_SECONDS
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


class Client:
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

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()

    async def apply(self, sandbox: Sandbox | Mapping[str, Any]) -> Sandbox:
        """Create or update. A mapping is sent as it is, so that the registry names all that is wrong with it."""
        document = sandbox.document() if isinstance(sandbox, Sandbox) else sandbox
        metadata = document.get("metadata")
        name = metadata.get("name") if isinstance(metadata, Mapping) else None
        # A document without a usable name is sent all the same: the registry then says what is wrong with it.
        path = _segment(name) if isinstance(name, str) and name else "unnamed"
        return _model(Sandbox, await self._call("PUT", f"/v1/sandboxes/{path}", body=document))

    async def sandbox(self, name: str) -> Sandbox:
        return _model(Sandbox, await self._call("GET", f"/v1/sandboxes/{_segment(name)}"))

    async def sandboxes(self) -> list[Sandbox]:
        return await self._pages(Sandbox, "/v1/sandboxes")

    async def delete(self, name: str, seconds: float = 0.0) -> Sandbox | None:
        """Remove the routes, then stop the shadows, waiting for that up to `seconds`.

        Returns None when it is gone, else the sandbox as it is being deleted.
        """
        path = f"/v1/sandboxes/{_segment(name)}"
        answer = await self._call("DELETE", path, query={"wait": _wait(seconds)}, extra=seconds)
        return None if answer is None else _model(Sandbox, answer)

    async def wait(self, name: str, seconds: float = 60.0) -> Sandbox:
        """The sandbox as soon as its phase is settled for the revision that is wanted, or when time is over.

        The caller looks at `status.phase`: a settled sandbox may have failed, an unsettled one is still Pending.
        """
        left = seconds
        while True:
            ask = min(left, MAX_WAIT_SECONDS)
            path = f"/v1/sandboxes/{_segment(name)}"
            sandbox = _model(Sandbox, await self._call("GET", path, query={"wait": _wait(ask)}, extra=ask))
            left -= ask
            if left <= 0 or (sandbox.status is not None and sandbox.status.phase in SETTLED):
                return sandbox

    async def logs(self, name: str, workload: str = "", lines: int = DEFAULT_LINES) -> list[CopyLog]:
        """The last lines of every copy, or of those of one workload."""
        query = {"lines": str(lines)} | ({"workload": workload} if workload else {})
        return _items(CopyLog, await self._call("GET", f"/v1/sandboxes/{_segment(name)}/logs", query=query))

    async def traffic(
        self, name: str, filters: Mapping[str, str] | None = None, limit: int = 100, before: int | None = None
    ) -> TrafficPage:
        """One page of the hops of a sandbox, the newest first.

        filters: as `GET /v1/sandboxes/NAME/traffic` has them.
        """
        query = {"limit": str(limit), **(filters or {})} | ({"before": str(before)} if before is not None else {})
        return _model(TrafficPage, await self._call("GET", f"/v1/sandboxes/{_segment(name)}/traffic", query=query))

    async def follow_traffic(
        self, name: str, filters: Mapping[str, str] | None = None, after: int | None = None
    ) -> AsyncIterator[HopRecord]:
        """The hops of a sandbox as they come, until it ends. after: first those above that position."""
        headers = {"last-event-id": str(after)} if after is not None else {}
        path = f"/v1/sandboxes/{_segment(name)}/traffic/stream"
        async with aclosing(self._events(path, filters or {}, headers)) as events:
            async for event in events:
                if event.name == "hop":
                    yield _model(HopRecord, json.loads(event.data))
                elif event.name == "end":
                    return

    async def feedback(self, name: str, since: str = "") -> Feedback:
        """What happened to the requests of a sandbox. since: as `10m`; the time of its last update without."""
        path = f"/v1/sandboxes/{_segment(name)}/feedback"
        return _model(Feedback, await self._call("GET", path, query={"since": since} if since else None))

    async def assert_routed(self, name: str, claim: Claim) -> Judged:
        """Whether requests really reached a shadow of the sandbox, with evidence."""
        path = f"/v1/sandboxes/{_segment(name)}/assertions"
        body = claim.model_dump(mode="json", by_alias=True, exclude_none=True)
        return _model(Judged, await self._call("POST", path, body=body))

    async def trace(self, ident: str, sandbox: str = "") -> Trace:
        """The hops of one trace, as the tree that they are."""
        query = {"sandbox": sandbox} if sandbox else None
        return _model(Trace, await self._call("GET", f"/v1/traces/{_segment(ident)}", query=query))

    async def map(self) -> ServiceMap:
        """The services, who calls whom, how to send each a request, and who forks it now."""
        return _model(ServiceMap, await self._call("GET", "/v1/map"))

    async def workloads(self) -> list[Workload]:
        return await self._pages(Workload, "/v1/workloads")

    async def workload(self, name: str) -> Workload:
        """`name` is NAMESPACE/NAME, as everywhere."""
        return _model(Workload, await self._call("GET", f"/v1/workloads/{quote(name)}"))

    async def put_workload(self, workload: Workload) -> Workload:
        body = workload.model_dump(mode="json", exclude_none=True)
        return _model(Workload, await self._call("PUT", f"/v1/workloads/{quote(workload.workload)}", body=body))

    async def delete_workload(self, name: str) -> None:
        await self._call("DELETE", f"/v1/workloads/{quote(name)}")

    async def explain(self, key: str, workload: str) -> Explanation:
        """What a sidecar of `workload` does with a request that carries `key`."""
        return _model(Explanation, await self._call("GET", "/v1/explain", query={"key": key, "workload": workload}))

    async def sidecars(self) -> list[Sidecar]:
        return await self._pages(Sidecar, "/v1/sidecars")

    async def report(self, sidecar: str, report: SidecarReport) -> None:
        """Say what a sidecar has put to use, as it does itself."""
        body = report.model_dump(mode="json", by_alias=True)
        await self._call("PUT", f"/v1/sidecars/{_segment(sidecar)}", body=body)

    async def ready(self) -> bool:
        """Whether the registry answers and is ready. Never raises RegistryError."""
        try:
            await self._call("GET", "/ready")
        except RegistryError:
            return False
        return True

    async def watch(self, workload: str, sidecar: str = "", last_event_id: str = "") -> AsyncIterator[Event]:
        """The route watch, event by event, until the registry ends it. Heartbeats are not shown."""
        query = {"workload": workload} | ({"sidecar": sidecar} if sidecar else {})
        headers = {"last-event-id": last_event_id} if last_event_id else {}
        async with aclosing(self._events("/v1/watch/routes", query, headers)) as events:
            async for event in events:
                yield event

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

    async def _pages(self, kind: type[_T], path: str) -> list[_T]:
        """A whole list, page by page."""
        found: list[_T] = []
        query = {"limit": str(PAGE)}
        while True:
            document = await self._call("GET", path, query=query)
            found += _items(kind, document)
            token = document.get("continue")
            if not isinstance(token, str):
                return found
            query["continue"] = token

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        extra: float = 0.0,
    ) -> Any:
        """One request; its JSON answer, None when there is no content. `extra` seconds are granted for waiting."""
        signed = self._headers()
        try:
            async with self._session.request(
                method,
                f"{self.url}{path}",
                params=query,
                json=body,
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
        return await self._call(method, path, query, body, extra)

    def _outdated(self, answer: aiohttp.ClientResponse, signed: Mapping[str, str]) -> bool:
        """Whether a request was refused for a token that is another one since.

        A registry listens a moment before its tokens are written, and what is sent in that moment waits.
        """
        return answer.status == 401 and self._headers() != signed

    def _headers(self) -> dict[str, str]:
        token = local_token(self.url, USER, self._environ) if self._token is None else self._token
        return {"authorization": f"Bearer {token}"} if token else {}

    def _unreachable(self, error: Exception) -> RegistryError:
        said = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
        return RegistryError(
            Problem(
                type="urn:skycap:problem:registry-unreachable",
                title="The registry cannot be reached",
                status=0,
                code="registry-unreachable",
                detail=f"{self.url}: {said}",
                hint="Start it with `skycap controlplane` or `skycap up`, or say where it is.",
            )
        )


def _segment(text: str) -> str:
    return quote(text, safe="")


def _wait(seconds: float) -> str:
    return f"{min(max(seconds, 0.0), MAX_WAIT_SECONDS):.3f}s"


def _model(kind: type[_T], document: Any) -> _T:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise RegistryError(_foreign(200, f"an answer that is no {kind.__name__}")) from error


def _items(kind: type[_T], document: Any) -> list[_T]:
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

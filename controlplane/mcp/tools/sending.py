"""The tool that sends a request, and tells all of the truth about it at once."""

from __future__ import annotations

import asyncio
import json
import math
import re
import secrets
import time
from typing import Annotated, Any
from urllib.parse import urlsplit

from mcp_types import CallToolResult
from pydantic import BaseModel, ConfigDict, Field

from controlplane.asking.answer import Answer as Came
from controlplane.asking.answer import NoAnswerError, NotAUrlError, send
from controlplane.asking.calls import Call, Placed, calls
from controlplane.asking.expected import Expected, parse_expected
from controlplane.client import Client, RegistryError
from controlplane.mcp.answer import Answer, ToolError, action, answered
from controlplane.mcp.arguments import Full, RoutingKey, WorkloadArgument
from controlplane.mcp.tree import placed, tree
from controlplane.model.feedback import Feedback, NextAction
from controlplane.model.problem import FieldProblem
from proxy.base.text import one_line

TOLD_SECONDS = 1.0
LOOK_SECONDS = 0.1
"""For the hops of a request to be told, and between two looks: sidecars tell within 0.1 s."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2: methods and field names
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110 section 5.5

_BORING = frozenset({"skycap-served-by", "date", "server", "connection", "keep-alive", "vary", "cache-control"})
"""Fields of an answer that nobody who tests an application asks for."""


class Judgement(BaseModel):
    """What the feedback says about the requests of the last moments."""

    model_config = ConfigDict(frozen=True)

    verdict: str
    summary: str


class Lost(BaseModel):
    """A call that may have lost the routing key, so that the baseline answered what your copy should have."""

    model_config = ConfigDict(frozen=True)

    workload: str
    calling: str
    todo: str


class Sent(Answer):
    """The answer, who served it, and what it led to."""

    status: int
    milliseconds: float
    headers: dict[str, str]
    body: str | None = Field(default=None, description="null where it is no text")
    served_by: tuple[str, ...] = Field(description="from the entry inwards: `shop/users: sandbox a, revision 3`")
    sidecar_error: str = Field(default="", description="the sidecar answered itself, no application did: its code")
    trace: str = Field(description="for get_trace")
    tree: str = Field(default="", description="the calls that it led to, with status, time and who served")
    lost_keys: tuple[Lost, ...] = ()
    feedback: Judgement | None = None


class SendingTools:
    def __init__(self, registry: Client) -> None:
        self._registry = registry

    async def send_request(
        self,
        key: RoutingKey,
        url: Annotated[
            str, Field(description="where to send it, such as http://127.0.0.1:18080/checkout?item=tea")
        ] = "",
        workload: Annotated[WorkloadArgument | None, Field(description="instead of url: the service to ask")] = None,
        path: Annotated[str, Field(description="with workload: path and query")] = "/",
        method: Annotated[str, Field(description="default: POST with a body, else GET")] = "",
        headers: Annotated[dict[str, str], Field(description="header fields by name")] = {},  # noqa: B006
        body: Annotated[str | dict[str, Any] | list[Any] | None, Field(description="a text, or JSON as it is")] = None,
        expect: Annotated[
            list[str],
            Field(description="services that your copy must have served, as shop/users or shop/users@3; else an error"),
        ] = [],  # noqa: B006
        timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 30,
        full: Full = False,
    ) -> Annotated[CallToolResult, Sent]:
        """Send one HTTP request with a sandbox's routing key into the environment, and get all of the truth about it at
        once: the answer, which copy of which service served it, the tree of calls that it led to, calls that may have
        lost the key, and, when something failed, where that began and what to do.

        Send it to the service that users call (list_workloads has an example), not to your own copy: the key makes the
        request reach your copy wherever that service is called.
        """
        where = await self._url(url, workload, path)
        fields = _fields(headers, body)
        wanted = _expectations(expect)
        data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
        verb = (method or ("POST" if data is not None else "GET")).upper()
        if not _TOKEN.fullmatch(verb):
            raise _wrong("method", f"{method!r} is not a method")
        trace = _trace(fields)
        began = time.monotonic()
        try:
            came = await send(verb, where, key, fields, data, timeout_seconds)
        except NotAUrlError as error:
            raise _wrong("url", str(error)) from None
        except NoAnswerError as error:
            step = action("list_workloads", "it tells where the services answer")
            raise ToolError("no-answer", str(error), next_actions=[step]) from None
        made = await self._told(trace) if trace and came.hops else []
        feedback = await self._feedback(key, math.ceil(time.monotonic() - began) + 1) if came.hops else None
        unmet = [missing for each in wanted if (missing := each.unmet(came.hops))]
        if unmet:
            steps = [
                action("explain_route", "why it went elsewhere", key=key, workload=each.workload) for each in wanted
            ]
            raise ToolError("unexpected-server", "; ".join(unmet), next_actions=steps)
        answer = _sent(came, trace, made, feedback)
        more = f"get_trace with id {trace} has the bodies; full=true has the whole answer"
        return answered(answer, _sent_text(verb, where, answer), rest=more, full=full)

    async def _url(self, url: str, workload: str | None, path: str) -> str:
        if bool(url) == bool(workload):
            raise _wrong("url", "say either url, or workload with path")
        if workload is None:
            if urlsplit(url).scheme not in ("http", "https"):
                raise _wrong("url", f"{url!r} is not a URL such as http://127.0.0.1:18080/")
            return url
        if not path.startswith("/"):
            raise _wrong("path", f"{path!r} does not begin with /")
        try:
            return f"http://{(await self._registry.workload(workload)).address}{path}"
        except RegistryError as error:
            if error.status != 404:
                raise
            step = action("list_workloads", "it tells the names of the services")
            raise ToolError(
                "unknown-workload", f"no baseline of {workload} is registered", next_actions=[step]
            ) from None

    async def _told(self, trace: str) -> list[Call]:
        """The calls of a trace that has just ended, as soon as no more hops of it come."""
        found: list[Placed] = []
        end = time.monotonic() + TOLD_SECONDS
        while time.monotonic() < end:
            await asyncio.sleep(LOOK_SECONDS)
            before = len(found)
            try:
                found = placed(await self._registry.trace(trace))
            except RegistryError as error:
                if error.status == 404:
                    continue
                return []
            if len(found) == before:
                break
        return calls(found)

    async def _feedback(self, key: str, seconds: int) -> Feedback | None:
        """On the last moments of the sandbox that has this key, None where none has."""
        try:
            found = await self._registry.sandbox(key)
        except RegistryError:
            found = None
        if found is None or found.routing_key != key:
            every = await self._registry.sandboxes()
            found = next((sandbox for sandbox in every if sandbox.routing_key == key), None)
        if found is None:
            return None
        updated = found.status.updated.timestamp() if found.status is not None else 0.0
        # What an older revision did a moment ago says nothing about this one: then the window begins at the update.
        return await self._registry.feedback(found.name, f"{seconds}s" if time.time() - updated > seconds else "")


def _wrong(path: str, message: str) -> ToolError:
    return ToolError(
        "invalid-arguments", "the arguments of send_request do not fit", [FieldProblem(path=path, message=message)]
    )


def _fields(headers: dict[str, str], body: object) -> list[tuple[str, str]]:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise _wrong(f"headers.{one_line(name)}", "is no header field")
    fields = [(name, value.strip(" \t")) for name, value in headers.items()]
    if body is not None and not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(("content-type", "text/plain; charset=utf-8" if _is_text(body) else "application/json"))
    return fields


def _is_text(body: object) -> bool:
    if not isinstance(body, str):
        return False
    try:
        json.loads(body)
    except ValueError:
        return True
    return False


def _expectations(expect: list[str]) -> list[Expected]:
    try:
        return [parse_expected(text) for text in expect]
    except ValueError as error:
        raise _wrong("expect", str(error)) from None


def _trace(fields: list[tuple[str, str]]) -> str:
    """The trace id under which it is found again; one is made where the sender names none."""
    given = [value for name, value in fields if name.lower() == "traceparent"]
    if given:
        parts = given[-1].split("-")
        return parts[1].lower() if len(parts) >= 4 else ""
    trace = secrets.token_hex(16)
    fields.append(("traceparent", f"00-{trace}-{secrets.token_hex(8)}-01"))
    return trace


def _sent(came: Came, trace: str, made: list[Call], feedback: Feedback | None) -> Sent:
    notes = [f"{hop.workload}: {hop}" for hop in came.hops]
    if not came.hops:
        notes = [came.malformed or "nobody says who served: the answer did not come through a sidecar"]
    actions: list[NextAction] = []
    if feedback is not None:
        actions = list(feedback.next_actions)
    elif any(hop.key == "unknown" for hop in came.hops):
        actions.append(action("list_sandboxes", "no sandbox has this routing key, so the baseline served"))
    return Sent(
        status=came.status,
        milliseconds=round(came.seconds * 1000, 1),
        headers={name.lower(): value for name, value in came.headers if name.lower() not in _BORING},
        body=came.text,
        served_by=tuple(notes),
        sidecar_error=came.error,
        trace=trace,
        tree=tree(made),
        lost_keys=tuple(
            Lost(workload=lost.workload, calling=lost.calling, todo=lost.todo)
            for lost in (feedback.lost_keys if feedback else ())
        ),
        feedback=Judgement(verdict=feedback.verdict.value, summary=feedback.summary) if feedback else None,
        next_actions=tuple(actions),
    )


def _sent_text(method: str, url: str, sent: Sent) -> str:
    lines = [f"{method} {url} -> {sent.status} in {sent.milliseconds:.0f} ms, trace {sent.trace}"]
    lines += [f"served by {who}" for who in sent.served_by]
    if sent.sidecar_error:
        lines.append(f"the sidecar answered itself: {sent.sidecar_error}")
    if sent.feedback:
        lines.append(f"{sent.feedback.verdict}: {sent.feedback.summary}")
    lines += [f"{lost.workload} may lose the key calling {lost.calling}: {lost.todo}" for lost in sent.lost_keys]
    if sent.tree:
        lines += ["", sent.tree]
    body = sent.body if sent.body is not None else "(no text)"
    return "\n".join([*lines, "", body[:1000] + ("..." if len(body) > 1000 else "")])

"""Tools that show requests as the sidecars saw them."""

from __future__ import annotations

from typing import Annotated

from mcp_types import CallToolResult
from pydantic import BaseModel, ConfigDict, Field

from controlplane.asking.calls import Call, calls
from controlplane.client import Client
from controlplane.mcp.answer import Answer, answered
from controlplane.mcp.arguments import Full, SandboxName, Since, WorkloadArgument
from controlplane.mcp.tree import placed, tree
from controlplane.model.hop import HopRecord, Message, Trace


class TrafficLine(BaseModel):
    """One request as one sidecar saw it."""

    model_config = ConfigDict(frozen=True)

    position: int
    time: float = Field(description="seconds since 1970")
    workload: str
    side: str
    peer: str = ""
    request: str
    status: int = Field(description="0: no answer")
    served: str = Field(description="`revision 3` of your copy, or `baseline`")
    reason: str = ""
    milliseconds: float
    trace: str = ""


class Traffic(Answer):
    """The newest first."""

    requests: tuple[TrafficLine, ...]
    before: int | None = Field(default=None, description="list_traffic with this gets what is older")


class CallView(BaseModel):
    """One call in a trace. depth: how far below the entry it is. Bodies are those that were kept."""

    model_config = ConfigDict(frozen=True)

    depth: int
    request: str
    status: int
    milliseconds: float
    served_by: str
    remarks: tuple[str, ...] = ()
    question: Message | None = None
    reply: Message | None = None


class Traced(Answer):
    id: str
    sandbox: str
    tree: str
    calls: tuple[CallView, ...]


class TrafficTools:
    def __init__(self, registry: Client) -> None:
        self._registry = registry

    async def list_traffic(
        self,
        name: SandboxName,
        workload: Annotated[WorkloadArgument | None, Field(description="only at this service")] = None,
        method: Annotated[str, Field(description="only with this method")] = "",
        path: Annotated[str, Field(description="only paths that begin so")] = "",
        status: Annotated[
            str, Field(description="only with this status or of this class: 404, 5xx; 000: no answer")
        ] = "",
        trace: Annotated[str, Field(description="only of this trace")] = "",
        failed: Annotated[bool, Field(description="true: only without a good answer")] = False,
        since: Annotated[Since | None, Field(description="only the last so long: 30s, 10m, 2h")] = None,
        limit: Annotated[int, Field(ge=1, le=500)] = 20,
        before: Annotated[int | None, Field(description="go on where an answer ended")] = None,
    ) -> Annotated[CallToolResult, Traffic]:
        """The requests of a sandbox as the sidecars saw them, the newest first: one line for each side of each call.
        get_trace shows what one of them led to."""
        given = {
            "workload": workload, "method": method, "path": path, "status": status, "trace": trace,
            "failed": "true" if failed else "", "since": since,
        }  # fmt: skip
        filters = {field: value for field, value in given.items() if value}
        page = await self._registry.traffic(name, filters, limit, before)
        answer = Traffic(requests=tuple(map(_line, page.items)), before=page.before)
        text = (
            "\n".join(map(_line_text, answer.requests)) or "no request with its key was seen yet, or none that matches"
        )
        more = "list_traffic with a smaller limit, a filter, or `before`"
        return answered(answer, text, rest=more, full=limit > 20)

    async def get_trace(
        self,
        id: Annotated[str, Field(min_length=1, max_length=256, description="of the trace, as send_request tells it")],  # noqa: A002
        sandbox: Annotated[
            SandboxName | None, Field(description="look only among the requests of this sandbox")
        ] = None,
        full: Full = False,
    ) -> Annotated[CallToolResult, Traced]:
        """Everything that one request led to, as a tree: who called whom, who served, how it ended, how long it took,
        and the bodies that were kept (of errors, unless the sandbox says capture: all)."""
        found = await self._registry.trace(id, sandbox or "")
        tops = calls(placed(found))
        answer = Traced(id=found.id, sandbox=found.sandbox, tree=tree(tops), calls=tuple(_views(tops, found)))
        return answered(answer, answer.tree, rest=f"get_trace with id {id} and full=true", full=full)


def _views(tops: list[Call], trace: Trace) -> list[CallView]:
    captured = {hop.id: hop for hop in trace.hops}
    found = []
    waiting = [(0, call) for call in reversed(tops)]
    while waiting:
        depth, call = waiting.pop()
        hop = call.hop
        found.append(
            CallView(
                depth=depth,
                request=f"{hop.method} {hop.path}",
                status=hop.status,
                milliseconds=round(hop.duration_ms, 1),
                served_by=call.who,
                remarks=tuple(call.remarks),
                question=captured[hop.id].request,
                reply=captured[hop.id].response,
            )
        )
        waiting += [(depth + 1, made) for made in reversed(call.made)]
    return found


def _line(hop: HopRecord) -> TrafficLine:
    return TrafficLine(
        position=hop.position,
        time=hop.time,
        workload=hop.workload,
        side=hop.side,
        peer=hop.peer,
        request=f"{hop.method} {hop.path[:200]}",
        status=hop.status,
        served=f"revision {hop.revision}" if hop.sandbox else "baseline",
        reason=" ".join(filter(None, (hop.reason, hop.error))),
        milliseconds=round(hop.duration_ms, 1),
        trace=hop.trace,
    )


def _line_text(line: TrafficLine) -> str:
    peer = f" -> {line.peer}" if line.peer else ""
    why = f" ({line.reason})" if line.reason else ""
    return (
        f"{line.workload} {line.side}{peer}: {line.request} {line.status or 'none'}, {line.served}{why}, {line.trace}"
    )

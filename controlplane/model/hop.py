"""Hop records as the registry gives them to people and agents: the contract's fields, and where they stand."""

from __future__ import annotations

from pydantic import Field

from controlplane.model.sandbox import Reported


class Message(Reported):
    """What was captured of a request or an answer. Values of secret fields are redacted in the sidecar.

    omitted: why there is no body: `not text`, `no room`.
    """

    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    length: int = 0
    truncated: bool = False
    omitted: str = ""


class HopRecord(Reported):
    """One keyed request as one sidecar saw it, on one side. What has its default is left out.

    position: within its sandbox, growing: the newest has the largest.
    parent:   the hop that caused it; absent for an entry.
    """

    id: str
    key: str
    workload: str
    side: str
    position: int = 0
    time: float = Field(0.0, description="seconds since 1970")
    parent: str = ""
    trace: str = ""
    instance: str = ""
    peer: str = ""
    decision: str = ""
    reason: str = ""
    stub: str = Field("", description="of the sandbox, that answered, failed or delayed it")
    sandbox: str = ""
    revision: int = 0
    protocol: str = "http/1.1"
    method: str = ""
    path: str = ""
    status: int = Field(0, description="of the answer, 0 when there was none")
    grpc_status: int | None = None
    error: str = ""
    lost: bool = False
    duration_ms: float = 0.0
    first_byte_ms: float = 0.0
    request_bytes: int = 0
    response_bytes: int = 0
    request: Message | None = None
    response: Message | None = None


class TrafficPage(Reported):
    """Hops of one sandbox, the newest first. before: gets the next page, absent on the last one."""

    items: tuple[HopRecord, ...] = ()
    before: int | None = None


class TraceHop(HopRecord):
    """A hop in the tree of its trace: `depth` below its entry; `detached`: it names a parent that is not there."""

    depth: int = 0
    detached: bool = False


class Trace(Reported):
    """The hops of one trace, a call before what it caused, in the order in which they began.

    sandbox: whose key the request had; "" when it is that of a route group, which `group` names.
    """

    id: str
    sandbox: str = ""
    group: str = ""
    hops: tuple[TraceHop, ...] = ()

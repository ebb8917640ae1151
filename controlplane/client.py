"""The registry's client: typed, for whoever asks much or waits while it does other things.

    async with Client("http://127.0.0.1:7070") as registry:
        await registry.apply(sandbox)
        sandbox = await registry.wait("agent-42", seconds=30)

A command that asks one thing takes a shorter way, `controlplane.cli.registry`.

Whatever goes wrong is one exception, `RegistryError`, with the problem document: a refusal of the registry as
it said it, or a `registry-unreachable` of our own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

from controlplane.connection import Connection, RegistryError, read_items, read_model
from controlplane.model.assertion import Claim, Judged
from controlplane.model.copy_log import CopyLog
from controlplane.model.diff import Diff, DiffQuery
from controlplane.model.explanation import Explanation
from controlplane.model.feedback import Feedback
from controlplane.model.group import RouteGroup
from controlplane.model.handoff import PreviewRequest, PreviewStatus, Review
from controlplane.model.history import Differences, SpecRevision
from controlplane.model.hop import HopRecord, Trace, TrafficPage
from controlplane.model.push import Needed, Push, Pushed, PushedFile, Question
from controlplane.model.report import Report
from controlplane.model.sandbox import SETTLED, Sandbox
from controlplane.model.service_map import ServiceMap
from controlplane.model.sidecar import Sidecar, SidecarReport
from controlplane.model.stub import Stub
from controlplane.model.workload import Workload
from controlplane.rest import DEFAULT_LINES, MAX_WAIT_SECONDS
from proxy.contract.watch import Event

__all__ = ["Client", "RegistryError"]

DIFF_SECONDS = 110.0
"""For all answers of a diff, beside the time for one request."""


class Client(Connection):
    """Everything that a registry can be asked."""

    async def apply(self, sandbox: Sandbox | Mapping[str, Any]) -> Sandbox:
        """Create or update. A mapping is sent as it is, so that the registry names all that is wrong with it."""
        document = sandbox.document() if isinstance(sandbox, Sandbox) else sandbox
        metadata = document.get("metadata")
        name = metadata.get("name") if isinstance(metadata, Mapping) else None
        # A document without a usable name is sent all the same: the registry then says what is wrong with it.
        path = _segment(name) if isinstance(name, str) and name else "unnamed"
        return read_model(Sandbox, await self._call("PUT", f"/v1/sandboxes/{path}", body=document))

    async def sandbox(self, name: str) -> Sandbox:
        return read_model(Sandbox, await self._call("GET", f"/v1/sandboxes/{_segment(name)}"))

    async def sandboxes(
        self,
        *,
        owner: str = "",
        labels: Mapping[str, str] | None = None,
        description: str = "",
        workload: str = "",
    ) -> list[Sandbox]:
        """All, or those for which all of this is so; `description`: a part of it, in whichever case."""
        said = (("owner", owner), ("description", description), ("workload", workload))
        query = [(name, text) for name, text in said if text]
        query += [("label", f"{name}={value}") for name, value in (labels or {}).items()]
        return await self._pages(Sandbox, "/v1/sandboxes", query)

    async def delete(self, name: str, seconds: float = 0.0) -> Sandbox | None:
        """Remove the routes, then stop the shadows, waiting for that up to `seconds`.

        Returns None when it is gone, else the sandbox as it is being deleted.
        """
        path = f"/v1/sandboxes/{_segment(name)}"
        answer = await self._call("DELETE", path, query={"wait": _wait(seconds)}, extra=seconds)
        return None if answer is None else read_model(Sandbox, answer)

    async def wait(self, name: str, seconds: float = 60.0) -> Sandbox:
        """The sandbox as soon as its phase is settled for the revision that is wanted, or when time is over.

        The caller looks at `status.phase`: a settled sandbox may have failed, an unsettled one is still Pending.
        """
        left = seconds
        while True:
            ask = min(left, MAX_WAIT_SECONDS)
            path = f"/v1/sandboxes/{_segment(name)}"
            sandbox = read_model(Sandbox, await self._call("GET", path, query={"wait": _wait(ask)}, extra=ask))
            left -= ask
            if left <= 0 or (sandbox.status is not None and sandbox.status.phase in SETTLED):
                return sandbox

    async def revisions(self, name: str) -> list[SpecRevision]:
        """The specs that it had, as far as they are kept, the newest first."""
        return read_items(SpecRevision, await self._call("GET", f"/v1/sandboxes/{_segment(name)}/revisions"))

    async def changes(self, name: str, before: int | None = None, after: int | None = None) -> Differences:
        """What differs between two revisions' specs; without them, what its current spec has changed."""
        query = {side: str(number) for side, number in (("from", before), ("to", after)) if number is not None}
        return read_model(Differences, await self._call("GET", f"/v1/sandboxes/{_segment(name)}/changes", query=query))

    async def rollback(self, name: str, revision: int | None = None) -> Sandbox:
        """Make a new revision with an old spec: that of `revision`, or of the newest one before that has served."""
        body = {} if revision is None else {"revision": revision}
        return read_model(Sandbox, await self._call("POST", f"/v1/sandboxes/{_segment(name)}/rollback", body=body))

    async def extend(self, name: str, ttl: str) -> Sandbox:
        """Let it live so much longer than it would: `2h`."""
        body = {"ttl": ttl}
        return read_model(Sandbox, await self._call("POST", f"/v1/sandboxes/{_segment(name)}/extend", body=body))

    async def apply_group(self, group: RouteGroup | Mapping[str, Any]) -> RouteGroup:
        """Put several sandboxes under one further routing key, or change which."""
        document = group.document() if isinstance(group, RouteGroup) else group
        name = _segment(str(document["metadata"]["name"]))
        return read_model(RouteGroup, await self._call("PUT", f"/v1/groups/{name}", body=document))

    async def group(self, name: str) -> RouteGroup:
        return read_model(RouteGroup, await self._call("GET", f"/v1/groups/{_segment(name)}"))

    async def groups(self) -> list[RouteGroup]:
        return await self._pages(RouteGroup, "/v1/groups")

    async def group_feedback(self, name: str, since: str = "") -> list[Feedback]:
        """What happened to the requests with its key, as each of its sandboxes sees it."""
        query = {"since": since} if since else {}
        return read_items(Feedback, await self._call("GET", f"/v1/groups/{_segment(name)}/feedback", query=query))

    async def delete_group(self, name: str) -> None:
        """Its sandboxes go on."""
        await self._call("DELETE", f"/v1/groups/{_segment(name)}")

    async def logs(
        self, name: str, workload: str = "", lines: int = DEFAULT_LINES, *, trace: str = "", since: str = ""
    ) -> list[CopyLog]:
        """The last lines of every shadow; of one workload with those of its baseline, which is revision 0.

        trace: what every copy wrote while it served this one, baselines included. since: as `10m`.
        """
        given = {"workload": workload, "trace": trace, "since": since}
        query = {"lines": str(lines)} | {field: value for field, value in given.items() if value}
        return read_items(CopyLog, await self._call("GET", f"/v1/sandboxes/{_segment(name)}/logs", query=query))

    async def traffic(
        self,
        name: str,
        filters: Mapping[str, str] | None = None,
        limit: int = 100,
        before: int | None = None,
        *,
        group: bool = False,
    ) -> TrafficPage:
        """One page of the hops of a sandbox, the newest first.

        filters: as `GET /v1/sandboxes/NAME/traffic` has them. group: of a route group of that name instead.
        """
        query = {"limit": str(limit), **(filters or {})} | ({"before": str(before)} if before is not None else {})
        return read_model(TrafficPage, await self._call("GET", _traffic(name, group=group), query=query))

    async def follow_traffic(
        self, name: str, filters: Mapping[str, str] | None = None, after: int | None = None, *, group: bool = False
    ) -> AsyncIterator[HopRecord]:
        """The hops of a sandbox or a route group as they come, until it ends. after: those above that position."""
        headers = {"last-event-id": str(after)} if after is not None else {}
        path = f"{_traffic(name, group=group)}/stream"
        async with aclosing(self._events(path, filters or {}, headers)) as events:
            async for event in events:
                if event.name == "hop":
                    yield read_model(HopRecord, json.loads(event.data))
                elif event.name == "end":
                    return

    async def feedback(self, name: str, since: str = "") -> Feedback:
        """What happened to the requests of a sandbox. since: as `10m`; the time of its last update without."""
        path = f"/v1/sandboxes/{_segment(name)}/feedback"
        return read_model(Feedback, await self._call("GET", path, query={"since": since} if since else None))

    async def assert_routed(self, name: str, claim: Claim) -> Judged:
        """Whether requests really reached a shadow of the sandbox, with evidence."""
        path = f"/v1/sandboxes/{_segment(name)}/assertions"
        body = claim.model_dump(mode="json", by_alias=True, exclude_none=True)
        return read_model(Judged, await self._call("POST", path, body=body))

    async def push(self, name: str, push: Push, seconds: float = 60.0) -> Pushed:
        """Change files of one fork; the answer is what became of it within `seconds`, at most MAX_WAIT_SECONDS.

        While its phase is Pending the new revision is still being started: `wait` goes on from there.
        """
        path = f"/v1/sandboxes/{_segment(name)}/push"
        body = push.model_dump(mode="json", by_alias=True, exclude_none=True)
        answer = await self._call("POST", path, query={"wait": _wait(seconds)}, body=body, extra=seconds)
        return read_model(Pushed, answer)

    async def files_needed(self, name: str, question: Question) -> Needed:
        """Which of these files a sandbox has otherwise, and which contents have to be uploaded before a push."""
        path = f"/v1/sandboxes/{_segment(name)}/files"
        return read_model(Needed, await self._call("POST", path, body=question.model_dump(mode="json", by_alias=True)))

    async def upload(self, data: bytes) -> str:
        """Upload the content of a file that is about to be pushed; its digest."""
        digest = hashlib.sha256(data).hexdigest()
        await self._call("PUT", f"/v1/files/{digest}", data=data)
        return digest

    async def stubs(self, name: str) -> list[Stub]:
        """The stubs of a sandbox, in their order."""
        return read_items(Stub, await self._call("GET", f"/v1/sandboxes/{_segment(name)}/stubs"))

    async def set_stubs(self, name: str, stubs: Sequence[Stub]) -> list[Stub]:
        """Replace the stubs of a sandbox; none end them."""
        items = [stub.model_dump(mode="json", by_alias=True, exclude_none=True) for stub in stubs]
        return read_items(Stub, await self._call("PUT", f"/v1/sandboxes/{_segment(name)}/stubs", body={"items": items}))

    async def files(self, name: str, workload: str = "") -> list[PushedFile]:
        """The files in which the forks of a sandbox differ from the baseline, with their differences."""
        query = {"workload": workload} if workload else None
        return read_items(PushedFile, await self._call("GET", f"/v1/sandboxes/{_segment(name)}/files", query=query))

    async def create_preview(self, name: str, wanted: PreviewRequest) -> PreviewStatus:
        """A link into the sandbox."""
        body = wanted.model_dump(mode="json", by_alias=True, exclude_none=True)
        return read_model(
            PreviewStatus, await self._call("POST", f"/v1/sandboxes/{_segment(name)}/previews", body=body)
        )

    async def previews(self, name: str) -> list[PreviewStatus]:
        """The links that lead into it."""
        return read_items(PreviewStatus, await self._call("GET", f"/v1/sandboxes/{_segment(name)}/previews"))

    async def revoke_preview(self, name: str, preview: str) -> None:
        """preview: a link's id, or its name for all of that name."""
        await self._call("DELETE", f"/v1/sandboxes/{_segment(name)}/previews/{_segment(preview)}")

    async def reviews(self, name: str) -> list[Review]:
        """What reviewers have said about it, the oldest first."""
        return read_items(Review, await self._call("GET", f"/v1/sandboxes/{_segment(name)}/reviews"))

    async def handoff(self, name: str) -> Report:
        """What it changes, what speaks for it, and what reviewers say."""
        return read_model(Report, await self._call("GET", f"/v1/sandboxes/{_segment(name)}/report"))

    async def diff(self, name: str, query: DiffQuery) -> Diff:
        """How the shadows answer recorded requests otherwise than the baseline."""
        path = f"/v1/sandboxes/{_segment(name)}/diff"
        body = query.model_dump(mode="json", by_alias=True, exclude_none=True)
        return read_model(Diff, await self._call("POST", path, body=body, extra=DIFF_SECONDS))

    async def workload_logs(self, name: str, lines: int = DEFAULT_LINES, since: str = "") -> CopyLog:
        """The last lines of a baseline, `name` is NAMESPACE/NAME."""
        query = {"lines": str(lines)} | ({"since": since} if since else {})
        return read_model(CopyLog, await self._call("GET", f"/v1/workloads/{quote(name)}/logs", query=query))

    async def trace(self, ident: str, sandbox: str = "") -> Trace:
        """The hops of one trace, as the tree that they are."""
        query = {"sandbox": sandbox} if sandbox else None
        return read_model(Trace, await self._call("GET", f"/v1/traces/{_segment(ident)}", query=query))

    async def map(self) -> ServiceMap:
        """The services, who calls whom, how to send each a request, and who forks it now."""
        return read_model(ServiceMap, await self._call("GET", "/v1/map"))

    async def workloads(self) -> list[Workload]:
        return await self._pages(Workload, "/v1/workloads")

    async def workload(self, name: str) -> Workload:
        """`name` is NAMESPACE/NAME, as everywhere."""
        return read_model(Workload, await self._call("GET", f"/v1/workloads/{quote(name)}"))

    async def put_workload(self, workload: Workload) -> Workload:
        body = workload.model_dump(mode="json", exclude_none=True)
        return read_model(Workload, await self._call("PUT", f"/v1/workloads/{quote(workload.workload)}", body=body))

    async def delete_workload(self, name: str) -> None:
        await self._call("DELETE", f"/v1/workloads/{quote(name)}")

    async def explain(self, key: str, workload: str) -> Explanation:
        """What a sidecar of `workload` does with a request that carries `key`."""
        return read_model(Explanation, await self._call("GET", "/v1/explain", query={"key": key, "workload": workload}))

    async def sidecars(self) -> list[Sidecar]:
        return await self._pages(Sidecar, "/v1/sidecars")

    async def report(self, sidecar: str, report: SidecarReport) -> None:
        """Say what a sidecar has put to use, as it does itself."""
        body = report.model_dump(mode="json", by_alias=True)
        await self._call("PUT", f"/v1/sidecars/{_segment(sidecar)}", body=body)

    async def version(self) -> str:
        """Of the registry, "" when it does not say."""
        document = await self._call("GET", "/openapi.json")
        found = document.get("info", {}).get("version") if isinstance(document, dict) else None
        return found if isinstance(found, str) else ""

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


def _traffic(name: str, *, group: bool) -> str:
    return f"/v1/{'groups' if group else 'sandboxes'}/{_segment(name)}/traffic"


def _segment(text: str) -> str:
    return quote(text, safe="")


def _wait(seconds: float) -> str:
    return f"{min(max(seconds, 0.0), MAX_WAIT_SECONDS):.3f}s"

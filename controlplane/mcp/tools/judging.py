"""Tools that judge what happened: feedback, logs, assertions."""

from __future__ import annotations

from typing import Annotated, Any

from mcp_types import CallToolResult
from pydantic import BaseModel, ConfigDict, Field

from controlplane.asking.written import markdown
from controlplane.client import Client
from controlplane.mcp.answer import Answer, action, answered
from controlplane.mcp.arguments import Full, SandboxName, Since, WorkloadArgument
from controlplane.model.assertion import Claim, Judged
from controlplane.model.copy_log import CopyLog
from controlplane.model.diff import Diff, DiffQuery
from controlplane.model.feedback import Feedback
from controlplane.model.handoff import Review

LOG_LINES = 50

REVIEWS = 5
"""The newest that feedback tells; the resource `skycap://sandboxes/NAME/reviews` has all."""


class Told(Answer):
    """feedback: as the registry gives it, without the next actions, which stand beside it. reviews: words of people
    who have looked at it, the newest last.
    """

    feedback: Feedback
    reviews: tuple[Review, ...] = ()


class Asserted(Answer):
    judged: Judged


class Compared(Answer):
    diff: Diff


class Written(BaseModel):
    """What one copy wrote, newest line last. state: running or ended."""

    model_config = ConfigDict(frozen=True)

    workload: str
    copy_name: str = Field(description="`revision 3`, or `baseline`")
    state: str
    log: str


class Logs(Answer):
    copies: tuple[Written, ...]


class JudgingTools:
    def __init__(self, registry: Client) -> None:
        self._registry = registry

    async def get_feedback(
        self, name: SandboxName, since: Since | None = None, full: Full = False
    ) -> Annotated[CallToolResult, Told]:
        """What happened to the requests of a sandbox since its last update, why, and what to do now.

        The verdict is passing, failing, lost-key, misrouted, no-traffic or not-ready. Each failure is told by its
        origin: the service that failed first, its real answer, how that travelled back to the entry, what the copies
        printed meanwhile, and the suspect when your copy had answered well right before. Do what next_actions says. In
        reviews stands what people have said who looked at it.
        """
        found = await self._registry.feedback(name, since or "")
        said = tuple((await self._registry.reviews(name))[-REVIEWS:])
        text = "".join(f"{one.author or 'a reviewer'} ({one.verdict}): {one.text}\n" for one in said)
        text += markdown(found.model_dump(mode="json", by_alias=True, exclude_none=True) | {"nextActions": []})
        bare = found.model_copy(update={"next_actions": ()})
        answer = Told(feedback=bare, reviews=said, next_actions=found.next_actions)
        return answered(answer, text, rest=f"get_feedback of {name} with full=true; get_trace of an example", full=full)

    async def get_logs(
        self,
        name: SandboxName,
        workload: Annotated[
            WorkloadArgument | None, Field(description="of this service alone: your copy, and the baseline beside it")
        ] = None,
        trace: Annotated[
            str | None, Field(description="what every copy wrote while it served this request, baselines included")
        ] = None,
        since: Annotated[Since | None, Field(description="only the last so long: 30s, 10m, 2h")] = None,
        lines: Annotated[int, Field(ge=1, le=10_000, description="the last so many of each copy")] = LOG_LINES,
    ) -> Annotated[CallToolResult, Logs]:
        """What the copies that a sandbox runs have written to standard output and standard error, newest line last:
        those that run, and those that ended, which is where a traceback of a failed start stands. With `trace`, what
        all copies wrote that took part in that request: the cause often stands in the output of a baseline.
        """
        found = await self._registry.logs(name, workload or "", lines, trace=trace or "", since=since or "")
        answer = Logs(copies=tuple(map(_written, found)))
        text = "\n".join(
            f"== {copy.workload}, {copy.copy_name}, {copy.state}\n{copy.log.rstrip()}" for copy in answer.copies
        )
        more = "get_logs with a workload and fewer lines; with more than 50 lines the answer may be long"
        return answered(answer, text or "nothing was written", rest=more, full=lines > LOG_LINES, newest_last=True)

    async def assert_routed(
        self,
        name: SandboxName,
        workload: Annotated[WorkloadArgument, Field(description="a service that the sandbox replaces")],
        requests: Annotated[int, Field(ge=1, le=5000, description="at least so many")] = 1,
        revision: Annotated[
            int | None, Field(ge=1, description="that served; default: the one that serves now")
        ] = None,
        since: Since | None = None,
    ) -> Annotated[CallToolResult, Asserted]:
        """Whether at least so many requests really reached your copy of a service, with no fall-back to the baseline,
        no lost key and no failure: the evidence that green tests ran against your change. Call it before you say that
        something is done."""
        claim = Claim(workload=workload, requests=requests, revision=revision, since=since)
        found = await self._registry.assert_routed(name, claim)
        actions = () if found.holds else (action("get_feedback", "why not, and what to do", name=name),)
        text = f"{'holds' if found.holds else 'does not hold'}: {found.sentence}"
        text += "".join(f"\n- {said}" for said in found.objections)
        return answered(Asserted(judged=found, next_actions=actions), text, rest="get_feedback has more")

    async def diff_sandbox(
        self,
        name: SandboxName,
        workload: Annotated[WorkloadArgument | None, Field(description="one of its services; default: all")] = None,
        path: Annotated[str | None, Field(description="only requests whose path begins so")] = None,
        since: Since | None = None,
        requests: Annotated[int, Field(ge=1, le=50, description="how many different ones at most, the newest")] = 10,
    ) -> Annotated[CallToolResult, Compared]:
        """How your copy answers otherwise than the baseline: recorded requests that change nothing are sent again to
        both, and status, header fields and JSON bodies are compared field by field. What differs between two answers of
        the baseline as well is noise, and told as such. Ask it before a review: is that all that you meant to change?
        """
        query = DiffQuery(workload=workload, path=path, since=since, requests=requests)
        found = await self._registry.diff(name, query)
        lines = [found.sentence]
        for one in found.compared:
            what = [f"{item.path} {item.change.value}" for item in one.differs]
            lines.append(f"- {one.workload} {one.request}: {one.problem or ', '.join(what) or 'the same'}")
        lines += [f"- not sent again: {count}, {why}" for why, count in found.skipped.items()]
        return answered(
            Compared(diff=found), "\n".join(lines), rest="diff_sandbox with workload, path or fewer requests"
        )


def _written(copy: CopyLog) -> Written:
    told: dict[str, Any] = {"workload": copy.workload, "state": copy.state, "log": copy.log}
    return Written(**told, copy_name=f"revision {copy.revision}" if copy.revision else "baseline")

"""Tools about links: what a reviewer opens."""

from __future__ import annotations

from typing import Annotated, Literal

from mcp_types import CallToolResult
from pydantic import Field

from controlplane.asking.report import markdown
from controlplane.client import Client
from controlplane.mcp.answer import Answer, answered
from controlplane.mcp.arguments import Full, SandboxName, WorkloadArgument
from controlplane.model.handoff import PreviewName, PreviewRequest, PreviewStatus, Words
from controlplane.model.report import Report
from controlplane.model.sandbox import Ttl


class PreviewAnswer(Answer):
    """preview: `url` leads into the application as the sandbox has it, `handoff` to the page about the change."""

    preview: PreviewStatus


class Reported(Answer):
    report: Report


class Revoked(Answer):
    name: str
    preview: str


class PreviewTools:
    def __init__(self, registry: Client) -> None:
        self._registry = registry

    async def create_preview(
        self,
        name: SandboxName,
        workload: Annotated[
            WorkloadArgument | None, Field(description="where the browser enters; default: the one that no other calls")
        ] = None,
        preview: Annotated[PreviewName | None, Field(description="a name for the link; default: the service's")] = None,
        ttl: Annotated[
            Ttl | None, Field(description="how long it leads there: 30m, 4h, 7d at most. Default: as long as it may")
        ] = None,
        login: Annotated[
            Literal["token"] | None, Field(description="token: whoever follows it is asked for a second secret")
        ] = None,
        note: Annotated[Words | None, Field(description="what to look at, in your words, for the reviewer")] = None,
    ) -> Annotated[CallToolResult, PreviewAnswer]:
        """Make a link that leads a person's browser into your sandbox: they see the application with your copy in it,
        and nobody else's requests change. Hand out `handoff`, the page about the change, or `url`, the application.
        Whoever has a link gets in, until it expires or is revoked. Each call makes another link."""
        wanted = PreviewRequest(name=preview, workload=workload, ttl=ttl, login=login, note=note)
        made = await self._registry.create_preview(name, wanted)
        until = made.expires.isoformat(timespec="seconds")
        lines = [f"{made.url} leads into sandbox {name} at {made.workload}, until {until}"]
        if made.handoff:
            lines.append(f"the page about the change, for a reviewer: {made.handoff}")
        if made.password:
            lines.append(f"the second secret, told only now: {made.password}")
        return answered(PreviewAnswer(preview=made), "\n".join(lines))

    async def get_report(self, name: SandboxName, full: Full = False) -> Annotated[CallToolResult, Reported]:
        """What a sandbox changes, what speaks for it, and what reviewers say: the text of the answer is Markdown for a
        pull request. Ask it when the work is done and proved."""
        found = await self._registry.handoff(name)
        text = markdown(found.model_dump(mode="json", by_alias=True, exclude_none=True))
        return answered(Reported(report=found), text, rest=f"get_report of {name} with full=true", full=full)

    async def revoke_preview(
        self,
        name: SandboxName,
        preview: Annotated[
            str, Field(min_length=1, max_length=63, description="the link's id, or its name for all of it")
        ],
    ) -> Annotated[CallToolResult, Revoked]:
        """Let a link lead nowhere from now on: the page that it shows then tells nothing about what exists. The sandbox
        itself goes on as it is."""
        await self._registry.revoke_preview(name, preview)
        return answered(
            Revoked(name=name, preview=preview), f"the link {preview} of sandbox {name} leads nowhere any more"
        )

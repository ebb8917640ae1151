"""Tools about sandboxes: their life from the first revision to the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BaseModel, ConfigDict, Field

from controlplane.client import Client, RegistryError
from controlplane.mcp.answer import Answer, ToolError, action, answered
from controlplane.mcp.arguments import CommandArgument, RoutingKey, SandboxName, WaitSeconds, WorkloadArgument, vector
from controlplane.mcp.views import SandboxLine, SandboxView, line, state, view
from controlplane.mcp.waiting import settled
from controlplane.model.problem import FieldProblem
from controlplane.model.sandbox import Phase, Sandbox, Ttl
from controlplane.rest import API_VERSION, SANDBOX

PAGE = 20

_HOW = ("command", "endpoints", "image")
"""What decides how a copy is started."""


class ForkArgument(BaseModel):
    """One service that the sandbox replaces, and what takes its place: `command`, `endpoints` or `image`."""

    model_config = ConfigDict(extra="forbid")

    workload: WorkloadArgument
    command: CommandArgument | None = Field(
        default=None,
        description="what starts your copy; it must listen on 127.0.0.1 at the port in the environment variable PORT "
        "(${PORT} in the command works too). Everything else is as the baseline has it: environment, upstreams",
    )
    cwd: str | None = Field(
        default=None,
        description="absolute path of the folder in which the command runs; left out: the baseline's folder, so that "
        "the same command runs the unchanged sources",
    )
    env: dict[str, str] | None = Field(default=None, description="environment variables beside the baseline's")
    endpoints: list[str] | None = Field(default=None, description="HOST:PORT, where a copy that you started answers")
    image: str | None = Field(default=None, description="container image, where the environment runs in Kubernetes")


class Sandboxes(Answer):
    total: int
    sandboxes: tuple[SandboxLine, ...]


class Applied(Answer):
    """A sandbox as it is now."""

    sandbox: SandboxView


class Deleted(Answer):
    name: str
    gone: bool = Field(description="nothing of it runs any more; false: its processes are still being stopped")


class SandboxTools:
    def __init__(self, registry: Client) -> None:
        self._registry = registry

    async def list_sandboxes(
        self,
        owner: Annotated[str, Field(description="only those of this owner")] = "",
        text: Annotated[str, Field(description="only those whose name, description or workloads contain it")] = "",
        labels: Annotated[dict[str, str], Field(description="only those with all of these labels")] = {},  # noqa: B006
        offset: Annotated[int, Field(ge=0, description="leave out so many, to go on where an answer ended")] = 0,
    ) -> Annotated[CallToolResult, Sandboxes]:
        """The sandboxes that exist, whose they are, what is tried in them, and how they are doing."""
        found = [line(sandbox) for sandbox in await self._registry.sandboxes(owner=owner, labels=labels)]
        found = [item for item in found if text in " ".join((item.name, item.description or "", *item.workloads))]
        shown = found[offset : offset + PAGE]
        answer = Sandboxes(total=len(found), sandboxes=tuple(shown))
        more = f"list_sandboxes with offset={offset + PAGE}, owner or text" if len(found) > offset + PAGE else ""
        lines = [
            f"{item.name}: {item.phase}, revision {item.revision}, replaces {', '.join(item.workloads)}"
            + (f", owner {item.owner}" if item.owner else "")
            + (f": {item.description}" if item.description else "")
            for item in shown
        ]
        said = "\n".join(lines) or "there is no such sandbox" if owner or text or labels else "\n".join(lines)
        if more:
            answer = answer.model_copy(update={"omitted": f"{len(found) - offset - len(shown)} more: {more}"})
        return answered(answer, said or "there is no sandbox yet", rest=more or "get_sandbox has all of one")

    async def get_sandbox(self, name: SandboxName) -> Annotated[CallToolResult, Applied]:
        """One sandbox: its phase, what runs for each service that it replaces and at which revision, why something does
        not, when it expires."""
        found = await self._registry.sandbox(name)
        return answered(Applied(sandbox=view(found)), state(found), rest=f"get_logs of {name} has the whole output")

    async def apply_sandbox(
        self,
        name: SandboxName,
        ctx: Context[Any, Any],
        forks: Annotated[
            list[ForkArgument] | None,
            Field(description="the services to replace. Needed for a new sandbox; left out: as they are"),
        ] = None,
        routing_key: Annotated[RoutingKey | None, Field(description="only to have another than the name")] = None,
        ttl: Annotated[
            Ttl | None, Field(description="how long it lives after the last update: 90s, 30m, 4h, 7d")
        ] = None,
        on_unavailable: Annotated[
            Literal["error", "baseline"] | None,
            Field(description="what its requests get while your copy cannot be reached: error (503), or the baseline"),
        ] = None,
        capture: Annotated[
            Literal["none", "errors", "all"] | None, Field(description="whose bodies are kept. Default: of errors")
        ] = None,
        owner: Annotated[str | None, Field(description="who you are, so that others know whom to ask")] = None,
        description: Annotated[str | None, Field(description="what you try in it, in a sentence")] = None,
        labels: Annotated[dict[str, str] | None, Field(description="for whoever lists sandboxes")] = None,
        wait_seconds: WaitSeconds = 60,
    ) -> Annotated[CallToolResult, Applied]:
        """Create a sandbox, or change it: start your copy of one or more services beside the baseline, and let requests
        with the sandbox's routing key reach it. Waits until it serves, and ends in Ready or in an error that says what
        failed with the last lines of the output.

        What is left out stays as it is. An update makes a new revision under the same key, which takes over when it is
        ready; if it cannot start, the old one goes on. Send requests with send_request then.
        """
        document = await self._document(name)
        spec, metadata = document["spec"], document["metadata"]
        if forks is not None:
            before = {fork["workload"]: fork for fork in spec.get("forks", ())}
            spec["forks"] = [
                _fork(fork, before.get(fork.workload, {}), f"forks[{number}]") for number, fork in enumerate(forks)
            ]
        elif "forks" not in spec:
            said = FieldProblem(path="forks", message=f"is required: there is no sandbox {name!r} yet")
            next_step = action("list_workloads", "it tells which services can be replaced, and what they run")
            raise ToolError("invalid-arguments", "a new sandbox replaces something", [said], [next_step])
        said_spec = {"routingKey": routing_key, "ttl": ttl, "onUnavailable": on_unavailable, "capture": capture}
        spec |= {field: value for field, value in said_spec.items() if value is not None}
        said_metadata = {"owner": owner, "description": description, "labels": labels}
        metadata |= {field: value for field, value in said_metadata.items() if value is not None}
        try:
            await self._registry.apply(document)
        except RegistryError as error:
            raise _in_arguments(error) from error
        found = await settled(self._registry, name, wait_seconds, ctx)
        judge(found, wait_seconds)
        return answered(Applied(sandbox=view(found), next_actions=_ready(found)), state(found))

    async def rollback_sandbox(
        self,
        name: SandboxName,
        ctx: Context[Any, Any],
        revision: Annotated[
            int | None,
            Field(ge=1, description="whose spec to take; left out: that of the newest one before that served"),
        ] = None,
        wait_seconds: WaitSeconds = 60,
    ) -> Annotated[CallToolResult, Applied]:
        """Go back to what a sandbox was at an earlier revision, as a new revision under the same key. The last five are
        kept. Waits until it serves, as apply_sandbox does."""
        await self._registry.rollback(name, revision)
        found = await settled(self._registry, name, wait_seconds, ctx)
        judge(found, wait_seconds)
        return answered(Applied(sandbox=view(found), next_actions=_ready(found)), state(found))

    async def extend_sandbox(
        self, name: SandboxName, ttl: Annotated[Ttl, Field(description="so much longer: 90s, 30m, 4h, 7d")]
    ) -> Annotated[CallToolResult, Applied]:
        """Let a sandbox live longer than it would, when it expires before your work or its review is done. Its
        processes go on as they are."""
        found = await self._registry.extend(name, ttl)
        expires = found.status.expires.isoformat(timespec="seconds") if found.status else "later"
        return answered(Applied(sandbox=view(found)), f"sandbox {name} lives until {expires}")

    async def delete_sandbox(
        self, name: SandboxName, wait_seconds: WaitSeconds = 30
    ) -> Annotated[CallToolResult, Deleted]:
        """End a sandbox: its routes at once, then its processes. Its requests get an error from then on, never the
        baseline by mistake. Do it when your work is done."""
        left = await self._registry.delete(name, wait_seconds)
        said = "is gone" if left is None else "is being stopped, its routes are gone already"
        return answered(Deleted(name=name, gone=left is None), f"sandbox {name} {said}")

    async def _document(self, name: str) -> dict[str, Any]:
        """What is wanted of it now, or the beginning of a new one."""
        try:
            found = (await self._registry.sandbox(name)).document()
        except RegistryError as error:
            if error.status != 404:
                raise
            found = {"apiVersion": API_VERSION, "kind": SANDBOX, "metadata": {"name": name}, "spec": {}}
        found.pop("status", None)
        return found


def judge(sandbox: Sandbox, seconds: float) -> None:
    """Raises ToolError with the sentence that failed unless every fork serves what is wanted."""
    name, phase = sandbox.name, sandbox.status.phase if sandbox.status else Phase.PENDING
    logs = action("get_logs", "the whole output of what failed", f"skycap sandbox logs {name}", name=name)
    again = action("apply_sandbox", "with what is mended: the key stays the same", name=name)
    unknown = next(
        (item.message for item in (sandbox.status.conditions if sandbox.status else ())
         if item.type == "WorkloadsKnown" and item.status == "False"), "",
    )  # fmt: skip
    if phase in (Phase.FAILED, Phase.DEGRADED):
        code = "sandbox-failed" if phase is Phase.FAILED else "update-failed"
        raise ToolError(code, state(sandbox), next_actions=[again, logs])
    if phase is not Phase.READY:
        more = action("get_sandbox", "it tells when it is ready, or why it is not", name=name)
        raise ToolError("not-ready", f"not ready after {seconds:g} s: {state(sandbox)}", next_actions=[more, logs])
    if unknown:
        names = action("list_workloads", "it tells the names of the services")
        raise ToolError("unknown-workload", unknown, next_actions=[names, again])


def _ready(sandbox: Sandbox) -> tuple[Any, ...]:
    key = sandbox.routing_key
    why = "see whether it does what it should: the answer, who served, and what went wrong come together"
    return (action("send_request", why, f"skycap request {key} URL", key=key, workload=sandbox.spec.forks[0].workload),)


def _fork(fork: ForkArgument, before: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The fork as it is sent: what is left out stays as it was before, as long as it is started in the same way."""
    said: dict[str, Any] = fork.model_dump(exclude_none=True)
    if (command := vector(fork.command, f"{path}.command")) is not None:
        said["command"] = list(command)
    kinds = [{field for field in _HOW if field in one} for one in (before, said)]
    return {**before, **said} if not kinds[1] or kinds[0] == kinds[1] else said


_NAMES: Mapping[str, str] = {
    "spec.routingKey": "routing_key", "spec.onUnavailable": "on_unavailable", "spec.forks": "forks",
}  # fmt: skip


def _in_arguments(error: RegistryError) -> RegistryError:
    """The registry's refusal, with the tool's names for the fields."""
    problems = [problem.model_copy(update={"path": _path(problem.path)}) for problem in error.problems]
    return RegistryError(error.problem.model_copy(update={"problems": problems or None}))


def _path(path: str) -> str:
    for field, name in _NAMES.items():
        if path.startswith(field):
            return name + path[len(field) :]
    return path.removeprefix("spec.").removeprefix("metadata.")

"""The tool that changes files of one service: no image, no build, no restart by hand."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from controlplane.client import Client
from controlplane.mcp.answer import Answer, ToolError, action, answered
from controlplane.mcp.arguments import CommandArgument, SandboxName, WaitSeconds, WorkloadArgument, vector
from controlplane.mcp.views import state
from controlplane.mcp.waiting import settled
from controlplane.model.problem import FieldProblem, refused
from controlplane.model.push import Push, Pushed
from controlplane.model.sandbox import Phase, Sandbox


class FileArgument(BaseModel):
    """A file as it shall be: `text` or `base64` holds all of it."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(description="as seen from the service's folder, such as app.py or src/app.py", min_length=1)
    text: str | None = Field(default=None, description="its whole content")
    base64: str | None = Field(default=None, description="its whole content where that is no text")
    executable: bool | None = Field(default=None, description="it may be run. Default: as it was")


class PushAnswer(Answer):
    """What became of it. pushed: the revision that has these files, which of them changed, and the phase."""

    pushed: Pushed


class FileTools:
    def __init__(self, registry: Client) -> None:
        self._registry = registry

    async def push_files(
        self,
        name: SandboxName,
        workload: WorkloadArgument,
        ctx: Context[Any, Any],
        files: Annotated[list[FileArgument], Field(description="files that are new or different, each whole")] = [],  # noqa: B006
        diff: Annotated[
            str | None,
            Field(description="instead of files, or with them: a unified diff against what the copy has now"),
        ] = None,
        removed: Annotated[list[str], Field(description="files that shall be gone")] = [],  # noqa: B006
        build: Annotated[
            CommandArgument | None,
            Field(
                description="run in the folder before the service starts, as `npm run build`; its output is the error"
            ),
        ] = None,
        owner: Annotated[str | None, Field(description="who you are, so that others know whom to ask")] = None,
        description: Annotated[str | None, Field(description="what you try in it, in a sentence")] = None,
        wait_seconds: WaitSeconds = 60,
    ) -> Annotated[CallToolResult, PushAnswer]:
        """Change files of a service for one sandbox: the shortest way to try a change, and to mend one. The files are
        laid over the folder that the baseline runs in, which itself is never written; the service is started with them
        as a new revision under the same key. Waits until it serves, or answers with the traceback.

        Of a sandbox that does not exist yet it makes one that runs the baseline's command with your files; what you do
        not push is as the baseline has it. Send requests with send_request then.
        """
        if not (files or removed or diff or build is not None):
            problem = FieldProblem(path="files", message="say what to change: files, diff, removed or build")
            raise ToolError("invalid-arguments", "there is nothing to push", [problem])
        sent = [_sent(file, number) for number, file in enumerate(files)]
        push = _push(workload=workload, files=sent, removed=removed, diff=diff, build=vector(build, "build"))
        await ctx.report_progress(0, wait_seconds, f"pushing to {workload} of {name}")
        pushed = await self._registry.push(name, push, min(wait_seconds, 1.0))
        found = await settled(self._registry, name, wait_seconds, ctx)
        pushed = _after(pushed, found)
        _judge(pushed, found, wait_seconds)
        found = await self._describe(found, owner, description)
        key = found.routing_key
        why = "see whether it does what it should: the answer, who served, and what went wrong come together"
        steps = (action("send_request", why, f"skycap request {key} URL", key=key, workload=workload),)
        changed = ", ".join(f"{file.path} {file.change}" for file in pushed.files_changed) or "nothing differs"
        text = f"{workload} of sandbox {name}: {changed}; revision {pushed.revision} is {pushed.phase.value}, key {key}"
        return answered(
            PushAnswer(pushed=pushed, next_actions=steps), text, rest="the diff of every file: `skycap sandbox`"
        )

    async def _describe(self, sandbox: Sandbox, owner: str | None, description: str | None) -> Sandbox:
        """With what is new of this. Not of one that failed: what is applied anew is tried anew."""
        document = sandbox.document()
        said = {"owner": owner, "description": description}
        new = {field: value for field, value in said.items() if value not in (None, document["metadata"].get(field))}
        if not new:
            return sandbox
        document.pop("status", None)
        document["metadata"] |= new
        return await self._registry.apply(document)


def _sent(file: FileArgument, number: int) -> dict[str, Any]:
    if (file.text is None) == (file.base64 is None):
        problem = FieldProblem(path=f"files[{number}]", message="say what it holds with exactly one of text and base64")
        raise ToolError("invalid-arguments", "the arguments of push_files do not fit", [problem])
    return file.model_dump(exclude_none=True)


def _push(**said: Any) -> Push:
    """Raises ToolError with everything that does not fit."""
    try:
        return Push.model_validate(said)
    except ValidationError as error:
        raise ToolError(
            "invalid-arguments", "the arguments of push_files do not fit", refused(error).problems
        ) from None


def _after(pushed: Pushed, sandbox: Sandbox) -> Pushed:
    """As it is now that the registry has done what it can."""
    if sandbox.status is None:
        return pushed
    return pushed.model_copy(update={"phase": sandbox.status.phase, "failure": None})


def _judge(pushed: Pushed, sandbox: Sandbox, seconds: float) -> None:
    """Raises ToolError with the sentence that failed, and the last lines."""
    name = pushed.sandbox
    again = action("push_files", "with what is mended: the key stays the same", name=name, workload=pushed.workload)
    logs = action("get_logs", "the whole output of what failed", f"skycap sandbox logs {name}", name=name)
    if pushed.phase in (Phase.FAILED, Phase.DEGRADED):
        code = "sandbox-failed" if pushed.phase is Phase.FAILED else "update-failed"
        raise ToolError(code, state(sandbox), next_actions=[again, logs])
    if pushed.phase is not Phase.READY:
        more = action("get_sandbox", "it tells when it is ready, or why it is not", name=name)
        raise ToolError("not-ready", f"not ready after {seconds:g} s: {state(sandbox)}", next_actions=[more, logs])

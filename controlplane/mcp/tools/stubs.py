"""The tool that puts answers and faults in the way of a sandbox's own requests."""

from __future__ import annotations

from typing import Annotated

from mcp_types import CallToolResult
from pydantic import Field

from controlplane.client import Client
from controlplane.mcp.answer import Answer, answered
from controlplane.mcp.arguments import SandboxName
from controlplane.model.stub import Stub


class StubAnswers(Answer):
    """The stubs as they are now, in their order."""

    stubs: tuple[Stub, ...]


class StubTools:
    def __init__(self, registry: Client) -> None:
        self._registry = registry

    async def set_stubs(
        self,
        name: SandboxName,
        stubs: Annotated[list[Stub], Field(description="all of them, the first that matches is applied; [] ends them")],
    ) -> Annotated[CallToolResult, StubAnswers]:
        """Let requests with your sandbox's key, and no other's, get a made-up answer or a fault at a service, or at a
        host that has no sidecar: to try what your change does when something is slow, fails, or answers otherwise. They
        replace those before, start nothing anew, and show as `;stub=NAME` in who served a request.
        """
        found = await self._registry.set_stubs(name, stubs)
        said = "\n".join(f"{stub.name}: at {stub.workload or stub.host}" for stub in found)
        return answered(
            StubAnswers(stubs=tuple(found)),
            said or f"sandbox {name} has no stubs",
            rest="fewer stubs, or shorter bodies",
        )

"""A sandbox as a model reads it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from controlplane.model.sandbox import Sandbox
from proxy.contract.routes import State


class SandboxLine(BaseModel):
    """One sandbox in a list."""

    model_config = ConfigDict(frozen=True)

    name: str
    routing_key: str
    phase: str
    revision: int
    workloads: tuple[str, ...]
    owner: str | None = None
    description: str | None = None
    expires: datetime | None = None


class ForkView(BaseModel):
    """What takes the place of one service. message: why it does not serve what is wanted, with its last lines."""

    model_config = ConfigDict(frozen=True)

    workload: str
    state: str = Field(description="ready, pending (being started), or failed")
    revision: int = Field(description="that serves, or that is wanted")
    endpoints: tuple[str, ...] = ()
    message: str = ""
    command: tuple[str, ...] | None = None
    cwd: str | None = None


class SandboxView(SandboxLine):
    """phase: Ready (every fork serves what is wanted), Pending (being started), Degraded (an update failed, the
    revision before goes on), Failed (a fork serves nothing), Deleting."""

    forks: tuple[ForkView, ...]
    warnings: tuple[str, ...] = Field(default=(), description="what is not as it should be, a sentence each")


def line(sandbox: Sandbox) -> SandboxLine:
    return SandboxLine(
        name=sandbox.name,
        routing_key=sandbox.routing_key,
        phase=sandbox.status.phase.value if sandbox.status else "Pending",
        revision=sandbox.status.revision if sandbox.status else 0,
        workloads=tuple(fork.workload for fork in sandbox.spec.forks),
        owner=sandbox.metadata.owner,
        description=sandbox.metadata.description,
        expires=sandbox.status.expires if sandbox.status else None,
    )


def view(sandbox: Sandbox) -> SandboxView:
    wanted = {fork.workload: fork for fork in sandbox.spec.forks}
    status = sandbox.status
    forks = [
        ForkView(
            workload=fork.workload,
            state=fork.state.value,
            revision=fork.revision,
            endpoints=fork.endpoints,
            message=fork.message,
            command=wanted[fork.workload].command if fork.workload in wanted else None,
            cwd=wanted[fork.workload].cwd if fork.workload in wanted else None,
        )
        for fork in (status.forks if status else ())
    ]
    warnings = [
        item.message for item in (status.conditions if status else ()) if item.status != "True" and item.message
    ]
    return SandboxView(**line(sandbox).model_dump(), forks=tuple(forks), warnings=tuple(warnings))


def state(sandbox: Sandbox) -> str:
    """How it is, in one sentence and what failed."""
    status = sandbox.status
    if status is None:
        return f"sandbox {sandbox.name} is being created"
    said = [f"sandbox {sandbox.name} is {status.phase.value} at revision {status.revision}, key {sandbox.routing_key}"]
    for fork in status.forks:
        if fork.message:
            said.append(f"{fork.workload} {fork.message}")
        elif fork.state is not State.READY:
            said.append(f"{fork.workload} is {fork.state.value}")
    said += [
        item.message
        for item in status.conditions
        if item.status != "True" and item.message and item.type not in ("Ready", "RoutesInForce")
    ]
    return "; ".join(said)

"""Tools about the environment that everybody shares."""

from __future__ import annotations

from typing import Annotated

from mcp_types import CallToolResult
from pydantic import BaseModel, ConfigDict, Field

from controlplane.client import Client
from controlplane.mcp.answer import Answer, action, answered
from controlplane.mcp.arguments import Full, RoutingKey, WorkloadArgument
from controlplane.model.explanation import Explanation
from controlplane.model.service_map import Calls, Example, ForkedBy, Service


class ServiceLine(BaseModel):
    """One service in short."""

    model_config = ConfigDict(frozen=True)

    workload: str
    calls: tuple[str, ...] = Field(description="services that it calls; HOST:PORT where no sidecar answers")
    called_by: tuple[str, ...]
    example: Example | None = Field(default=None, description="a request that it answers")
    command: tuple[str, ...] = Field(default=(), description="what its baseline runs")
    cwd: str | None = Field(default=None, description="the folder in which its baseline runs: its sources are there")
    forked_by: tuple[ForkedBy, ...] = Field(default=(), description="sandboxes that replace it now")
    forkable: bool = Field(description="a baseline is registered, so that apply_sandbox can replace it by a command")


class Workloads(Answer):
    """The services of the environment."""

    total: int
    services: tuple[ServiceLine, ...]


class Explained(Answer):
    explanation: Explanation


class EnvironmentTools:
    def __init__(self, registry: Client) -> None:
        self._registry = registry

    async def list_workloads(
        self,
        workload: Annotated[str, Field(description="only those whose name contains this text")] = "",
        full: Full = False,
    ) -> Annotated[CallToolResult, Workloads]:
        """Start here. The services of this environment: what each calls and who calls it, a request that it answers,
        where its sources and its command are, and which sandboxes replace it at the moment.

        Everybody shares one running copy of every service, the baseline. To try a change you start only the service
        that you changed, as a sandbox (apply_sandbox), and send requests with its routing key (send_request): those
        reach your copy wherever that service is called, all others the baseline.
        """
        found = [service for service in (await self._registry.map()).services if workload in service.workload]
        services = tuple(_line(service) for service in found)
        answer = Workloads(total=len(found), services=services)
        text = "\n".join(_text(service) for service in found) or "no service is known yet"
        return answered(answer, text, rest="list_workloads with `workload` or with full=true", full=full)

    async def explain_route(self, key: RoutingKey, workload: WorkloadArgument) -> Annotated[CallToolResult, Explained]:
        """What the sidecar of a service does with a request that carries a routing key, why, and whether every sidecar
        has that in force already. Ask it when a request went to the baseline although your sandbox should have served.
        """
        found = await self._registry.explain(key, workload)
        actions = [] if found.known else [action("list_workloads", f"{workload} is not known: it tells the names")]
        force = "in force at every sidecar" if found.in_force else "not in force at every sidecar"
        text = f"{workload} with the key {key}: {found.decision.value}, {force}: {found.reason}"
        answer = Explained(explanation=found, next_actions=tuple(actions))
        return answered(answer, text, rest="`skycap explain` on the command line has every sidecar")


def _line(service: Service) -> ServiceLine:
    return ServiceLine(
        workload=service.workload,
        calls=tuple(map(_other, service.calls)),
        called_by=tuple(map(_other, service.called_by)),
        example=service.example,
        command=service.program,
        cwd=service.cwd,
        forked_by=service.forks,
        forkable=bool(service.program),
    )


def _other(calls: Calls) -> str:
    return calls.workload or calls.address or ""


def _text(service: Service) -> str:
    parts = [service.workload]
    if service.calls:
        parts.append(f"calls {', '.join(map(_other, service.calls))}")
    if service.called_by:
        parts.append(f"called by {', '.join(map(_other, service.called_by))}")
    if service.example:
        parts.append(f"example {service.example.method} {service.example.url or service.example.path}")
    if service.program:
        parts.append(f"runs `{' '.join(service.program)}` in {service.cwd or '?'}")
    parts += [f"forked by {fork.sandbox} (revision {fork.revision}, {fork.state.value})" for fork in service.forks]
    return "; ".join(parts)

"""What copies wrote: the shadows of a sandbox, the baselines beside them, and all that took part in one request.

A viewer sees no value of an environment variable here either: where a line repeats one, it is hidden.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aiohttp import web

from controlplane.api.access import ROLE, Role
from controlplane.api.operations import (
    FORK_FILTER,
    HIDDEN,
    LOG_LINES,
    NAMESPACE,
    REGISTRY,
    SANDBOX_NAME,
    WORKLOAD,
    Answer,
    Operation,
    Parameter,
    Values,
    json_answer,
    json_items,
)
from controlplane.api.traffic import SINCE, TRACE_ID, seconds_ago
from controlplane.asking.quoted import AFTER_SECONDS, BEFORE_SECONDS
from controlplane.life.refusals import NotFound
from controlplane.life.registry import Registry
from controlplane.model.copy_log import ALWAYS, CopyLog, Window
from controlplane.rest import DEFAULT_LINES
from proxy.contract.hops import INBOUND, Hop

HIDDEN_LENGTH = 6
"""Of a value that is hidden from a viewer, at least: a shorter one is no secret, and half of all lines have it."""

_TRACE = Parameter("trace", "query", TRACE_ID, "what each copy wrote while it served this trace, baselines included")


def operations() -> tuple[Operation, ...]:
    return (
        Operation(
            "GET", "/v1/sandboxes/{name}/logs", "getSandboxLogs",
            "The last lines that its shadows wrote; of one workload with those of its baseline, which is revision 0",
            _sandbox, {200: Answer("by fork, what runs first", CopyLog, many=True)},
            (SANDBOX_NAME, FORK_FILTER, LOG_LINES, SINCE, _TRACE), problems=(404,),
        ),
        Operation(
            "GET", "/v1/workloads/{namespace}/{name}/logs", "getWorkloadLogs", "The last lines that a baseline wrote",
            _workload, {200: Answer("the baseline, as revision 0", CopyLog)},
            (NAMESPACE, WORKLOAD, LOG_LINES, SINCE), problems=(404,),
        ),
    )  # fmt: skip


class Copy(NamedTuple):
    """What is asked of one copy: revision 0 is the baseline's."""

    workload: str
    revision: int
    window: Window


async def written(registry: Registry, sandbox: str, copy: Copy, lines: int) -> list[str]:
    """What one copy wrote in a window, [] where nobody keeps it. A copy that has died and runs again wrote both.

    sandbox: whose shadow it is, if it is one.
    """
    if not copy.revision:
        found = await baseline(registry, copy.workload, lines, copy.window)
        return found or []
    copies = await registry.sandboxes.output(sandbox, copy.workload, lines, copy.window)
    own = [each for each in reversed(copies) if each.revision == copy.revision]
    return [line for each in own for line in each.log.splitlines()][-lines:]


async def baseline(registry: Registry, workload: str, lines: int, window: Window = ALWAYS) -> list[str] | None:
    """What a baseline wrote; None where it is not registered, or nobody keeps its output."""
    definition = registry.definitions.get(workload)
    return None if definition is None else await registry.installation.baselines.lines(definition, lines, window)


def beside(hop: Hop) -> Window:
    """Within which the lines come that a copy writes for one request."""
    return Window(hop.time - BEFORE_SECONDS, hop.time + hop.duration_ms / 1000 + AFTER_SECONDS)


def masked(lines: Iterable[str], request: web.Request, secrets: Sequence[str]) -> list[str]:
    """The lines as the sender of a request may see them."""
    if request[ROLE] is not Role.VIEWER:
        return list(lines)
    return [_without(line, secrets) for line in lines]


def secrets(registry: Registry, sandbox: str, workload: str) -> list[str]:
    """The values of variables that copies of a workload were given, the longest first."""
    definition = registry.definitions.get(workload)
    values = set(definition.env.values() if definition else ())
    for fork in registry.sandboxes.get(sandbox).spec.forks if sandbox else ():
        if fork.workload == workload:
            values |= set((fork.env or {}).values())
    return sorted((value for value in values if len(value) >= HIDDEN_LENGTH), key=len, reverse=True)


def _without(line: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        line = line.replace(secret, HIDDEN)
    return line


def _shown(copy: CopyLog, request: web.Request, hidden: Sequence[str]) -> CopyLog:
    return copy.model_copy(update={"log": "\n".join(masked(copy.log.split("\n"), request, hidden))})


def _window(values: Values) -> Window:
    return Window(time.time() - seconds_ago(values["since"])) if "since" in values else ALWAYS


async def _sandbox(request: web.Request, values: Values) -> web.Response:
    registry = request.app[REGISTRY]
    name, workload = values["name"], values.get("workload", "")
    lines = int(values.get("lines", DEFAULT_LINES))
    registry.sandboxes.get(name)  # there is one
    if "trace" in values:
        found = await _of_trace(registry, name, values["trace"], workload, lines)
    else:
        found = await registry.sandboxes.output(name, workload, lines, _window(values))
        if workload:
            base = await baseline(registry, workload, lines, _window(values))
            if base is None and not found:
                why = f"sandbox {name!r} does not fork {workload}, and nobody here keeps its baseline's output"
                raise NotFound(why)
            if base is not None:
                found.append(_baseline(workload, base))
    return json_items(_shown(copy, request, secrets(registry, name, copy.workload)) for copy in found)


async def _of_trace(registry: Registry, name: str, trace: str, workload: str, lines: int) -> list[CopyLog]:
    key = registry.sandboxes.get(name).routing_key
    hops = [hop for hop in await registry.hops.trace(key, trace) if hop.side == INBOUND]
    if not hops:
        raise NotFound(f"no hop of trace {trace!r} is kept for sandbox {name!r}")
    windows: dict[tuple[str, int], Window] = {}
    for hop in hops:
        if workload in ("", hop.workload):
            one = beside(hop)
            known = windows.setdefault((hop.workload, hop.revision), one)
            windows[hop.workload, hop.revision] = Window(min(known.since, one.since), max(known.until, one.until))
    return [
        CopyLog(
            workload=of,
            revision=revision,
            state="running",
            log="\n".join(await written(registry, name, Copy(of, revision, window), lines)),
        )
        for (of, revision), window in windows.items()
    ]


async def _workload(request: web.Request, values: Values) -> web.Response:
    registry = request.app[REGISTRY]
    workload = f"{values['namespace']}/{values['name']}"
    if registry.definitions.get(workload) is None:
        raise NotFound(f"no baseline of {workload} is registered")
    lines = await baseline(registry, workload, int(values.get("lines", DEFAULT_LINES)), _window(values))
    if lines is None:
        raise NotFound(f"nobody here keeps the output of {workload}")
    return json_answer(_shown(_baseline(workload, lines), request, secrets(registry, "", workload)))


def _baseline(workload: str, lines: Sequence[str]) -> CopyLog:
    return CopyLog(workload=workload, revision=0, state="running", log="\n".join(lines))

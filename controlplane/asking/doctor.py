"""Is an environment whole, and what to do where it is not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from controlplane.asking.answer import NoAnswerError, send
from controlplane.asking.cause import why
from controlplane.model.feedback import LostKey
from controlplane.model.sandbox import Phase, Sandbox
from controlplane.model.sidecar import Sidecar
from controlplane.model.workload import Workload
from proxy.contract.routes import parse_endpoint

DIAL_SECONDS = 2.0
"""For one connection: what takes longer is not reachable as far as a caller is concerned."""

ANSWER_SECONDS = 6.0
"""For one answer: longer than the sidecar's own dial of the application, whose end it then tells."""

SILENT_SECONDS = 6.0
"""To say nothing: longer than a sidecar leaves a silent client whose application cannot be dialled."""

LOOK_AT_IT = "see what the application wrote, and that it listens where its sidecar expects it"

CLOCK_SECONDS = 3.0
"""A Date has whole seconds, and an answer takes its time."""

MAX_DIALS = 32
"""At once."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: what was looked at, what was found, and what to do when it is not good."""

    ok: bool
    subject: str
    found: str
    advice: str = ""


START_IT = "start it with `skycap proxy --registry URL`, or look into its log if it runs"
"""A sidecar of a machine that nobody hears of."""


async def examine(
    workloads: Sequence[Workload],
    sidecars: Sequence[Sidecar],
    sandboxes: Sequence[Sandbox],
    *,
    cluster: bool = False,
) -> list[Check]:
    """Every check of what a registry knows, in the order in which a person should act on them.

    Dials the sidecar of every workload. cluster: whose workloads nobody registers, and whose pods start sidecars.
    """
    checks = []
    start = "see the log of the container skycap-proxy in its pods" if cluster else START_IT
    if not workloads and not cluster:
        advice = "start an environment with `skycap up FILE`"
        checks.append(Check(True, "workloads", "none is registered", advice))
    dials = asyncio.Semaphore(MAX_DIALS)
    reachable = await asyncio.gather(*(_reach(workload, dials) for workload in workloads))
    for workload, check in zip(workloads, reachable, strict=True):
        own = [sidecar for sidecar in sidecars if sidecar.workload == workload.workload]
        checks += [check, _sync(workload.workload, own, start)]
    known = {workload.workload for workload in workloads}
    for name in sorted({sidecar.workload for sidecar in sidecars} - known):
        checks.append(_sync(name, [sidecar for sidecar in sidecars if sidecar.workload == name], start))
    return checks + [_serving(sandbox) for sandbox in sandboxes]


def versions(own: str, registry: str, sidecars: Iterable[Sidecar]) -> list[Check]:
    """Whether command line, registry and sidecars are of versions that work together: one minor version apart at most.

    own, registry: of this program, and of the registry; "" when it does not say.
    """
    checks = []
    if registry and _apart(own, registry) > 0:
        far = _apart(own, registry) > 1
        found = f"this is version {own}, the registry is {registry}"
        checks.append(Check(not far, "registry", found, "install the same version" if far else ""))
    others: dict[tuple[str, str], list[str]] = {}
    for sidecar in sidecars:
        if sidecar.connected and sidecar.version and registry and _apart(sidecar.version, registry) > 0:
            others.setdefault((sidecar.workload, sidecar.version), []).append(sidecar.id)
    for (workload, version), ids in others.items():
        far = _apart(version, registry) > 1
        found = f"version {version} beside a registry of {registry}: {', '.join(ids)}"
        advice = "start these sidecars anew with a version that is one minor version apart at most" if far else ""
        checks.append(Check(not far, workload, found, advice))
    return checks


def _apart(one: str, other: str) -> int:
    """How many minor versions; another major one is 100 of them. 0 for what is no version."""
    found = [re.match(r"([0-9]+)\.([0-9]+)", version) for version in (one, other)]
    if found[0] is None or found[1] is None:
        return 0
    numbers = [int(match[1]) * 100 + int(match[2]) for match in found if match is not None]
    return abs(numbers[0] - numbers[1])


def clock(told: str, now: float) -> list[Check]:
    """Whether the registry's clock, as the Date of an answer, is that of this machine. now: seconds since 1970."""
    try:
        there = parsedate_to_datetime(told).timestamp()
    except ValueError:
        return []
    apart = abs(there - now)
    if apart <= CLOCK_SECONDS:
        return []
    found = f"its clock and that of this machine are {apart:.0f} s apart, by which logs and requests do not match"
    return [Check(False, "registry", found, "let both follow a time server (timedatectl set-ntp true)")]


def ports(workloads: Iterable[Workload]) -> list[Check]:
    """Whether two workloads are registered at one address, where only one of them can listen."""
    at: dict[str, list[str]] = {}
    for workload in workloads:
        at.setdefault(workload.address, []).append(workload.workload)
    return [
        Check(
            False,
            names[0],
            f"{address} is registered for {' and '.join(names)}: callers of one reach the other",
            "register each with the address of its own sidecar",
        )
        for address, names in at.items()
        if len(names) > 1
    ]


def lost_keys(sandbox: str, lost: Iterable[LostKey]) -> list[Check]:
    """A check for each pair of workloads between which requests of a sandbox may have lost its key."""
    return [
        Check(
            False,
            f"sandbox {sandbox}",
            f"{each.workload} may lose the key when it calls {each.calling}: {each.count} times, as in {each.example}",
            each.todo.rstrip("."),
        )
        for each in lost
    ]


def _serving(sandbox: Sandbox) -> Check:
    """Whether a sandbox serves what was last applied, and which of its forks does not."""
    subject = f"sandbox {sandbox.name}"
    if sandbox.status is None:
        return Check(True, subject, Phase.PENDING.value)
    phase = sandbox.status.phase
    if phase not in {Phase.FAILED, Phase.DEGRADED}:
        told = {condition.type: condition for condition in sandbox.status.conditions}
        known, reached = told.get("WorkloadsKnown"), told.get("EndpointsReachable")
        if known is not None and known.status == "False":
            advice = f"correct the workload in sandbox {sandbox.name}, or start its baseline or a sidecar of it"
            return Check(False, subject, f"{phase.value}, and {known.message}", advice)
        unseen = reached is not None and reached.status == "Unknown" and phase is Phase.READY
        return Check(True, subject, f"{phase.value}; {reached.message}" if reached and unseen else phase.value)
    said = [
        f"{fork.workload}: {fork.message.splitlines()[0]}"  # what follows is its output: `sandbox logs`
        for fork in sandbox.status.forks
        if fork.message
    ]
    serves = "an earlier revision goes on serving" if phase is Phase.DEGRADED else "its requests are not served"
    advice = f"see `skycap sandbox logs {sandbox.name}`, then apply it again, or delete it"
    return Check(False, subject, f"{phase.value}: {'; '.join(said) or serves}", advice)


def _sync(workload: str, sidecars: Sequence[Sidecar], start: str) -> Check:
    connected = [sidecar for sidecar in sidecars if sidecar.connected]
    behind = [sidecar for sidecar in connected if not sidecar.in_sync]
    if not connected:
        return Check(False, workload, "no sidecar is connected, so its routes are in force nowhere", start)
    if behind:
        far = ", ".join(f"{item.id} ({item.applied_revision} of {item.sent_revision})" for item in behind)
        return Check(False, workload, f"behind the registry: {far}", "look again, then restart that sidecar")
    count = f"{len(connected)} sidecars are" if len(connected) > 1 else "its sidecar is"
    return Check(True, workload, f"{count} in sync")


async def _reach(workload: Workload, dials: asyncio.Semaphore) -> Check:
    """Whether the application answers, asked by the way that its callers take: through its sidecar."""
    path = workload.readiness.path
    async with dials:
        return await (_listen(workload) if path is None else _ask(workload, path))


async def _listen(workload: Workload) -> Check:
    """Connect and say nothing: nobody has said what the application speaks, and HTTP is an attack to some.

    A sidecar dials the application for a client that stays silent, and ends the client's connection when it cannot.
    """
    name, address = workload.workload, workload.address
    endpoint = parse_endpoint(address)
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    except (OSError, TimeoutError) as error:
        return _unreachable(workload, why(error))
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            greeting = await reader.read(1)
    except TimeoutError:
        unasked = "without a readiness path nobody can tell whether the application answers"
        return Check(True, name, f"{address} accepts connections; {unasked}")
    except OSError:
        greeting = b""
    finally:
        writer.transport.abort()
    if greeting:
        return Check(True, name, f"the application behind {address} speaks first")
    found = f"{address} accepts connections and closes them: the application behind it does not answer"
    return Check(False, name, found, LOOK_AT_IT)


async def _ask(workload: Workload, path: str) -> Check:
    """One request without a key to the path that tells readiness."""
    name, address = workload.workload, workload.address
    try:
        answer = await send("GET", f"http://{address}{path}", seconds=ANSWER_SECONDS)
    except NoAnswerError as error:
        if error.connected:
            found = f"{address} accepts connections, but GET {path} gets no answer"
            return Check(False, name, found, LOOK_AT_IT)
        return _unreachable(workload, error.reason)
    if answer.error:
        found = f"the sidecar at {address} answers, and the application behind it does not: {answer.error}"
        return Check(False, name, found, LOOK_AT_IT)
    if answer.status >= 400:
        found = f"the application behind {address} answers GET {path} with {answer.status}"
        return Check(False, name, found, LOOK_AT_IT)
    return Check(True, name, f"the application behind {address} answers")


def _unreachable(workload: Workload, reason: str) -> Check:
    advice = "its sidecar does not listen there: start it, or correct the address"
    return Check(False, workload.workload, f"{workload.address} cannot be reached: {reason}", advice)

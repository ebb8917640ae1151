"""A thousand injected pods and a thousand Sandboxes, and the leader killed among them.

The API server, its controllers, the webhook, the control plane and the sidecars' feed clients are the real ones; the
pods are on a node of paper (`tests/kubernetes/paper.py`) and run nothing. From a change to the last sidecar of its
workload:

    created    the Sandbox is sent to the API server -> its key is held
    switched   the API server is told that the new revision's pod is ready -> the key leads there
    deleted    the deletion is sent -> the key leads nowhere

All of it has a deadline (BUDGET_SECONDS). A route that is lost, or leads to another's pod, is no figure but an error.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError, WrongAnswer
from controlplane.kubernetes.client import Kubernetes, Object, path
from controlplane.kubernetes.examination import has_sidecar
from proxy.base.tasks import Tasks
from tests.controlplane.eventually import eventually
from tests.kubernetes.documents import service
from tests.kubernetes.installation import SYSTEM, Installation
from tests.kubernetes.leader import Spent, spent
from tests.kubernetes.paper import PLACE, PaperNode

SPACE = "fleet"
WORKLOADS, PODS, SANDBOXES, FIRST = 50, 1000, 1000, 100
"""FIRST: of the Sandboxes, at once on FIRST_ON workloads."""
FIRST_ON = 20

CHANGES, PACE_SECONDS = 60, 1.0
"""Rounds of one Sandbox created, one changed and one deleted; a round's begin after the one before."""

DISTURBED = 15
"""Rounds more, with the leader killed at their beginning."""

BUDGET_SECONDS = 1500.0

CHANGE_SECONDS, REQUESTS, TAKE_OVER_SECONDS, CORES, MEGABYTES = 0.5, 10.0, 5.0, 1.0, 400.0
"""The targets."""

AT_ONCE = 32
"""Requests of ours to the API server."""

_SANDBOXES = path("skycap.dev/v1alpha1", "sandboxes")
_LEASES = path("coordination.k8s.io/v1", "leases", namespace=SYSTEM)

Row = Callable[..., dict[str, Any]]


@dataclass
class Wanted:
    """A Sandbox as it should be. workload: the number of the one that it forks."""

    name: str
    workload: int
    revision: int = 1

    def document(self) -> Object:
        fork = {"workload": f"{SPACE}/w{self.workload}", "image": f"paper:{self.revision}"}
        metadata = {"name": self.name}
        spec = {"ttl": "2h", "forks": [fork]}
        return {"apiVersion": "skycap.dev/v1alpha1", "kind": "Sandbox", "metadata": metadata, "spec": spec}


@dataclass
class Told:
    """What the feeds have told: when the last of a workload had it, `time.monotonic_ns()`."""

    last: dict[tuple[str, str, str, int], int] = field(default_factory=dict)
    """By workload, key, state and revision."""
    up: int = 0
    """When all were connected and up to date; 0 while they are not."""
    tables: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self, lines: AsyncIterator[bytes]) -> None:
        async for line in lines:
            said = json.loads(line)
            async with self.news:
                if "what" in said:
                    workload, key, state, revision, _ = said["what"]
                    self.last[workload, key, state, revision] = said["last"]
                elif "tables" in said:
                    self.tables.put_nowait(said)
                else:
                    self.up = said["at"] if "up" in said else 0
                self.news.notify_all()

    async def until(self, reached: Callable[[], object]) -> None:
        async with self.news:
            await self.news.wait_for(reached)


class Fleet:
    def __init__(self, kubernetes: Kubernetes, installed: Installation, node: PaperNode, told: Told) -> None:
        self._kubernetes = kubernetes
        self._installed = installed
        self._node = node
        self._told = told
        self._slots = asyncio.Semaphore(AT_ONCE)
        self.wanted: dict[str, Wanted] = {}
        self.deleted: set[str] = set()

    async def workloads(self) -> int:
        """All of them with their pods. Returns how many of those have a sidecar."""
        labels = {"skycap.dev/inject": "enabled"}
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE, "labels": labels}}
        await self._kubernetes.create(path("v1", "namespaces"), space)
        await asyncio.gather(*(self._workload(number) for number in range(WORKLOADS)))
        await eventually(lambda: len(self._node.ready) >= PODS, BUDGET_SECONDS)
        return sum(has_sidecar(pod) for pod in self._node.pods())

    async def _workload(self, number: int) -> None:
        container = {"name": "app", "image": "paper", "ports": [{"name": "http", "containerPort": 8080}]}
        deployment, its_service = service(
            f"w{number}", SPACE, {"spec": {**PLACE, "containers": [container]}}, {80: "http"}
        )
        deployment["spec"]["replicas"] = PODS // WORKLOADS
        await self._kubernetes.create(path("v1", "services", namespace=SPACE), its_service)
        await self._kubernetes.create(path("apps/v1", "deployments", namespace=SPACE), deployment)

    # -- changes ------------------------------------------------------------------------------------------------------

    async def create(self, wanted: Wanted) -> int:
        """Returns when it was sent, as all of these."""
        self.wanted[wanted.name] = wanted
        async with self._slots:
            return await self._sent(lambda: self._kubernetes.create(_SANDBOXES, wanted.document()))

    async def change(self, wanted: Wanted) -> int:
        wanted.revision += 1
        spec = wanted.document()["spec"]
        return await self._sent(lambda: self._kubernetes.merge(f"{_SANDBOXES}/{wanted.name}", {"spec": spec}))

    async def delete(self, wanted: Wanted) -> int:
        del self.wanted[wanted.name]
        self.deleted.add(wanted.name)
        return await self._sent(lambda: self._kubernetes.delete(f"{_SANDBOXES}/{wanted.name}"))

    async def _sent(self, request: Callable[[], Awaitable[object]]) -> int:
        began = time.monotonic_ns()
        await request()
        return began

    # -- what has become of them --------------------------------------------------------------------------------------

    async def last(self, wanted: Wanted, state: str, revision: int) -> int:
        """When the last sidecar of its workload had it."""
        at = (f"{SPACE}/w{wanted.workload}", wanted.name, state, revision)
        await self._told.until(lambda: at in self._told.last)
        return self._told.last[at]

    async def serving(self, some: Iterable[Wanted]) -> None:
        for wanted in some:
            await self.last(wanted, "ready", wanted.revision)

    def pod_ready(self, wanted: Wanted) -> int:
        """When the API server was told that the pod of its revision is ready."""
        prefix = f"w{wanted.workload}-{wanted.name}-{wanted.revision}-"
        (found,) = (at for (_, name), at in self._node.ready.items() if name.startswith(prefix))
        return found

    async def spent(self) -> Spent:
        return await asyncio.to_thread(spent, self._installed)

    async def killed(self) -> tuple[float, float]:
        """Kill the leader. Returns after how many seconds another one leads, and all feeds are up to date again."""
        before = await asyncio.to_thread(self._installed.leader)
        pids = _processes(before)
        began = time.monotonic()
        for pid in pids:  # it has no time to give its Lease back, and does not come again under its name
            os.kill(pid, signal.SIGKILL)
        command = ["-n", SYSTEM, "delete", "pod", before, "--grace-period=0", "--force", "--wait=false"]
        await asyncio.to_thread(self._installed.kubectl, *command)
        query = {"fieldSelector": "metadata.name=skycap", "timeoutSeconds": "120"}
        leads = 0.0
        async for _, lease in self._kubernetes.watch(_LEASES, **query):
            if (lease.get("spec") or {}).get("holderIdentity", before) not in ("", before):
                leads = time.monotonic() - began
                break
        if not leads:
            raise WrongAnswer("nobody leads, 120 s after the leader was killed")
        await self._told.until(lambda: self._told.up > began * 1e9)
        return leads, self._told.up / 1e9 - began

    def check(self, said: dict[str, Any]) -> None:
        """Every feed has every route, and each leads to the pod of its own Sandbox. Raises WrongAnswer."""
        if said["differ"]:
            raise WrongAnswer(f"sidecars of one workload have other routes than each other: {said['differ']}")
        lost = [key for key in said["gone"] if key not in self.deleted]
        if lost:
            raise WrongAnswer(f"sidecars have lost routes of Sandboxes that are there: {lost[:5]}")
        pods = {address: name for (_, name), address in self._node.addresses.items()}
        found = {(table, key): what for table, routes in said["tables"].items() for key, what in routes.items()}
        if len(found) != len(self.wanted):
            raise WrongAnswer(f"{len(found)} routes are in force, of {len(self.wanted)} Sandboxes")
        for wanted in self.wanted.values():
            state, revision, endpoint = found[f"{SPACE}/w{wanted.workload}", wanted.name]
            pod = pods.get(endpoint.partition(":")[0], "")
            right = pod.startswith(f"w{wanted.workload}-{wanted.name}-{wanted.revision}-")
            if (state, revision) != ("ready", wanted.revision) or not right:
                raise WrongAnswer(f"{wanted} is {state}, revision {revision}, and led to {pod or 'nobody'}")


async def measure(kubernetes: Kubernetes, installed: Installation, row: Row) -> list[dict[str, Any]]:
    """The rows of the table. Raises BenchmarkError."""
    try:
        async with asyncio.timeout(BUDGET_SECONDS):
            return await _measure(kubernetes, installed, row)
    except TimeoutError:
        raise BenchmarkError(f"the fleet is not done after {BUDGET_SECONDS:g} s") from None


async def _measure(kubernetes: Kubernetes, installed: Installation, row: Row) -> list[dict[str, Any]]:
    tasks = Tasks("fleet")
    node = PaperNode(kubernetes, tasks)
    try:
        await node.up()
        async with _feeds(installed, tasks) as (told, child):
            fleet = Fleet(kubernetes, installed, node, told)
            injected = await fleet.workloads()
            _say(f"{injected} of {PODS} pods are injected")
            await told.until(lambda: told.up)
            rows = await _begun(fleet, row)
            samples = await _changes(fleet, tasks, rows, row)
            leads, whole = await _disturbed(fleet, tasks)
            assert child.stdin is not None
            child.stdin.write(b"\n")
            fleet.check(await told.tables.get())
    finally:
        await tasks.close()
    high = sorted(samples)[int(len(samples) * 0.99) - 1]
    return [
        *rows,
        row(f"{injected} injected pods, {SANDBOXES} Sandboxes: route change, p99 of {len(samples)}", high, "s",
            CHANGE_SECONDS),
        row("... median", sorted(samples)[len(samples) // 2], "s"),
        row("the leader killed among them: another one leads after", leads, "s", TAKE_OVER_SECONDS),
        row(f"... all {PODS} sidecars are up to date again after; none has lost a route", whole, "s"),
    ]  # fmt: skip


@asynccontextmanager
async def _feeds(installed: Installation, tasks: Tasks) -> AsyncIterator[tuple[Told, asyncio.subprocess.Process]]:
    token = installed.folder / "fleet-token"
    token.write_text(installed.token())
    url = f"http://{installed.address('skycap', SYSTEM)}:7070"
    command = [sys.executable, "-m", "benchmarks.load.fleet", url, str(token), SPACE, str(WORKLOADS), str(PODS)]
    child = await asyncio.create_subprocess_exec(
        *command, stdin=-1, stdout=-1, cwd=Path(__file__).parents[1], limit=64 << 20
    )
    told = Told()
    assert child.stdout is not None
    tasks.spawn(told.read(child.stdout), "the feeds' words")
    try:
        yield told, child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def _begun(fleet: Fleet, row: Row) -> list[dict[str, Any]]:
    """The first hundred at once, and the rest."""
    first = [Wanted(f"s{number}", number % FIRST_ON) for number in range(FIRST)]
    rest = [Wanted(f"s{number}", number % WORKLOADS) for number in range(FIRST, SANDBOXES)]
    rows = []
    for some in (first, rest):
        before, began = await fleet.spent(), time.monotonic()
        await asyncio.gather(*map(fleet.create, some))
        await fleet.serving(some)
        took, after = time.monotonic() - began, await fleet.spent()
        _say(f"{len(some)} Sandboxes serve after {took:.1f} s")
        where = f"{len(some)} Sandboxes at once"
        requests = (after.requests - before.requests) / len(some)
        targets = (CORES, MEGABYTES) if some is first else (None, None)
        rows.append(row(f"{where}: all serve after", took, "s"))
        if after.process != before.process:
            _say("another one leads than before: what both have used is not known")
            continue
        rows += [
            row("... control plane, cores", (after.seconds - before.seconds) / took, "", targets[0]),
            row("... control plane, memory at most", after.peak, "MiB", targets[1]),
            row("... requests to the API server for each", requests, "", REQUESTS),
        ]
    return rows


async def _changes(fleet: Fleet, tasks: Tasks, rows: list[dict[str, Any]], row: Row) -> list[float]:
    """Seconds of each change, from its cause to the last sidecar."""
    before = await fleet.spent()
    rounds = []
    for number in range(CHANGES):
        rounds.append(tasks.begin(_round(fleet, number), f"round {number}"))
        await asyncio.sleep(PACE_SECONDS)
    samples = [seconds for each in await asyncio.gather(*rounds) for seconds in each]
    after = await fleet.spent()
    _say(f"{len(samples)} changes are measured")
    if after.process == before.process:
        rows.append(row("a Sandbox created, changed or deleted: requests to the API server",
                        (after.requests - before.requests) / len(samples), "", REQUESTS))  # fmt: skip
    return samples


async def _round(fleet: Fleet, number: int) -> list[float]:
    """One Sandbox changes, one goes, one comes."""
    changed, gone = fleet.wanted[f"s{number}"], fleet.wanted[f"s{SANDBOXES - 1 - number}"]
    new = Wanted(f"n{number}", number % WORKLOADS)
    _, deleted, created = await asyncio.gather(fleet.change(changed), fleet.delete(gone), fleet.create(new))
    over = [
        await fleet.last(gone, "gone", 0) - deleted,
        await fleet.last(new, "pending", 1) - created,
        await fleet.last(changed, "ready", changed.revision) - fleet.pod_ready(changed),
    ]
    await fleet.last(new, "ready", 1)
    return [nanoseconds / 1e9 for nanoseconds in over]


async def _disturbed(fleet: Fleet, tasks: Tasks) -> tuple[float, float]:
    """Changes while nobody leads: each of them happens all the same."""
    killing = tasks.begin(fleet.killed(), "the leader killed")
    changed = [fleet.wanted[f"s{CHANGES + number}"] for number in range(DISTURBED)]
    for wanted in changed:
        await fleet.change(wanted)
        await asyncio.sleep(PACE_SECONDS / 2)
    took = await killing
    _say(f"another one leads after {took[0]:.1f} s")
    await fleet.serving(changed)
    return took


def _processes(pod: str) -> list[int]:
    """Of a pod of the control plane. Raises WrongAnswer when there are none."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit() and f"SKYCAP_POD_NAME={pod}".encode() in (folder / "environ").read_bytes().split(
                b"\0"
            ):
                found.append(int(folder.name))
    if not found:
        raise WrongAnswer(f"no process of the pod {pod!r} is found")
    return found


def _say(text: str) -> None:
    print(f"fleet: {text}", file=sys.stderr, flush=True)

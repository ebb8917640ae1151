"""A hundred Sandboxes at once on twenty workloads, on the real API server, with the installed control plane.

Their pods are on a node of paper (`paper.py`); each workload has a reader of its route watch, as its sidecars are.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import aiohttp

from controlplane.kubernetes.client import Kubernetes, Object
from controlplane.kubernetes.credentials import find
from proxy.base.tasks import Tasks
from tests.controlplane.eventually import eventually
from tests.kubernetes.documents import service
from tests.kubernetes.installation import SYSTEM, Installation
from tests.kubernetes.leader import spent
from tests.kubernetes.paper import PLACE, PaperNode

SPACE = "fleet"
WORKLOADS = 20
SANDBOXES = 100
REQUESTS = 10
"""To the API server, of one change of one Sandbox."""
MEGABYTES = 400.0
"""Of the control plane that leads."""


class Reader:
    """A sidecar's route watch of one workload, acknowledged as it is applied."""

    def __init__(self, session: aiohttp.ClientSession, workload: str) -> None:
        self._session = session
        self.workload = workload
        self.table: dict[str, Object] = {}
        self.history: list[Object] = []

    async def run(self) -> None:
        query = {"workload": self.workload, "sidecar": self.workload.replace("/", "-")}
        kind, number = "", "0"
        limits = aiohttp.ClientTimeout(total=None)
        async with self._session.get("/v1/watch/routes", params=query, timeout=limits) as answer:
            async for line in answer.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "id":
                    number = value
                elif name == "data":
                    self._take(kind, json.loads(value))
                elif not line.strip() and kind in ("put", "delete", "synced"):
                    report = {"workload": self.workload, "appliedRevision": int(number)}
                    (await self._session.put(f"/v1/sidecars/{query['sidecar']}", json=report)).release()

    def _take(self, kind: str, document: Object) -> None:
        if kind == "put":
            self.table[document["key"]] = document
            self.history.append(document)
        elif kind == "delete":
            self.table.pop(document["key"], None)


def workloads() -> list[Object]:
    documents: list[Object] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}]
    for number in range(WORKLOADS):
        container = {"name": "app", "image": "paper", "ports": [{"name": "http", "containerPort": 8080}]}
        template = {"spec": {**PLACE, "containers": [container]}}
        made = service(f"w{number}", SPACE, template, {80: "http"})
        made[0]["spec"]["replicas"] = 0  # a baseline without pods can be forked all the same
        documents += made
    return documents


def sandboxes(version: str) -> str:
    items = []
    for number in range(SANDBOXES):
        fork = {"workload": f"{SPACE}/w{number % WORKLOADS}", "image": f"paper:{version}"}
        document = {"apiVersion": "skycap.dev/v1alpha1", "kind": "Sandbox", "metadata": {"name": f"s{number}"}}
        items.append({**document, "spec": {"ttl": "1h", "forks": [fork]}})
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


@asynccontextmanager
async def fleet(installed: Installation) -> AsyncIterator[tuple[PaperNode, list[Reader]]]:
    installed.kubectl("apply", "-f", "-", given="\n---\n".join(map(json.dumps, workloads())))
    tasks = Tasks("fleet")
    kubernetes = Kubernetes(find({"KUBECONFIG": str(installed.node.kubeconfig)}))
    node = PaperNode(kubernetes, tasks)
    url = f"http://{installed.address('skycap', SYSTEM)}:7070"
    signed = {"authorization": f"Bearer {installed.token()}"}
    async with aiohttp.ClientSession(url, headers=signed, connector=aiohttp.TCPConnector(limit=0)) as session:
        readers = [Reader(session, f"{SPACE}/w{number}") for number in range(WORKLOADS)]
        try:
            await node.up()
            for reader in readers:
                tasks.spawn(reader.run(), f"reader of {reader.workload}")
            yield node, readers
        finally:
            await tasks.close()
            await node.down()
            await kubernetes.close()
            installed.kubectl("delete", "namespace", SPACE, "--timeout=120s")


def right(node: PaperNode, readers: list[Reader], revision: int) -> bool:
    """Every key leads to the pod of its own Sandbox and revision, at its own workload, and to nothing else."""
    pods = {address: name for (_, name), address in node.addresses.items()}
    for number in range(SANDBOXES):
        reader, name = readers[number % WORKLOADS], f"s{number}"
        route = reader.table.get(name)
        if route is None or (route["state"], route["revision"], route["sandbox"]) != ("ready", revision, name):
            return False
        pod = pods.get(route["endpoints"][0].partition(":")[0], "")
        assert pod == "" or pod.startswith(f"w{number % WORKLOADS}-{name}-"), f"{name} is led to {pod}"
        if not pod.startswith(f"w{number % WORKLOADS}-{name}-{revision}-"):
            return False
    return all(len(reader.table) == SANDBOXES // WORKLOADS for reader in readers)


async def test_a_hundred_at_once(installed: Installation) -> None:
    async with fleet(installed) as (node, readers):
        loop = asyncio.get_running_loop()
        told = []
        for revision, version in ((1, "a"), (2, "b")):
            before, began = spent(installed), loop.time()
            await asyncio.to_thread(_apply, installed, sandboxes(version))
            await eventually(partial(right, node, readers, revision), 240)
            took, after = loop.time() - began, spent(installed)
            cores = (after.seconds - before.seconds) / took
            requests = (after.requests - before.requests) / SANDBOXES
            figures = f"{took:.1f} s, {cores:.2f} cores, {after.peak:.0f} MiB, {requests:.1f} requests each"
            told.append(f"revision {revision}: {figures}")
            assert after.peak <= MEGABYTES, told
            assert requests <= REQUESTS, told
        print("\n".join(told))
        installed.kubectl("delete", "sandboxes", "--all", "--timeout=120s")
        await eventually(lambda: all(not reader.table for reader in readers), 60)


def _apply(installed: Installation, documents: str) -> None:
    with installed.node.inside():
        installed.kubectl("apply", "--server-side", "-f", "-", given=documents)

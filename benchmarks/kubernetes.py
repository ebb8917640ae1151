"""`python -m benchmarks kubernetes [PART]...`: what Skycap adds to a cluster, on a real node of this machine.

    start      Sandbox created -> first keyed request that the shadow answers, beside the pod's own start
    told       a shadow's pod is evicted -> the Sandbox's status says so
    admission  100 pods at once: what the API server measures of the webhook, and of requests with and without it
    sidecar    idle memory of the injected sidecars; what they add to a pod's start
    fleet      a thousand injected pods and a thousand Sandboxes, the leader killed among them (`fleet.py`): ten minutes

Times are those of this process, which watches the API server and sends requests over kept connections. The node is the
one of `tests/kubernetes/cluster`, with the compiled image.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import fleet
from benchmarks.errors import BenchmarkError
from controlplane.kubernetes.client import Kubernetes, Object, path
from controlplane.kubernetes.credentials import find
from tests.kubernetes.cluster import programs
from tests.kubernetes.cluster.images import SKYCAP, build_base, build_pause, build_skycap
from tests.kubernetes.cluster.node import Node, NodeError
from tests.kubernetes.installation import Installation, users

SANDBOXES, PODS_AT_ONCE, STARTS = 5, 100, 5

OVER_SECONDS, TOLD_SECONDS, ADMISSION_SECONDS, MEMORY_MIB, ADDED_SECONDS = 0.5, 2.0, 0.05, 40.0, 1.0
"""The targets."""

HOOK = "apiserver_admission_webhook_admission_duration_seconds_bucket"


def main() -> None:
    if why := programs.why_not():
        print(f"kubernetes: skipped: no node can be started here: {why}")
        return
    programs.build()
    build_base()
    node = Node([build_pause(), build_skycap()], tied=True)
    try:
        node.up()
        with tempfile.TemporaryDirectory() as folder, node.inside():
            installed = Installation(node, Path(folder))
            installed.install()
            measured = asyncio.run(_measure(installed))
    except (NodeError, BenchmarkError) as error:
        sys.exit(f"kubernetes: {error}")
    finally:
        node.down()
    print(json.dumps(measured, indent=1) if "json" in sys.argv else _table(measured))


async def _measure(installed: Installation) -> list[dict[str, Any]]:
    kubernetes = Kubernetes(find({**os.environ, "KUBECONFIG": str(installed.node.kubeconfig)}))
    try:
        parts = {
            "start": lambda: _starts(kubernetes, installed),
            "told": lambda: _told(kubernetes),
            "admission": lambda: _admission(kubernetes),
            "sidecar": lambda: _sidecars(kubernetes),
            "fleet": lambda: fleet.measure(kubernetes, installed, _row),
        }
        wanted = [part for part in parts if part in sys.argv] or list(parts)
        return [row for part in wanted for row in await parts[part]()]
    finally:
        await kubernetes.close()


# -- Sandbox -> first keyed request -----------------------------------------------------------------------------------


async def _starts(kubernetes: Kubernetes, installed: Installation) -> list[dict[str, Any]]:
    url = f"http://{installed.address('users')}/users/ada"
    own, over = [], []
    for number in range(SANDBOXES):
        name = f"start-{number}"
        document: Object = {
            "apiVersion": "skycap.dev/v1alpha1",
            "kind": "Sandbox",
            "metadata": {"name": name},
            "spec": {"ttl": "1h", "forks": [users("users_v2")]},
        }
        began = time.monotonic()
        await kubernetes.create(path("skycap.dev/v1alpha1", "sandboxes"), document)
        pod, served = await asyncio.gather(_ready(kubernetes, f"skycap.dev/sandbox={name}"), _served(url, name))
        own.append(pod)
        over.append(served - began - pod)
        await kubernetes.delete(path("skycap.dev/v1alpha1", "sandboxes", name))
    return [
        _row("Sandbox created -> first keyed request: the pod's own start", statistics.median(own), "s"),
        _row("... and beside that", statistics.median(over), "s", OVER_SECONDS),
    ]


async def _ready(kubernetes: Kubernetes, labels: str) -> float:
    """Seconds from the pod's creation, as a watch sees it, until it is ready."""
    created = 0.0
    query = {"labelSelector": labels, "timeoutSeconds": "120"}
    async for _, pod in kubernetes.watch(path("v1", "pods"), **query):
        if "status" not in pod:
            continue
        created = created or time.monotonic()
        conditions = pod["status"].get("conditions") or ()
        if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
            return time.monotonic() - created
    raise NodeError(f"no pod of {labels} is ready after 120 s")


async def _served(url: str, key: str) -> float:
    """When the shadow answered first."""
    async with aiohttp.ClientSession(headers={"baggage": f"routing-key={key}"}) as session:
        while True:
            async with session.get(url) as answer:
                await answer.read()
                if f"sandbox={key}" in answer.headers.get("skycap-served-by", "") and answer.status == 200:
                    return time.monotonic()
            await asyncio.sleep(0.01)


async def _told(kubernetes: Kubernetes) -> list[dict[str, Any]]:
    """From an eviction, as it is sent, until the condition says that nothing serves."""
    seconds = []
    sandboxes = path("skycap.dev/v1alpha1", "sandboxes")
    for number in range(SANDBOXES):
        name = f"told-{number}"
        document: Object = {
            "apiVersion": "skycap.dev/v1alpha1",
            "kind": "Sandbox",
            "metadata": {"name": name},
            "spec": {"ttl": "1h", "forks": [users("users_v2")]},
        }
        await kubernetes.create(sandboxes, document)
        began = 0.0
        query = {"fieldSelector": f"metadata.name={name}", "timeoutSeconds": "120"}
        async for _, found in kubernetes.watch(sandboxes, **query):
            conditions = (found.get("status") or {}).get("conditions") or ()
            ready = next((one["status"] for one in conditions if one["type"] == "Ready"), "")
            if ready == "True" and not began:
                pods = await kubernetes.get(path("v1", "pods"), labelSelector=f"skycap.dev/sandbox={name}")
                pod = pods["items"][0]["metadata"]["name"]
                metadata = {"name": pod, "namespace": "shop"}
                eviction: Object = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
                began = time.monotonic()
                await kubernetes.create(path("v1", "pods", pod, "shop", "eviction"), eviction)
            elif ready == "False" and began:
                seconds.append(time.monotonic() - began)
                break
        await kubernetes.delete(path("skycap.dev/v1alpha1", "sandboxes", name))
    if len(seconds) < SANDBOXES:
        raise BenchmarkError("an eviction was not told within 120 s")
    return [_row("a shadow's pod is evicted -> the status says so, the longest", max(seconds), "s", TOLD_SECONDS)]


# -- admission --------------------------------------------------------------------------------------------------------


async def _admission(kubernetes: Kubernetes) -> list[dict[str, Any]]:
    before = _buckets(await kubernetes.text("/metrics"))
    with_it = await _create(kubernetes, "shop")
    after = _buckets(await kubernetes.text("/metrics"))
    without = await _create(kubernetes, "default")
    told = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    return [
        _row(f"admission, p99 of {PODS_AT_ONCE} pods at once, as the API server counts it", _quantile(told, 0.99), "s",
             ADMISSION_SECONDS),
        _row("a pod is created, p99, with injection", _high(with_it), "s"),
        _row("... without", _high(without), "s"),
    ]  # fmt: skip


async def _create(kubernetes: Kubernetes, namespace: str) -> list[float]:
    """Seconds of each, all at once; none is made."""

    async def one(number: int) -> float:
        began = time.monotonic()
        await kubernetes.create(path("v1", "pods", namespace=namespace), _pod(f"bench-{number}"), dryRun="All")
        return time.monotonic() - began

    return await asyncio.gather(*map(one, range(PODS_AT_ONCE)))


def _buckets(text: str) -> dict[float, float]:
    """Of our webhook: upper bound in seconds -> how many until there."""
    found: dict[float, float] = {}
    for line in text.splitlines():
        if line.startswith(HOOK) and 'name="namespace.inject.skycap.dev"' in line:
            bound = re.search(r'le="([^"]+)"', line)
            if bound is not None:
                limit = float(bound[1].replace("+Inf", "inf"))
                found[limit] = found.get(limit, 0) + float(line.rpartition(" ")[2])
    return found


def _quantile(buckets: dict[float, float], share: float) -> float:
    """The upper bound of the bucket in which it lies: no better is known."""
    wanted = share * buckets[float("inf")]
    return next(bound for bound in sorted(buckets) if buckets[bound] >= wanted)


# -- the sidecar ------------------------------------------------------------------------------------------------------


async def _sidecars(kubernetes: Kubernetes) -> list[dict[str, Any]]:
    resident = [_resident(pid) for pid in _pids(_is_injected)]
    if not resident:
        raise BenchmarkError("no injected sidecar runs in the shop")
    without = [await _start(kubernetes, "default", number) for number in range(STARTS)]
    with_it = [await _start(kubernetes, "shop", number) for number in range(STARTS)]
    return [
        _row(f"an injected sidecar, idle, resident (median of {len(resident)})", statistics.median(resident), "MiB",
             MEMORY_MIB),
        _row("a pod's start without a sidecar, median", statistics.median(without), "s"),
        _row("... added by the sidecar", statistics.median(with_it) - statistics.median(without), "s", ADDED_SECONDS),
    ]  # fmt: skip


def _is_injected(words: list[str]) -> bool:
    """A sidecar of the image: its program stands where a wheel puts it, and no other one of this machine does."""
    return "--transparent" in words and any(word.endswith("/skycap/packages/proxy/__main__.py") for word in words)


async def _start(kubernetes: Kubernetes, namespace: str, number: int) -> float:
    name = f"bench-{number}"
    waiting = asyncio.gather(_ready(kubernetes, f"bench={name}"))
    await kubernetes.create(path("v1", "pods", namespace=namespace), _pod(name))
    (seconds,) = await waiting
    await kubernetes.delete(path("v1", "pods", name, namespace))
    while True:
        if not (await kubernetes.get(path("v1", "pods"), labelSelector=f"bench={name}"))["items"]:
            return seconds
        await asyncio.sleep(0.2)


def _pod(name: str) -> Object:
    container = {"name": "web", "image": SKYCAP, "imagePullPolicy": "Never", "command": ["sleep", "infinity"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"bench": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }


def _pids(wanted: Callable[[list[str]], bool]) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if wanted(words):
                found.append(int(folder.name))
    return found


def _resident(pid: int) -> float:
    """MiB."""
    match = re.search(r"VmRSS:\s+([0-9]+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else 0.0


# -- the table --------------------------------------------------------------------------------------------------------


def _high(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.99) - 1]


def _row(what: str, value: float, unit: str, target: float | None = None) -> dict[str, Any]:
    return {"what": what, "value": round(value, 3), "unit": unit, "target": target}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| what | measured | target |", "|---|---|---|"]
    for row in rows:
        target = f"<= {row['target']:g} {row['unit']}" if row["target"] is not None else ""
        missed = " (missed)" if row["target"] is not None and row["value"] > row["target"] else ""
        lines.append(f"| {row['what']} | {row['value']:g} {row['unit']}{missed} | {target} |")
    load = os.getloadavg()[0]
    return "\n".join([*lines, f"\nload of this machine at the end: {load:.1f}, on {os.cpu_count()} cores"])

"""Shadows as Deployments. The launcher of a cluster: image, command and environment of a fork all lead here.

What runs is known by its labels, so that nothing has to be remembered but the Deployment's name: a control plane that
comes back finds its shadows by asking the cluster.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.informer import Informer, Key
from controlplane.kubernetes.names import SANDBOX
from controlplane.kubernetes.pods import Verdict, endpoint, judge, newest
from controlplane.kubernetes.shadow import FORK, REVISION_LABEL, claims, selecting, shadow, shadow_labels, shadow_name
from controlplane.launch.port import LaunchError, LaunchRequest, Running, refuse
from controlplane.model.copy_log import ALWAYS, Window
from controlplane.model.explanation import near
from controlplane.model.problem import FieldProblem
from controlplane.model.sandbox import Fork
from controlplane.model.workload import Workload
from proxy.base.tasks import Tasks

log = logging.getLogger(__name__)

KINDS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
"""What can be forked, all of `apps/v1`, in the order in which a name is looked for."""

START_SECONDS = 300.0
"""For a pod to be ready: an image of a gigabyte, and a slow start."""

UNSCHEDULABLE_SECONDS = 10.0
"""A cluster that grows by itself says so first."""

LOOK_SECONDS = 1.0
"""At the Deployment, when it has no pods: its conditions say why."""

LOG_LINES = 20

PASSING = frozenset({0, 404, 409, 429, 500, 503, 504})
"""Statuses that say nothing about the fork: what was refused is tried again by itself. What is not there (404) may have
been deleted by somebody while it started."""

_NOT_IN_A_POD = {
    "cwd": "a pod's folder is that of its image: leave it out",
    "files": "pushed files are not laid into pods yet: build an image",
    "build": "nothing is built in a pod: build an image",
}

_Label = tuple[str, str, str, str]
"""Namespace, sandbox, fork, revision."""


class KubernetesLauncher:
    """
    uid:        of the Sandbox of that name, which owns its Deployments.
    namespaces: where shadows may be; empty: everywhere.
    """

    def __init__(self, kubernetes: Kubernetes, uid: Callable[[str], str], *, namespaces: Collection[str] = ()) -> None:
        self._kubernetes = kubernetes
        self._uid = uid
        self._namespaces = frozenset(namespaces)
        self._news: dict[_Label, asyncio.Event] = {}
        self._pods = Informer(kubernetes, path("v1", "pods"), self._pod_changed, labels=SANDBOX)
        self._baselines = {
            kind: Informer(kubernetes, path("apps/v1", plural), _ignored, labels=f"!{SANDBOX}")
            for kind, plural in KINDS.items()
        }

    def __repr__(self) -> str:
        return f"<KubernetesLauncher {len(self._pods.objects)} pods>"

    def begin(self, tasks: Tasks) -> None:
        """Watch the cluster from now on."""
        for informer in self._informers():
            tasks.keep(informer.run, f"{informer!r}")

    async def synced(self) -> None:
        for informer in self._informers():
            await informer.synced.wait()

    @property
    def problem(self) -> str:
        """Why the cluster is not seen as it is, "" while it is."""
        return "; ".join(informer.problem for informer in self._informers() if informer.problem)

    def _informers(self) -> list[Informer]:
        return [self._pods, *self._baselines.values()]

    def workloads(self) -> list[str]:
        """Everything that can be forked, sorted."""
        return sorted({f"{key[0]}/{key[1]}" for informer in self._baselines.values() for key in informer.objects})

    def baselines(self) -> list[Object]:
        """The same as they are. A name that two kinds have is that of the first."""
        found: dict[Key, Object] = {}
        for informer in self._baselines.values():
            found = {**informer.objects, **found}
        return list(found.values())

    # -- the port -----------------------------------------------------------------------------------------------------

    def check(self, fork: Fork, definition: Workload | None) -> list[FieldProblem]:
        problems = []
        namespace = fork.workload.partition("/")[0]
        if self._namespaces and namespace not in self._namespaces:
            allowed = ", ".join(sorted(self._namespaces))
            message = f"{namespace!r} is no namespace in which this installation starts shadows: it has {allowed}"
            problems.append(FieldProblem(path="workload", message=message))
        elif all(informer.synced.is_set() for informer in self._baselines.values()):
            known = self.workloads()
            if fork.workload not in known:
                found = near(fork.workload, known)
                meant = f"; did you mean {' or '.join(found)}?" if found else ""
                message = f"there is no {' and no '.join(KINDS)} {fork.workload}{meant}"
                problems.append(FieldProblem(path="workload", message=message))
        for field, message in _NOT_IN_A_POD.items():
            if getattr(fork, field) is not None:
                problems.append(FieldProblem(path=field, message=message))
        return problems

    async def start(self, request: LaunchRequest) -> Running:
        await self.synced()
        refuse(self.check(request.fork, request.definition))
        namespace = request.workload.partition("/")[0]
        name = shadow_name(request.sandbox, request.workload, request.revision)
        place = path("apps/v1", "deployments", name, namespace)
        try:
            baseline = await self._baseline(request.workload)
            document = shadow(baseline, request, self._uid(request.sandbox))
            await self._possible(namespace, document)
            port = await self._port(namespace, baseline)
            made = await self._kubernetes.apply(place, document)
            pod = await self._until_ready(request, place)
        except KubernetesError as error:
            await self._clear(place)
            raise LaunchError(f"the cluster refuses: {error}", again=error.status in PASSING) from None
        except BaseException:
            await asyncio.shield(self._clear(place))
            raise
        return _running(pod, port, name, made)

    async def adopt(self, request: LaunchRequest, handle: dict[str, Any]) -> Running | None:
        await self.synced()
        pod = newest(self._of(_label(request)))
        if pod is None or not judge(pod).ready:
            return None
        return Running(_endpoints(pod, handle.get("port")), {**handle, "pod": pod["metadata"]["name"]})

    async def wait(self, running: Running) -> LaunchError:
        handle = running.handle
        at = (handle["namespace"], handle["sandbox"], handle["fork"], handle["revision"])
        while True:
            event = self._event(at)
            pod = self._pods.objects.get((handle["namespace"], handle["pod"]))
            if pod is None:
                return LaunchError(f"its pod {handle['pod']} is gone", again=True)
            verdict = judge(pod)
            if verdict.failed:
                return LaunchError(verdict.sentence, await self._log(pod, verdict), again=True)
            await event.wait()

    async def stop(self, running: Running) -> None:
        handle = running.handle
        await self._kubernetes.delete(path("apps/v1", "deployments", handle["deployment"], handle["namespace"]))

    async def connected(self, running: Running) -> bool:
        return False  # a pod's connections are not seen from here

    async def log(self, running: Running, lines: int, window: Window = ALWAYS) -> str:
        pod = self._pods.objects.get((running.handle["namespace"], running.handle["pod"]))
        if pod is None:
            return ""
        return await self._lines(pod, pod["spec"]["containers"][0]["name"], lines, since=window.since)

    # -- at the start -------------------------------------------------------------------------------------------------

    async def _baseline(self, workload: str) -> Object:
        """As it is now. Raises LaunchError, KubernetesError."""
        namespace, _, name = workload.partition("/")
        for kind, plural in KINDS.items():
            if (namespace, name) in self._baselines[kind].objects:
                return await self._kubernetes.get(path("apps/v1", plural, name, namespace))
        raise LaunchError(f"there is no {' and no '.join(KINDS)} {workload} any more")

    async def _possible(self, namespace: str, document: Object) -> None:
        """Raises LaunchError for what would harm the baseline, KubernetesError."""
        template = document["spec"]["template"]
        services = (await self._kubernetes.get(path("v1", "services", namespace=namespace)))["items"]
        if found := selecting(services, template["metadata"]["labels"]):
            raise LaunchError(f"Service {', '.join(found)} would lead requests without a key to the shadow")
        for claim in claims(template["spec"]):
            modes = (await self._kubernetes.get(path("v1", "persistentvolumeclaims", claim, namespace)))["spec"]
            if not {"ReadWriteMany", "ReadOnlyMany"} & set(modes.get("accessModes") or ()):
                raise LaunchError(f"the baseline's volume {claim} can be mounted by one node only, and is in use")

    async def _port(self, namespace: str, baseline: Object) -> int | str | None:
        """To which port of the baseline's pods its Service leads."""
        labels = (baseline["spec"]["template"].get("metadata") or {}).get("labels") or {}
        services = (await self._kubernetes.get(path("v1", "services", namespace=namespace)))["items"]
        for service in services:
            if selecting([service], labels):
                for port in service["spec"].get("ports") or ():
                    if port.get("protocol", "TCP") == "TCP":
                        wanted: int | str = port.get("targetPort") or port["port"]
                        return wanted
        return None

    async def _until_ready(self, request: LaunchRequest, place: str) -> Object:
        """Raises LaunchError, KubernetesError."""
        loop = asyncio.get_running_loop()
        began, at = loop.time(), _label(request)
        sentence = "it has no pod yet"
        while loop.time() - began < START_SECONDS:
            event = self._event(at)
            pod = newest(pod for pod in self._of(at) if "deletionTimestamp" not in pod["metadata"])
            if pod is None:
                await self._refused(place)
            else:
                verdict = judge(pod)
                if verdict.ready:
                    return pod
                patient = verdict.sentence.startswith("no node") and loop.time() - began < UNSCHEDULABLE_SECONDS
                if verdict.failed and not patient:
                    raise LaunchError(verdict.sentence, await self._log(pod, verdict))
                sentence = verdict.sentence
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await event.wait()
        raise LaunchError(f"after {START_SECONDS:g} s {sentence}")

    async def _refused(self, place: str) -> None:
        """Why a Deployment gets no pods: a quota, an admission webhook. Raises LaunchError, KubernetesError."""
        found = await self._kubernetes.get(place)
        for condition in (found.get("status") or {}).get("conditions") or ():
            if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
                raise LaunchError(f"its pod is refused: {condition.get('message', '')}")

    async def _clear(self, place: str) -> None:
        try:
            await self._kubernetes.delete(place)
        except KubernetesError as error:
            log.warning("%s is not deleted: %s", place, error)

    # -- what is left over --------------------------------------------------------------------------------------------

    async def sweep(self, known: Callable[[], Collection[Key]]) -> int:
        """Delete Deployments of ours that nobody knows any more. Returns how many.

        known: namespaces and names; asked after the cluster was, since a shadow is known before it is started.
        """
        listed = await self._kubernetes.get(path("apps/v1", "deployments"), labelSelector=SANDBOX)
        wanted = known()
        strays = [item for item in listed["items"] if _key(item) not in wanted]
        for stray in strays:
            namespace, name = _key(stray)
            await self._kubernetes.delete(path("apps/v1", "deployments", name, namespace), uid=stray["metadata"]["uid"])
        return len(strays)

    # -- pods ---------------------------------------------------------------------------------------------------------

    def _pod_changed(self, key: Key, pod: Object | None) -> None:
        for at in [_label_of(pod)] if pod is not None else [at for at in self._news if at[0] == key[0]]:
            if (event := self._news.pop(at, None)) is not None:
                event.set()

    def _event(self, at: _Label) -> asyncio.Event:
        """Set with the next change of one of these pods."""
        return self._news.setdefault(at, asyncio.Event())

    def _of(self, at: _Label) -> list[Object]:
        return [pod for pod in self._pods.objects.values() if _label_of(pod) == at]

    async def _log(self, pod: Object, verdict: Verdict) -> str:
        if not verdict.container:
            return ""
        return await self._lines(pod, verdict.container, LOG_LINES, previous=verdict.restarted)

    async def _lines(
        self, pod: Object, container: str, lines: int, *, previous: bool = False, since: float = 0.0
    ) -> str:
        namespace, name = _key(pod)
        query = {"container": container, "tailLines": str(lines), **({"previous": "true"} if previous else {})}
        if since:
            query["sinceTime"] = datetime.fromtimestamp(int(since), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            return await self._kubernetes.text(path("v1", "pods", name, namespace, "log"), **query)
        except KubernetesError as error:
            return f"(its output cannot be read: {error})"


def _running(pod: Object, port: int | str | None, deployment: str, made: Object) -> Running:
    labels = pod["metadata"]["labels"]
    template = json.dumps(made["spec"]["template"], sort_keys=True).encode()
    handle = {
        "namespace": pod["metadata"]["namespace"],
        "deployment": deployment,
        "pod": pod["metadata"]["name"],
        "sandbox": labels[SANDBOX],
        "fork": labels[FORK],
        "revision": labels[REVISION_LABEL],
        "port": port,
        "build": {
            "digest": hashlib.sha256(template).hexdigest()[:12],
            "built": None,
            "started": datetime.now(UTC).isoformat(),
        },
    }
    return Running(_endpoints(pod, port), handle)


def _endpoints(pod: Object, port: int | str | None) -> tuple[str, ...]:
    found = endpoint(pod, port)
    if not found:
        raise LaunchError("its pod names no port, and no Service leads to the workload: nobody could reach the shadow")
    return (found,)


def _label(request: LaunchRequest) -> _Label:
    labels = shadow_labels(request.sandbox, request.workload, request.revision)
    return request.workload.partition("/")[0], labels[SANDBOX], labels[FORK], labels[REVISION_LABEL]


def _label_of(pod: Object) -> _Label:
    labels = pod["metadata"].get("labels") or {}
    return (
        pod["metadata"]["namespace"],
        labels.get(SANDBOX, ""),
        labels.get(FORK, ""),
        labels.get(REVISION_LABEL, ""),
    )


def _key(found: Object) -> Key:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]


def _ignored(_key: Key, _object: Object | None) -> None:
    """Only asked for what there is."""

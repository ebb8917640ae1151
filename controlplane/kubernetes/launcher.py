"""Shadows as Deployments. The launcher of a cluster: image, command and environment of a fork all lead here.

What runs is known by its labels, so that nothing has to be remembered but the Deployment's name: a control plane that
comes back finds its shadows by asking the cluster.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from controlplane.files.store import FileStore
from controlplane.kubernetes.baselines import KINDS, Baselines, template_digest
from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.informer import Informer, Key, places
from controlplane.kubernetes.laid import Fetching, PushedFiles
from controlplane.kubernetes.making import Making, refusal, refused
from controlplane.kubernetes.names import SANDBOX
from controlplane.kubernetes.patch import without_sidecar
from controlplane.kubernetes.pods import endpoint, judge, moved_ports, newest
from controlplane.kubernetes.shadow import FORK, REVISION_LABEL, image_folder, shadow, shadow_name
from controlplane.kubernetes.shadow_pods import ShadowPods, label
from controlplane.launch.port import LaunchError, LaunchRequest, Running, refuse
from controlplane.model.copy_log import ALWAYS, Window
from controlplane.model.explanation import near
from controlplane.model.problem import DocumentError, FieldProblem, invalid
from controlplane.model.sandbox import Fork
from controlplane.model.workload import Workload
from proxy.base.tasks import Tasks

log = logging.getLogger(__name__)

START_SECONDS = 300.0
"""For a pod to be ready: an image of a gigabyte, and a slow start."""

UNSCHEDULABLE_SECONDS = 10.0
"""A cluster that grows by itself says so first."""

LOOK_SECONDS = 1.0
"""At what there is, when nothing has changed."""

GONE_SECONDS = 5.0
"""For a Deployment that was made to be seen; then the API server is asked for it."""

_KINDS = " and no ".join(KINDS)


class KubernetesLauncher:
    """
    uid:        of the Sandbox of that name, which owns its Deployments.
    namespaces: where shadows may be; empty: everywhere.
    """

    def __init__(self, kubernetes: Kubernetes, uid: Callable[[str], str], *, namespaces: Collection[str] = ()) -> None:
        self._kubernetes = kubernetes
        self._uid = uid
        self._namespaces = frozenset(namespaces)
        self._pods = ShadowPods(kubernetes, self._namespaces)
        services = places("v1", "services", self._namespaces)
        self.services = Informer(kubernetes, services, lambda _key, _object: None)
        self._making = Making(kubernetes, self.services.objects.values)
        self._left = False
        self.files: FileStore | None = None
        self.fetching: Fetching | None = None
        """How pushed files get into a pod; both are known when we lead."""
        self.baselines = Baselines(kubernetes, self._namespaces)

    def __repr__(self) -> str:
        return f"<KubernetesLauncher {self._pods!r}>"

    def begin(self, tasks: Tasks) -> None:
        """Watch the cluster from now on."""
        for informer in self._informers():
            tasks.keep(informer.run, f"{informer!r}")

    def leave(self) -> None:
        """We lead no more: what runs, and what is being started, is the next leader's from now on.

        It may have taken that over already. Nothing is deleted by us any more, and what nobody wants it finds.
        """
        self._left = True

    async def synced(self) -> None:
        for informer in self._informers():
            await informer.synced.wait()

    @property
    def problem(self) -> str:
        """Why the cluster is not seen as it is, "" while it is."""
        return "; ".join(informer.problem for informer in self._informers() if informer.problem)

    def _informers(self) -> list[Informer]:
        return [self._pods.informer, self._pods.deployments, self.services, *self.baselines.informers]

    # -- the port -----------------------------------------------------------------------------------------------------

    def check(self, fork: Fork, definition: Workload | None) -> list[FieldProblem]:
        problems = []
        namespace = fork.workload.partition("/")[0]
        if self._namespaces and namespace not in self._namespaces:
            allowed = ", ".join(sorted(self._namespaces))
            message = f"{namespace!r} is no namespace in which this installation starts shadows: it has {allowed}"
            problems.append(FieldProblem(path="workload", message=message))
        elif self.baselines.seen(namespace):
            known = self.baselines.names()
            if fork.workload not in known:
                found = near(fork.workload, known)
                meant = f"; did you mean {' or '.join(found)}?" if found else ""
                message = f"there is no {_KINDS} {fork.workload}{meant}"
                problems.append(FieldProblem(path="workload", message=message))
        if fork.files is not None and (self.files is None or self.files.tree(fork.files) is None):
            message = "there are no pushed files of this digest: push them with `skycap sandbox push`"
            problems.append(FieldProblem(path="files", message=message))
        return problems

    def image_folder(self, fork: Fork) -> str:
        """Of its image, that a fork's pushed files are laid over. Raises DocumentError."""
        baseline = self.baselines.get(fork.workload)
        if baseline is None:
            problems = self.check(fork.model_copy(update={"files": None}), None)
            raise DocumentError(problems or [FieldProblem(path="workload", message="is not known yet: try again")])
        found = image_folder(baseline, fork)
        if found is None:
            message = "nothing says which folder of its image files are laid over: its container has no workingDir"
            raise invalid("workload", f"{message}. Say cwd in the fork first")
        return found

    async def start(self, request: LaunchRequest) -> Running:
        namespace = request.workload.partition("/")[0]
        refuse(self.check(request.fork, request.definition))
        try:
            await self._listed(namespace)
        except KubernetesError as error:
            raise refusal(error) from None
        refuse(self.check(request.fork, request.definition))  # now it is known what there is
        name = shadow_name(request.sandbox, request.workload, request.revision)
        place = path("apps/v1", "deployments", name, namespace)
        try:
            baseline = self.baselines.get(request.workload)
            if baseline is None:
                raise LaunchError(f"there is no {_KINDS} {request.workload} any more")
            document = shadow(baseline, request, self._uid(request.sandbox), *self._pushed(request.fork, baseline))
            wanted = self._making.ports(namespace, baseline)
            made = await self._making.make(place, document, request.fork.patch)
            pod = await self._until_ready(request, (namespace, name))
        except KubernetesError as error:
            await self._clear(place)
            raise refusal(error) from None
        except BaseException:
            await asyncio.shield(self._clear(place))
            raise
        return _running(pod, baseline, wanted, made)

    async def _listed(self, namespace: str) -> None:
        """Returns when that namespace is known. Raises KubernetesError when it may not be seen."""
        for informer in self._informers():
            await informer.listed(namespace)

    async def _clear(self, place: str) -> None:
        if not self._left:
            await self._making.clear(place)

    def _pushed(self, fork: Fork, baseline: Object) -> tuple[PushedFiles | None, Fetching | None]:
        """Raises LaunchError."""
        if fork.files is None:
            return None, None
        tree = self.files.tree(fork.files) if self.files is not None else None
        if tree is None:
            raise LaunchError("its pushed files are gone: push them again")
        if self.fetching is None:
            raise LaunchError("nothing says with which image its pushed files are fetched: --sidecar-image")
        if image_folder(baseline, fork) is None:
            raise LaunchError("nothing says which folder of its image files are laid over: say cwd in the fork")
        return PushedFiles(fork.files, tuple(sorted(tree.removed)), fork.build or ()), self.fetching

    async def adopt(self, request: LaunchRequest, handle: dict[str, Any]) -> Running | None:
        while True:
            try:
                await self._listed(request.workload.partition("/")[0])
                break
            except KubernetesError:  # what may not be seen may be there all the same: its routes stay
                await asyncio.sleep(LOOK_SECONDS)
        pod = newest(self._pods.of(label(request)))
        if pod is None or not judge(pod).ready:
            return None
        return Running(_endpoints(pod, handle.get("port")), {**handle, "pod": pod["metadata"]["name"]})

    async def wait(self, running: Running) -> LaunchError:
        handle = running.handle
        at = (handle["namespace"], handle["sandbox"], handle["fork"], handle["revision"])
        while True:
            event = self._pods.event(at)
            pod = self._pods.named(handle["namespace"], handle["pod"])
            if pod is None:
                return LaunchError(f"its pod {handle['pod']} is gone", again=True)
            verdict = judge(pod)
            if verdict.failed:
                return LaunchError(verdict.sentence, await self._pods.last_lines(pod, verdict), again=True)
            await event.wait()

    async def stop(self, running: Running) -> None:
        if self._left:
            return
        handle = running.handle
        await self._kubernetes.delete(path("apps/v1", "deployments", handle["deployment"], handle["namespace"]))

    async def connected(self, running: Running) -> bool:
        return False  # a pod's connections are not seen from here

    async def log(self, running: Running, lines: int, window: Window = ALWAYS) -> str:
        pod = self._pods.named(running.handle["namespace"], running.handle["pod"])
        if pod is None:
            return ""
        return await self._pods.log(pod, lines, window)

    # -- at the start -------------------------------------------------------------------------------------------------

    async def _until_ready(self, request: LaunchRequest, at_name: Key) -> Object:
        """at_name: of the Deployment. Raises LaunchError, KubernetesError."""
        loop = asyncio.get_running_loop()
        began, at = loop.time(), label(request)
        looked = began
        sentence = "it has no pod yet"
        while loop.time() - began < START_SECONDS:
            event = self._pods.event(at)
            pod = newest(pod for pod in self._pods.of(at) if "deletionTimestamp" not in pod["metadata"])
            if pod is None:
                made = self._pods.deployments.objects.get(at_name)
                if why := refused(made):
                    raise LaunchError(why)
                if made is None and loop.time() - looked > GONE_SECONDS:
                    looked = loop.time()
                    if await self._gone(at_name):
                        raise LaunchError("somebody has deleted its Deployment", again=True)
            else:
                verdict = judge(pod)
                if verdict.ready:
                    return pod
                patient = verdict.sentence.startswith("no node") and loop.time() - began < UNSCHEDULABLE_SECONDS
                if verdict.failed and not patient:
                    raise LaunchError(verdict.sentence, await self._pods.last_lines(pod, verdict))
                sentence = verdict.sentence
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await event.wait()
        raise LaunchError(f"after {START_SECONDS:g} s {sentence}")

    async def _gone(self, at_name: Key) -> bool:
        """Whether the cluster has that Deployment no more; the watch may be late. Raises KubernetesError."""
        try:
            await self._kubernetes.get(path("apps/v1", "deployments", at_name[1], at_name[0]))
        except KubernetesError as error:
            if error.status != 404:
                raise
            return True
        return False

    # -- what is left over --------------------------------------------------------------------------------------------

    async def sweep(self, known: Callable[[], Collection[Key]]) -> int:
        """Delete Deployments of ours that nobody knows any more. Returns how many.

        known: namespaces and names; asked after the cluster was, since a shadow is known before it is started.
        """
        where = places("apps/v1", "deployments", self._namespaces)
        listed = [await self._kubernetes.get(place, labelSelector=SANDBOX) for place in where]
        wanted = known()
        strays = [item for page in listed for item in page["items"] if _key(item) not in wanted]
        for stray in strays:
            namespace, name = _key(stray)
            await self._kubernetes.delete(path("apps/v1", "deployments", name, namespace), uid=stray["metadata"]["uid"])
        return len(strays)


def _running(pod: Object, baseline: Object, wanted: Sequence[int | str], made: Object) -> Running:
    """wanted: the ports that the workload's Services lead to."""
    port = wanted[0] if wanted else None
    labels = pod["metadata"]["labels"]
    template = json.dumps(made["spec"]["template"], sort_keys=True).encode()
    handle = {
        "namespace": pod["metadata"]["namespace"],
        "deployment": made["metadata"]["name"],
        "pod": pod["metadata"]["name"],
        "sandbox": labels[SANDBOX],
        "fork": labels[FORK],
        "revision": labels[REVISION_LABEL],
        "port": port,
        "ports": moved_ports(without_sidecar(baseline["spec"]["template"]), pod, wanted),
        "template": template_digest(baseline),
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


def _key(found: Object) -> Key:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]

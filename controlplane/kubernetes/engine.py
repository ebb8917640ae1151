"""A cluster as the place where sandboxes live: what the composition root needs of it, in the order in which it does.

open   the webhook answers, leader or not: pods are injected whoever leads
lead   wait to be the leader; then there is a store and a launcher
begin  the operator brings Sandboxes to the registry
close  the Lease is released; shadows run on, they are the cluster's
"""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from aiohttp import web
from prometheus_client import CollectorRegistry

from controlplane.files.store import FileStore
from controlplane.kubernetes import figures
from controlplane.kubernetes.catalogue import Catalogue
from controlplane.kubernetes.certificates import Certificates
from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path
from controlplane.kubernetes.credentials import find
from controlplane.kubernetes.decision import Installation as Injection
from controlplane.kubernetes.figures import ReplicaCollector
from controlplane.kubernetes.kept_files import KeptFiles
from controlplane.kubernetes.laid import Fetching
from controlplane.kubernetes.launcher import KubernetesLauncher
from controlplane.kubernetes.lease import Lease
from controlplane.kubernetes.names import LEADER
from controlplane.kubernetes.operator import Operator
from controlplane.kubernetes.review import TokenReview
from controlplane.kubernetes.settings import ClusterSettings
from controlplane.kubernetes.shadow import shadow_name
from controlplane.kubernetes.store import KubernetesStore
from controlplane.kubernetes.webhook import Webhook, context_of
from controlplane.life.registry import Registry
from proxy.base.listen import Listen
from proxy.base.problems import ConfigurationError
from proxy.base.tasks import Tasks

log = logging.getLogger(__name__)

CERTIFICATE_SECONDS = 600.0
"""Between two looks at the certificate and at who trusts it: somebody may have applied the manifests anew."""

CERTIFICATE_RETRY_SECONDS = 2.0
LABEL_RETRY_SECONDS = 1.0

NAME = "skycap"
"""Of the Lease, the Secrets and the webhook's configuration."""

WEBHOOK = "skycap-webhook"
TOKENS = "skycap-tokens"


class Cluster:
    """Made where an event loop runs. Raises ConfigurationError when there is no cluster to speak to."""

    def __init__(self, settings: ClusterSettings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self.kubernetes = Kubernetes(find(environ))
        self._apart = Kubernetes(find(environ))
        """With connections of its own: a Lease is renewed in time, however many requests wait for one of the others."""
        self._tasks = Tasks("cluster")
        self._lease = Lease(self._apart, settings.namespace, NAME, settings.identity)
        self.leads = False
        self._runners: list[web.AppRunner] = []
        self.figures = CollectorRegistry()
        """What is counted here; the registry's stand there too."""
        self._replica: ReplicaCollector | None = None
        self._context: ssl.SSLContext | None = None
        self._operator: Operator | None = None
        self.review = TokenReview(self.kubernetes, settings.namespace)
        self.store = KubernetesStore(self.kubernetes, settings.namespace, int(time.time() * 1000))
        self.launcher = KubernetesLauncher(self.kubernetes, self.store.sandboxes.uid, namespaces=settings.namespaces)

    def __repr__(self) -> str:
        return f"<Cluster {self.kubernetes!r}>"

    @property
    def problem(self) -> str:
        """Why the cluster is not seen as it is, "" while it is."""
        return self.launcher.problem or (self._operator.problem if self._operator is not None else "")

    async def open(self) -> None:
        """Answer the API server's questions about pods. Raises ConfigurationError."""
        listen = self._settings.webhook
        if listen is None:
            return
        hook = Webhook(self.kubernetes, await self._injection())
        await self._measured(hook.decisions)
        self._tasks.keep(hook.namespaces.run, "namespaces")
        certificates = Certificates(
            self.kubernetes, self._settings.namespace, WEBHOOK, WEBHOOK, NAME, given=self._settings.given
        )
        try:
            pair = await certificates.pair()
        except KubernetesError as error:
            raise ConfigurationError([f"the webhook's certificate: {error}"]) from None
        self._context = context_of(pair)
        await hook.namespaces.synced.wait()
        try:
            await certificates.trust(pair)  # who waits until we are ready may create pods then
        except KubernetesError as error:  # it is tried again
            log.warning("the webhook's certificate: %s", error)
        await self._serve(hook.application(), listen, "--webhook-listen", self._context)
        self._tasks.keep(lambda: self._certify(certificates), "certificate")

    async def _measured(self, decisions: Mapping[str, int]) -> None:
        """Show what is counted. Raises ConfigurationError."""
        self._replica = ReplicaCollector(decisions)
        self.figures.register(self._replica)
        listen = self._settings.metrics
        if listen is not None:
            await self._serve(figures.application(self.figures), listen, "--metrics-listen")

    async def _serve(
        self, application: web.Application, listen: Listen, flag: str, context: ssl.SSLContext | None = None
    ) -> None:
        """Raises ConfigurationError."""
        runner = web.AppRunner(application, access_log=None)
        self._runners.append(runner)
        await runner.setup()
        try:
            await web.TCPSite(runner, listen.host, listen.port, ssl_context=context).start()
        except OSError as error:
            raise ConfigurationError([f"{flag}: {listen}: {error.strerror or error}"]) from None

    async def _injection(self) -> Injection:
        """What sidecars are told; without an image of their own they have ours. Raises ConfigurationError."""
        injection = self._settings.injection
        if injection.image:
            return injection
        place = path("v1", "pods", self._settings.identity, self._settings.namespace)
        try:
            own = (await self.kubernetes.get(place))["spec"]["containers"][0]
        except KubernetesError as error:
            raise ConfigurationError(
                [f"--sidecar-image: name it; the image of our own pod is not seen: {error}"]
            ) from None
        policy = injection.pull_policy or own.get("imagePullPolicy", "")
        return replace(injection, image=own["image"], pull_policy=policy)

    async def _certify(self, certificates: Certificates) -> None:
        """Renew the certificate in time, and let the API server trust it."""
        while True:
            seconds = CERTIFICATE_SECONDS
            try:
                pair = await certificates.pair()
                context_of(pair, self._context)
                await certificates.trust(pair)
            except KubernetesError as error:
                log.warning("the webhook's certificate: %s", error)
                seconds = CERTIFICATE_RETRY_SECONDS
            await asyncio.sleep(seconds)

    async def lead(self, lost: Callable[[], None]) -> None:
        """Returns when we lead. lost: called when we do not any more."""
        await self._lease.acquire()
        self.leads = True
        if self._replica is not None:
            self._replica.leads = True

        async def hold() -> None:
            await self._lease.hold()
            self.leads = False
            lost()

        self._tasks.keep(hold, "lease")
        with suppress(ConfigurationError):  # we are no pod, and nobody has named an image: files cannot be pushed
            injection = await self._injection()
            self.launcher.fetching = Fetching(injection.image, injection.pull_policy, injection.registry)
        self.launcher.begin(self._tasks)

    async def keeper(self, files: FileStore) -> KeptFiles:
        """What leaders before us have kept of pushed files is in `files` then. Raises ConfigurationError."""
        found = KeptFiles(self.kubernetes, self._settings.namespace, files)
        try:
            await found.load()
        except KubernetesError as error:
            raise ConfigurationError([f"the pushed files are not seen: {error}"]) from None
        return found

    async def user_token(self) -> str:
        """What allows everything, kept in a Secret, made when there is none. Raises ConfigurationError."""
        namespace = self._settings.namespace
        try:
            try:
                found = await self.kubernetes.get(path("v1", "secrets", TOKENS, namespace))
            except KubernetesError as error:
                if error.status != 404:
                    raise
                token = base64.b64encode(secrets.token_urlsafe(32).encode()).decode()
                document: Object = {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": TOKENS, "namespace": namespace},
                    "data": {"user": token},
                }
                found = await self.kubernetes.create(path("v1", "secrets", namespace=namespace), document)
            return base64.b64decode(found["data"]["user"]).decode().strip()
        except (KubernetesError, KeyError, ValueError) as error:
            raise ConfigurationError([f"the Secret {namespace}/{TOKENS}: {error}"]) from None

    def begin(self, registry: Registry) -> None:
        """Bring Sandboxes to the registry from now on."""
        operator = self._operator = Operator(
            self.kubernetes, registry, self.store, self.launcher.baselines, self._tasks
        )
        self._tasks.keep(operator.run, "operator")
        services = self.launcher.services.objects.values
        catalogue = Catalogue(self.launcher.baselines.all, services, registry.definitions.learn)
        self._tasks.keep(catalogue.run, "catalogue")
        self._tasks.spawn(self._settle(operator, registry), "what was left over")
        self._tasks.spawn(self._lead_here(), "leader's label")

    async def _lead_here(self) -> None:
        """Let the Service lead to us: it selects the pod with the leader's label, and no other one has it."""
        pods = path("v1", "pods", namespace=self._settings.namespace)
        own = self._settings.identity
        while True:
            try:
                labelled = {
                    pod["metadata"]["name"] for pod in (await self.kubernetes.get(pods, labelSelector=LEADER))["items"]
                }
                for name in labelled - {own}:
                    await self._label(f"{pods}/{name}", None)  # it may be gone by now
                if not await self._label(f"{pods}/{own}", "true"):
                    log.warning("the Service leads to no pod: %s is none", own)
                return
            except KubernetesError as error:
                log.error("the Service does not lead to us yet: %s", error)
            await asyncio.sleep(LABEL_RETRY_SECONDS)

    async def _label(self, pod: str, value: str | None) -> bool:
        """False: there is no such pod. Raises KubernetesError."""
        try:
            await self.kubernetes.merge(pod, {"metadata": {"labels": {LEADER: value}}})
        except KubernetesError as error:
            if error.status != 404:
                raise
            return False
        return True

    async def _settle(self, operator: Operator, registry: Registry) -> None:
        """Give up what is gone, and delete the Deployments that a control plane that was killed has left."""
        await operator.synced()
        await registry.sandboxes.adopted()
        await self.launcher.synced()
        strays = await self.launcher.sweep(lambda: _deployments(registry))
        if strays:
            log.info("%d Deployments that no Sandbox knows are deleted", strays)

    async def close(self) -> None:
        await self._tasks.close()
        for runner in self._runners:
            await runner.cleanup()
        if self.leads:
            await self._lease.release()
        await self._apart.close()
        await self.kubernetes.close()


def _deployments(registry: Registry) -> set[tuple[str, str]]:
    """Of all shadows that run, retire, or may be being started."""
    known = set()
    for name in registry.sandboxes.names():
        record = registry.sandboxes.record(name)
        revisions = {(fork.fork.workload, fork.revision) for fork in record.forks}
        copies = [*record.retiring, *(fork.good for fork in record.forks if fork.good is not None)]
        revisions |= {(copy.fork.workload, copy.revision) for copy in copies}
        for workload, revision in revisions:
            known.add((workload.partition("/")[0], shadow_name(name, workload, revision)))
    return known

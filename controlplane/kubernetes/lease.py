"""One leader among the replicas: a Lease (coordination.k8s.io) that its holder renews.

Clocks of machines differ, so nobody compares times: a Lease is over when it has not changed for its duration, as seen
by the one who waits (as client-go's leader election has it).
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from controlplane.kubernetes.client import Kubernetes, KubernetesError, Object, path

log = logging.getLogger(__name__)

VERSION = "coordination.k8s.io/v1"
DURATION_SECONDS = 3
"""Without a renewal: two are missed, and a third is late. Another one takes over within five seconds."""

RENEW_SECONDS = 1.0
RETRY_SECONDS = 0.5


class Lease:
    """identity: of this replica, its pod's name."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, name: str, identity: str) -> None:
        self._kubernetes = kubernetes
        self._collection = path(VERSION, "leases", namespace=namespace)
        self._place = path(VERSION, "leases", name, namespace)
        self._name = name
        self._identity = identity
        self._seen = ""
        self._since = 0.0
        self.holder = ""

    def __repr__(self) -> str:
        return f"<Lease {self._name} of {self.holder or 'nobody'}>"

    async def acquire(self) -> None:
        """Returns when it is ours."""
        while True:
            try:
                if await self._try():
                    log.info("%s leads", self._identity)
                    return
            except KubernetesError as error:
                if error.status != 409:  # somebody else was faster
                    log.warning("the lease %s: %s", self._name, error)
                    self._seen = ""  # its holder could not renew it either: it is given its whole duration anew
            await asyncio.sleep(RETRY_SECONDS)

    async def hold(self) -> None:
        """Renew it. Returns when it is lost."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                async with asyncio.timeout(DURATION_SECONDS - RENEW_SECONDS):
                    ours = await self._try()
                if not ours:
                    log.error("the lease %s belongs to %s now", self._name, self.holder)
                    return
            except (KubernetesError, TimeoutError) as error:
                # Without an API server nobody else can take it either: whoever serves goes on until somebody has.
                said = str(error) or "the API server does not answer in time"
                log.warning("the lease %s is not renewed: %s", self._name, said)

    async def release(self) -> None:
        """Let the next one begin at once."""
        try:
            found = await self._kubernetes.get(self._place)
            if found["spec"].get("holderIdentity") == self._identity:
                found["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._kubernetes.replace(self._place, found)
        except KubernetesError as error:
            log.info("the lease %s is not released: %s", self._name, error)

    async def _try(self) -> bool:
        now = asyncio.get_running_loop().time()
        try:
            found = await self._kubernetes.get(self._place)
        except KubernetesError as error:
            if error.status != 404:
                raise
            await self._kubernetes.create(self._collection, self._document({}, {"name": self._name}, 0))
            self.holder = self._identity
            return True
        spec = found.get("spec") or {}
        self.holder = str(spec.get("holderIdentity") or "")
        version = found["metadata"]["resourceVersion"]
        if version != self._seen:
            self._seen, self._since = version, now
        duration = float(spec.get("leaseDurationSeconds") or DURATION_SECONDS)
        if self.holder not in ("", self._identity) and now - self._since < duration:
            return False
        changes = int(spec.get("leaseTransitions") or 0) + (self.holder != self._identity)
        made = await self._kubernetes.replace(self._place, self._document(spec, found["metadata"], changes))
        self.holder, self._seen, self._since = self._identity, made["metadata"]["resourceVersion"], now
        return True

    def _document(self, spec: Object, metadata: Object, changes: int) -> Object:
        moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        acquired = spec.get("acquireTime") if spec.get("holderIdentity") == self._identity else moment
        return {
            "apiVersion": VERSION,
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION_SECONDS,
                "acquireTime": acquired or moment,
                "renewTime": moment,
                "leaseTransitions": changes,
            },
        }

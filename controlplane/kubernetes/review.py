"""Who a token belongs to, asked of the API server (TokenReview).

A sidecar shows its pod's service-account token, which is for us alone (audience `skycap`) and says in which namespace
the pod is: it may watch workloads of that namespace and no others.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging

from controlplane.kubernetes.client import Kubernetes, KubernetesError, path
from controlplane.kubernetes.names import AUDIENCE

log = logging.getLogger(__name__)

KEPT_SECONDS = 60.0
"""An answer is believed for so long: a pod that is gone keeps its token for that time at most."""

MAX_KEPT = 20_000

_ACCOUNT = "system:serviceaccount:"


class TokenReview:
    """Called with a token: the namespace of the pod whose sidecar shows it, or None."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self._kubernetes = kubernetes
        self._kept: dict[bytes, tuple[float, str | None]] = {}

    def __repr__(self) -> str:
        return f"<TokenReview {len(self._kept)} kept>"

    async def __call__(self, token: str) -> str | None:
        if token.count(".") != 2:  # no JWT (RFC 7519): nothing that a cluster issues
            return None
        now = asyncio.get_running_loop().time()
        digest = hashlib.sha256(token.encode()).digest()
        known = self._kept.get(digest)
        if known is not None and now - known[0] < KEPT_SECONDS:
            return known[1]
        try:
            found = await self._ask(token)
        except KubernetesError as error:
            log.warning("tokens cannot be reviewed: %s", error)
            return known[1] if known is not None else None  # better an old answer than 500 sidecars without routes
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[digest] = (now, found)
        return found

    async def _ask(self, token: str) -> str | None:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        answer = await self._kubernetes.create(path("authentication.k8s.io/v1", "tokenreviews"), review)
        status = answer.get("status") or {}
        name = str((status.get("user") or {}).get("username") or "")
        if not status.get("authenticated") or AUDIENCE not in (status.get("audiences") or ()):
            return None
        if not name.startswith(_ACCOUNT):
            return None
        return name.removeprefix(_ACCOUNT).partition(":")[0]

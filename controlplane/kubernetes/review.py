"""Who a token belongs to, asked of the API server (TokenReview).

A sidecar shows its pod's service-account token, which is for us alone (audience `skycap`) and says in which namespace
the pod is: it may watch workloads of that namespace and no others.

A person shows a token of the service account `skycap-user` or `skycap-viewer` of our own namespace, which the API
server issues, for an hour, to whoever may create tokens of that account: so the cluster's RBAC says who is who, in
whichever way one logs in there, and nobody's own token is ever shown to us.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import NamedTuple

from controlplane.kubernetes.client import Kubernetes, KubernetesError, path
from controlplane.kubernetes.names import ACCOUNTS, AUDIENCE, GATEWAY_ACCOUNT
from proxy.base.access import SIDECAR

log = logging.getLogger(__name__)

KEPT_SECONDS = 60.0
"""An answer is believed for so long: a pod that is gone keeps its token for that time at most."""

MAX_KEPT = 20_000

_ACCOUNT = "system:serviceaccount:"


class Reviewed(NamedTuple):
    """Whose token it is.

    role:      as in `proxy.base.access`.
    namespace: of a sidecar's pod; "" for a person and the gateway.
    """

    role: str
    namespace: str


class TokenReview:
    """Called with a token: whose it is, or None. namespace: our own."""

    def __init__(self, kubernetes: Kubernetes, namespace: str) -> None:
        self._kubernetes = kubernetes
        self._namespace = namespace
        self._kept: dict[bytes, tuple[float, Reviewed | None]] = {}

    def __repr__(self) -> str:
        return f"<TokenReview {len(self._kept)} kept>"

    async def __call__(self, token: str) -> Reviewed | None:
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

    async def _ask(self, token: str) -> Reviewed | None:
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
        namespace, _, account = name.removeprefix(_ACCOUNT).partition(":")
        if namespace == self._namespace:
            role = SIDECAR if account == GATEWAY_ACCOUNT else ACCOUNTS.get(account)
            return Reviewed(role, "") if role is not None else None  # our own pods have no sidecar
        return Reviewed(SIDECAR, namespace)

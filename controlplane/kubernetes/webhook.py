"""The admission webhook: the API server asks about each pod that is about to be created, and is given a patch.

It answers on TLS, on a port of its own. Whatever goes wrong here leaves the pod as it is, with a warning to whoever
creates it: a pod without a sidecar serves the baseline, one that is refused serves nobody.
"""

from __future__ import annotations

import base64
import json
import logging
import ssl
import tempfile
from collections import Counter
from typing import Any

from aiohttp import web

from controlplane.kubernetes.certificates import Pair
from controlplane.kubernetes.client import Kubernetes, Object, path
from controlplane.kubernetes.decide import decide
from controlplane.kubernetes.decision import Installation, Namespace
from controlplane.kubernetes.documents import malformed
from controlplane.kubernetes.informer import Informer, Key
from controlplane.kubernetes.jsonpatch import difference
from controlplane.kubernetes.patch import patched

log = logging.getLogger(__name__)

MAX_BODY = 4 << 20
"""Of a review: an object has 1.5 MiB at most, and there may be an old one beside it."""


class Webhook:
    """installation: what its sidecars are told."""

    def __init__(self, kubernetes: Kubernetes, installation: Installation) -> None:
        self._installation = installation
        self.namespaces = Informer(kubernetes, path("v1", "namespaces"), _ignored)
        self.decisions: Counter[str] = Counter()
        """By the reason's code."""

    def application(self) -> web.Application:
        made = web.Application(client_max_size=MAX_BODY)
        made.router.add_post("/inject", self._inject)
        made.router.add_get("/live", _live)
        return made

    async def _inject(self, request: web.Request) -> web.Response:
        try:
            review = await request.json()
            asked = review["request"]
            answer: Object = {"uid": asked["uid"], "allowed": True}
        except (ValueError, KeyError, TypeError):
            return web.Response(status=400, text="this is no AdmissionReview\n")
        try:
            answer |= self.answer(asked)
        except Exception as error:
            log.exception("a pod in %s is not injected", asked.get("namespace"))
            answer["warnings"] = [f"skycap: the pod gets no sidecar, by a fault of skycap: {error}"]
        return web.json_response({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer})

    def answer(self, asked: Object) -> Object:
        """To one question; without what every answer has."""
        pod: dict[str, Any] = asked["object"]
        if malformed(pod):
            return {}  # the API server is about to say so, in its own words
        name = str(asked.get("namespace") or "")
        found = self.namespaces.objects.get(("", name)) or {"metadata": {}}
        namespace = Namespace(name, found["metadata"].get("labels") or {})
        decision = decide(pod, namespace, self._installation)
        self.decisions[decision.reason.code] += 1
        patch = difference(pod, patched(pod, decision, self._installation, admission=True))
        answer: Object = {}
        if patch:
            answer = {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        if decision.injection is None and not decision.reason.quiet and decision.reason.code != "disabled":
            answer["warnings"] = [f"skycap: no sidecar: {decision.sentence()}"]
        return answer


async def _live(_: web.Request) -> web.Response:
    return web.Response(text="live\n")


def context_of(pair: Pair, context: ssl.SSLContext | None = None) -> ssl.SSLContext:
    """What the webhook serves with. context: one that is in use; its next connections have the new certificate."""
    context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.NamedTemporaryFile() as file:  # the standard library takes certificates from files only
        file.write(pair.certificate + b"\n" + pair.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _ignored(_key: Key, _object: Object | None) -> None:
    """Only asked for what there is."""

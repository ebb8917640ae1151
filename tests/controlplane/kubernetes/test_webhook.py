"""The webhook's answers, and its certificate."""

from __future__ import annotations

import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector, web

from controlplane.kubernetes.certificates import LIFE, RENEWED, make
from controlplane.kubernetes.client import Kubernetes
from controlplane.kubernetes.credentials import Credentials
from controlplane.kubernetes.decision import Installation
from controlplane.kubernetes.webhook import Webhook, context_of

POD: dict[str, Any] = {"metadata": {"name": "users"}, "spec": {"containers": [{"name": "web", "image": "a"}]}}


@pytest.fixture
async def webhook() -> Any:
    kubernetes = Kubernetes(Credentials("http://127.0.0.1:1", None, lambda: ""))
    made = Webhook(kubernetes, Installation("skycap", "http://10.0.0.1:7070"))
    made.namespaces.objects["", "shop"] = {"metadata": {"name": "shop", "labels": {"skycap.dev/inject": "enabled"}}}
    yield made
    await kubernetes.close()


def asked(pod: dict[str, Any], namespace: str = "shop") -> dict[str, Any]:
    return {"uid": "1", "namespace": namespace, "object": pod}


async def test_a_pod_gets_a_patch(webhook: Webhook) -> None:
    answer = webhook.answer(asked(POD))
    assert answer["patchType"] == "JSONPatch"
    paths = [operation["path"] for operation in json.loads(base64.b64decode(answer["patch"]))]
    assert paths == ["/metadata/annotations", "/spec/initContainers", "/spec/volumes"]
    assert webhook.decisions == {"injected": 1}


async def test_who_did_not_ask_is_left_alone(webhook: Webhook) -> None:
    assert webhook.answer(asked(POD, "other")) == {}


async def test_who_asked_in_vain_is_told(webhook: Webhook) -> None:
    answer = webhook.answer(asked({**POD, "spec": {**POD["spec"], "hostNetwork": True}}))
    (warning,) = answer["warnings"]
    assert warning.startswith("skycap: no sidecar: host-network: the pod has the node's network, where every rule")


async def test_what_is_no_pod_is_the_api_servers_business(webhook: Webhook) -> None:
    assert webhook.answer(asked({"metadata": {}, "spec": {"containers": [{}]}})) == {}


async def test_over_tls_with_a_certificate_of_its_own(webhook: Webhook) -> None:
    pair = make(["localhost", "skycap-webhook.skycap-system.svc"], datetime.now(UTC))
    runner = web.AppRunner(webhook.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context_of(pair))
    await site.start()
    port = runner.addresses[0][1]
    trust = ssl.create_default_context(cadata=pair.authority.decode())
    try:
        async with ClientSession(connector=TCPConnector(ssl=trust)) as session:
            review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked(POD)}
            async with session.post(f"https://localhost:{port}/inject", json=review) as answer:
                document = await answer.json()
            assert (document["kind"], document["response"]["uid"], document["response"]["allowed"]) == (
                "AdmissionReview", "1", True,
            )  # fmt: skip
            broken = {**review, "request": asked({"metadata": 1})}
            async with session.post(f"https://localhost:{port}/inject", json=broken) as answer:
                document = await answer.json()
            assert document["response"]["allowed"] is True, "a fault of ours stops nobody's pod"
            assert "patch" not in document["response"]
            async with session.post(f"https://localhost:{port}/inject", json={}) as answer:
                assert answer.status == 400
    finally:
        await runner.cleanup()


def test_a_certificate_is_renewed_in_time() -> None:
    now = datetime.now(UTC)
    pair = make(["a.b.svc"], now)
    assert pair.serves(["a.b.svc"], now)
    assert not pair.serves(["a.b.svc", "other"], now)
    assert pair.serves(["a.b.svc"], now + LIFE - RENEWED - timedelta(days=1))
    assert not pair.serves(["a.b.svc"], now + LIFE - RENEWED + timedelta(days=1))

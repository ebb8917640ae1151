"""How the engine `kubernetes` runs."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.kubernetes.decision import Installation as Injection
from proxy.base.listen import Listen


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """
    namespace:  that we are in.
    identity:   who we are among the replicas: the pod's name.
    injection:  what sidecars are told.
    webhook:    where the webhook answers; None: pods are not injected.
    given:      somebody else makes the webhook's certificate, and lets the API server trust it.
    metrics:    where Prometheus gets the figures; None: nowhere but at the registry.
    namespaces: in which shadows may be; empty: in all.
    """

    namespace: str
    identity: str
    injection: Injection
    webhook: Listen | None
    namespaces: tuple[str, ...] = ()
    given: bool = False
    metrics: Listen | None = None

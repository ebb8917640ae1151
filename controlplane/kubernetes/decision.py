"""What is decided about a pod: the reasons there are, and all that the decision rests on.

Every outcome is one row of REASONS. The annotation on the pod, `skycap inject --explain` and whoever else speaks of it
use that row's words, so that they never tell different stories.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.kubernetes.annotations import Knobs
from controlplane.kubernetes.names import DISABLED, ENABLED, EXPLICIT, GROUP, INJECT, MODE, TRANSPARENT, WORKLOAD
from proxy.contract.interception import SIDECAR_ID


@dataclass(frozen=True, slots=True)
class Reason:
    """One way in which a decision ends.

    code:     stable, for programs.
    sentence: for people; what is special about this pod follows it.
    advice:   what to do when it is not what one wants.
    quiet:    nobody has asked for this pod, so that nothing is written on it either.
    """

    code: str
    sentence: str
    advice: str = ""
    quiet: bool = False


INJECTED = Reason("injected", "the pod gets a sidecar")

REASONS = {
    reason.code: reason
    for reason in (
        INJECTED,
        Reason(
            "not-enabled",
            "neither the namespace nor the pod asks for a sidecar",
            f"label one of them {INJECT}={ENABLED}",
            quiet=True,
        ),
        Reason("disabled", "the pod does not want a sidecar", f"remove {INJECT}: {DISABLED} from the pod"),
        Reason(
            "namespace-disabled",
            "the namespace does not want sidecars",
            f"kubectl label namespace NAME --overwrite {INJECT}={ENABLED}",
            quiet=True,
        ),
        Reason("system-namespace", "the namespace keeps the cluster itself, or Skycap, running", quiet=True),
        Reason(
            "annotation",
            "an annotation or label cannot be read",
            "correct it; the pod runs without a sidecar until then",
        ),
        Reason(
            "host-network",
            "the pod has the node's network, where every rule would hold for the whole node",
            "give it a network of its own (hostNetwork: false)",
        ),
        Reason("windows", "the pod runs on Windows, where there is no nftables"),
        Reason("mirror-pod", "the pod is a static one of its node, which the API server only mirrors"),
        Reason("no-containers", "the pod has no containers"),
        Reason(
            "no-workload-name",
            "no workload name can be made of the pod's owner",
            f"name it with the annotation {WORKLOAD}: a DNS label",
        ),
        Reason(
            "other-mesh",
            "another mesh redirects this pod's connections",
            f"annotate the pod {MODE}: {EXPLICIT}, which redirects nothing",
        ),
        Reason(
            "name-taken",
            "the pod has something of its own under a name that the sidecar needs",
            "rename it",
        ),
        Reason(
            "runs-as-sidecar",
            f"a container runs as user or group {SIDECAR_ID}, whose calls are never redirected",
            f"run it as another one, or annotate the pod {MODE}: {EXPLICIT}",
        ),
        Reason(
            "port-taken",
            "a container uses a port that the sidecar needs",
            f"move it; {GROUP}/admin-port moves the sidecar's admin port",
        ),
        Reason(
            "pod-security",
            "the namespace forbids NET_ADMIN, which the rules need once at the start",
            f"label the namespace or annotate the pod {MODE}: {EXPLICIT}",
        ),
        Reason(
            "no-named-ports",
            f"no port has a name, and {EXPLICIT} mode moves a Service by its port's name",
            "name the container's ports and let the Service's targetPort say those names",
        ),
        Reason(
            "no-cluster-dns",
            "the pod does not ask the cluster's name servers, and its sidecar would not find the control plane",
            "set dnsPolicy: ClusterFirst",
        ),
    )
}
"""In the order in which they are looked for."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """What a pod's namespace is called and how it is labelled."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Installation:
    """What all sidecars of a cluster have in common.

    image:       that has `skycap`, nft and Python, for the sidecar and the init container.
    pull_policy: of the image; "" leaves it to the cluster.
    registry:    URL where sidecars reach the control plane.
    namespace:   of the control plane, whose pods are never injected.
    mode:        for whoever does not say.
    resources:   of the sidecar, as `Knobs.resources`.
    """

    image: str
    registry: str
    pull_policy: str = ""
    namespace: str = "skycap-system"
    mode: str = TRANSPARENT
    resources: tuple[tuple[str, str], ...] = (
        ("limits.memory", "256Mi"),
        ("requests.cpu", "10m"),
        ("requests.memory", "48Mi"),
    )


@dataclass(frozen=True, slots=True)
class Injection:
    """How a pod is injected: what `patch` does.

    workload: `namespace/name`.
    sandbox, routing_key, revision: of a shadow's pod; "", "" and 0 of a baseline's.
    """

    workload: str
    mode: str
    knobs: Knobs
    sandbox: str = ""
    routing_key: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """reason: the row. detail: what is special about this pod, or "". injection: when the pod is injected."""

    reason: Reason
    detail: str = ""
    injection: Injection | None = None

    def sentence(self) -> str:
        """One line: the code, why, and what is special."""
        if self.injection is not None:
            return f"{self.reason.code}: {self.injection.workload}, {self.injection.mode}"
        return f"{self.reason.code}: {self.reason.sentence}" + (f" ({self.detail})" if self.detail else "")

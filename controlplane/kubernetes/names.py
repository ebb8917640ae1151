"""Labels, annotations and names that the injector, the operator and people agree on."""

from __future__ import annotations

from proxy.base.access import USER, VIEWER

GROUP = "skycap.dev"

INJECT = f"{GROUP}/inject"
"""Label of a namespace, label or annotation of a pod: ENABLED or DISABLED."""

ENABLED, DISABLED = "enabled", "disabled"

MODE = f"{GROUP}/mode"
"""Label of a namespace, annotation of a pod: TRANSPARENT or EXPLICIT."""

TRANSPARENT, EXPLICIT = "transparent", "explicit"

WORKLOAD = f"{GROUP}/workload"
"""Annotation of a pod: the workload's name, where its owner's name is not it."""

SANDBOX = f"{GROUP}/sandbox"
"""Label of all that belongs to a Sandbox. A pod that has it is a shadow."""

ROUTING_KEY, REVISION = f"{GROUP}/routing-key", f"{GROUP}/revision"
"""Annotations of a shadow's pod."""

INJECTION = f"{GROUP}/injection"
"""Annotation that we write: what was decided about the pod."""

CHANGES = f"{GROUP}/changes"
"""Annotation that we write: what was changed in the pod's own containers, so that it can be changed back."""

OURS = (INJECTION, CHANGES)

PROXY, INTERCEPT, TOKEN = "skycap-proxy", "skycap-intercept", "skycap-token"
"""The sidecar's container, the init container that installs the rules, and the volume with the sidecar's token."""

EXPLICIT_PORT = 15301
"""Of the forward proxy on loopback in explicit mode: the ports of transparent mode are those of the mesh beside it."""

ADMIN_PORT_NAME = "skycap-admin"

AUDIENCE = "skycap"
"""Whom a sidecar's service-account token is for."""

SYSTEM = "skycap-system"
"""Our own namespace, as the manifests have it."""

ACCOUNTS = {"skycap-user": USER, "skycap-viewer": VIEWER}
"""Service accounts of our own namespace whose tokens people show us -> their role, the mightiest first."""

GATEWAY_ACCOUNT = "skycap-gateway"
"""Service account of our own namespace that may watch what sidecars watch, of all namespaces."""

LEADER = f"{GROUP}/leader"
"""Label of the pod that leads."""

SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""They keep the cluster itself running (kubernetes.io/docs/concepts/overview/working-with-objects/namespaces)."""

POD_SECURITY = "pod-security.kubernetes.io/enforce"
"""Label of a namespace: which Pod Security Standard its pods have to meet."""

"""What the control plane has to be allowed: the table of manifests/README.md, as the doctor asks for it."""

from __future__ import annotations

from typing import NamedTuple

from controlplane.kubernetes.names import GROUP


class Needed(NamedTuple):
    """verbs on a resource, as RBAC has them. name: of the one object, "" for any. within: of our own namespace."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    name: str = ""
    within: bool = False

    def sentence(self, verb: str) -> str:
        return f"{verb} {self.resource}" + (f" {self.name}" if self.name else "")


CLUSTER = (
    Needed(GROUP, "sandboxes", ("get", "list", "watch", "create", "patch", "delete")),
    Needed(GROUP, "routegroups", ("get", "list", "watch", "create", "patch", "delete")),
    Needed(GROUP, "sandboxes/status", ("patch",)),
    Needed(GROUP, "routegroups/status", ("patch",)),
    Needed("authentication.k8s.io", "tokenreviews", ("create",)),
    Needed("", "namespaces", ("list", "watch")),
    Needed("admissionregistration.k8s.io", "mutatingwebhookconfigurations", ("get", "update"), "skycap"),
)

SHADOWS = (
    Needed("apps", "deployments", ("get", "list", "watch", "create", "patch", "delete")),
    Needed("apps", "statefulsets", ("get", "list", "watch")),
    Needed("apps", "daemonsets", ("get", "list", "watch")),
    Needed("", "pods", ("get", "list", "watch")),
    Needed("", "pods/log", ("get",)),
    Needed("", "services", ("list", "watch")),
    Needed("", "persistentvolumeclaims", ("get",)),
)
"""In every namespace where shadows may be."""

OWN = (
    Needed("", "pods", ("get", "list", "patch"), within=True),
    Needed("", "configmaps", ("list", "create", "patch", "delete"), within=True),
    Needed("", "secrets", ("create",), within=True),
    Needed("", "secrets", ("get", "update"), "skycap-webhook", within=True),
    Needed("", "secrets", ("get", "update"), "skycap-tokens", within=True),
    Needed("coordination.k8s.io", "leases", ("create",), within=True),
    Needed("coordination.k8s.io", "leases", ("get", "update"), "skycap", within=True),
)

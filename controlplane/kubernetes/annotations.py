"""What a pod's annotations say about its sidecar. Everything that is wrong with them is told at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.intercept.reading import read_networks, read_ports
from controlplane.intercept.ruleset import Network, Ports
from controlplane.kubernetes.names import EXPLICIT, GROUP, MODE, TRANSPARENT

_QUANTITY = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:m|k|M|G|Ki|Mi|Gi)?")
"""As far as anybody writes it for a sidecar: `100m`, `0.5`, `64Mi` (kubernetes.io/docs/reference/kubernetes-api/
common-definitions/quantity)."""

_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Knobs:
    """What may differ from pod to pod.

    mode: "" when the pod does not say.
    include_inbound_ports, exclude_inbound_ports, exclude_outbound_ports, exclude_outbound_cidrs: as of
        `skycap intercept install`.
    opaque_ports: whose connections are carried unread.
    resources:    of the sidecar, `requests.cpu` and the like, in place of the installation's.
    """

    mode: str = ""
    admin_port: int = 9901
    log_level: str = "info"
    include_inbound_ports: Ports = ()
    exclude_inbound_ports: Ports = ()
    exclude_outbound_ports: Ports = ()
    exclude_outbound_cidrs: tuple[Network, ...] = ()
    opaque_ports: Ports = ()
    resources: tuple[tuple[str, str], ...] = ()


class AnnotationsError(Exception):
    """`problems`: one phrase for each annotation that cannot be read."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is none of {', '.join(allowed)}")
        return text

    return read


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is no port")
    return int(text)


def _quantity(text: str) -> str:
    if not _QUANTITY.fullmatch(text):
        raise ValueError(f"{text!r} is no quantity like 100m or 64Mi")
    return text


_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    MODE: ("mode", _one_of(TRANSPARENT, EXPLICIT)),
    f"{GROUP}/admin-port": ("admin_port", _port),
    f"{GROUP}/log-level": ("log_level", _one_of(*_LEVELS)),
    f"{GROUP}/include-inbound-ports": ("include_inbound_ports", read_ports),
    f"{GROUP}/exclude-inbound-ports": ("exclude_inbound_ports", read_ports),
    f"{GROUP}/exclude-outbound-ports": ("exclude_outbound_ports", read_ports),
    f"{GROUP}/exclude-outbound-cidrs": ("exclude_outbound_cidrs", read_networks),
    f"{GROUP}/opaque-ports": ("opaque_ports", read_ports),
}

_RESOURCES = {
    f"{GROUP}/cpu-request": "requests.cpu",
    f"{GROUP}/cpu-limit": "limits.cpu",
    f"{GROUP}/memory-request": "requests.memory",
    f"{GROUP}/memory-limit": "limits.memory",
}

MAX_OPAQUE = 64
"""Ports that are named one by one on the sidecar's command line; a range is spelt out."""


def read_knobs(annotations: Mapping[str, str]) -> Knobs:
    """What the annotations say. Raises AnnotationsError."""
    found: dict[str, Any] = {}
    resources: dict[str, str] = {}
    problems = []
    for name, text in annotations.items():
        try:
            if name in _READERS:
                field, read = _READERS[name]
                found[field] = read(text)
            elif name in _RESOURCES:
                resources[_RESOURCES[name]] = _quantity(text)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if sum(high - low + 1 for low, high in found.get("opaque_ports", ())) > MAX_OPAQUE:
        problems.append(f"{GROUP}/opaque-ports: names more than {MAX_OPAQUE} ports")
    if problems:
        raise AnnotationsError(problems)
    return Knobs(**found, resources=tuple(sorted(resources.items())))


KNOBS = (*_READERS, *_RESOURCES)
"""Every annotation that is read here."""

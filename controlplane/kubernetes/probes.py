"""Probes and ports that must go on meaning what they meant.

The kubelet's probes come in like any client, and are redirected. One over HTTP or gRPC is answered by the application,
through the sidecar. One that only connects (`tcpSocket`) would find the sidecar, which always accepts: a pod would be
ready before its application listens. It gets a port of its own, which a rule leads to the application's.

Ports for metrics are left alone, as long as the pod has another one: whoever scrapes has no routing key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controlplane.intercept.ruleset import Ports

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")

SCRAPE_PORT = "prometheus.io/port"
"""The annotation by which Prometheus is told what to scrape."""


def probes_that_connect(container: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any], int]]:
    """The probes of a container that only connect to the pod: their kind, themselves, and the port as a number."""
    for kind in PROBES:
        probe = container.get(kind) or {}
        tcp = probe.get("tcpSocket")
        if isinstance(tcp, Mapping) and not tcp.get("host"):
            number = port_number(container, tcp.get("port"))
            if number is not None:
                yield kind, probe, number


def port_number(container: Mapping[str, Any], port: object) -> int | None:
    """The number of a port that is given by number or by name; None when the container has no such name."""
    if isinstance(port, int):
        return port
    if isinstance(port, str) and port.isascii() and port.isdigit():
        return int(port)
    for item in container.get("ports") or ():
        if item.get("name") == port:
            return int(item["containerPort"])
    return None


def redirected(number: int, included: Ports, excluded: Ports) -> bool:
    """Whether connections to a port pass the sidecar."""

    def within(ranges: Ports) -> bool:
        return any(low <= number <= high for low, high in ranges)

    return not within(excluded) and (not included or within(included))


def metrics_ports(pod: Mapping[str, Any]) -> Ports:
    """Ports that serve metrics only."""
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    scraped = str(annotations.get(SCRAPE_PORT, ""))
    every: set[int] = set()
    found: set[int] = set()
    for container in (pod.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            number = int(port["containerPort"])
            every.add(number)
            name = str(port.get("name") or "")
            if name == "metrics" or name.endswith("-metrics") or str(number) == scraped:
                found.add(number)
    return tuple((number, number) for number in sorted(found)) if found < every else ()

"""The registry's figures. What exists anyway is read when somebody scrapes; only requests are counted as they come."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.life.registry import Registry

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

UNKNOWN = "other"
"""The path of a request that matches none: labels come from our table, never from the sender."""


class RegistryCollector(Collector):
    """What the registry knows of itself at this moment."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        registry = self._registry
        sandboxes = GaugeMetricFamily("skycap_registry_sandboxes", "Sandboxes by phase.", labels=["phase"])
        for phase, count in registry.sandboxes.phases().items():
            sandboxes.add_metric([phase.value], count)
        yield sandboxes
        sidecars = registry.sidecars.all()
        connected = [sidecar for sidecar in sidecars if sidecar.connected]
        known = GaugeMetricFamily("skycap_registry_sidecars", "Sidecars by state.", labels=["state"])
        known.add_metric(["in_sync"], sum(sidecar.in_sync for sidecar in connected))
        known.add_metric(["behind"], sum(not sidecar.in_sync for sidecar in connected))
        known.add_metric(["gone"], len(sidecars) - len(connected))
        yield known
        yield _gauge("skycap_registry_revision", "Id of the newest route change.", registry.published.revision)
        yield _gauge("skycap_registry_routes", "Routes of all workloads.", len(registry.published))
        yield _gauge("skycap_registry_watchers", "Open route watches.", len(registry.watchers))
        streams = CounterMetricFamily(
            "skycap_registry_watches", "Route watches by how they began or were cut.", labels=["event"]
        )
        streams.add_metric(["snapshot"], registry.watchers.snapshots)
        streams.add_metric(["resumed"], registry.watchers.resumed)
        streams.add_metric(["cut"], registry.watchers.cut)
        yield streams
        writes = CounterMetricFamily("skycap_registry_store_writes", "Transactions by outcome.", labels=["outcome"])
        writes.add_metric(["stored"], registry.journal.writes)
        writes.add_metric(["failed"], registry.journal.failures)
        yield writes
        shadows = CounterMetricFamily("skycap_registry_shadows", "What became of shadows.", labels=["event"])
        for event in ("started", "not_started", "died", "adopted"):
            shadows.add_metric([event], getattr(registry.counters, event))
        yield shadows
        hops = CounterMetricFamily("skycap_registry_hops", "Hop records by what became of them.", labels=["outcome"])
        hops.add_metric(["kept"], registry.intake.kept)
        hops.add_metric(["dropped"], registry.intake.dropped)
        hops.add_metric(["strange"], registry.intake.strange)
        hops.add_metric(["malformed"], registry.intake.malformed)
        yield hops
        expired = CounterMetricFamily("skycap_registry_sandboxes_expired", "Sandboxes deleted by their TTL.")
        expired.add_metric([], registry.counters.expired)
        yield expired
        if (asked := registry.installation.asked) is not None:
            requests = CounterMetricFamily(
                "skycap_kubernetes_requests", "Requests to the API server, watches included."
            )
            requests.add_metric([], asked())
            yield requests


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value)


def counting(metrics: CollectorRegistry) -> Middleware:
    """The middleware that counts requests by operation, method and status."""
    requests = Counter("skycap_registry_requests", "Requests.", ["method", "path", "status"], registry=metrics)
    seconds = Histogram(
        "skycap_registry_request_seconds",
        "Time to answer, waiting included.",
        ["path"],
        buckets=SECONDS,
        registry=metrics,
    )

    # A look-up by labels checks and joins them every time; there are a few dozen of each.
    timer = cache(seconds.labels)
    counter = cache(requests.labels)

    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        path = resource.canonical if resource is not None else UNKNOWN
        method = request.method if request.method in ("GET", "HEAD", "PUT", "POST", "DELETE") else UNKNOWN
        with timer(path).time():
            response = await handler(request)
        counter(method, path, str(response.status)).inc()
        return response

    return counted

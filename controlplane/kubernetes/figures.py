"""The figures of one replica, for Prometheus: what its injector decided, and, where it leads, those of the registry.

They are served without a token, on a port of their own: whoever scrapes a cluster has none, and there are only counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector


class ReplicaCollector(Collector):
    """decisions: of the injector, by the reason's code. leads: whether this replica does, 0 or 1."""

    def __init__(self, decisions: Mapping[str, int]) -> None:
        self._decisions = decisions
        self.leads = False

    def collect(self) -> Iterator[Metric]:
        decided = CounterMetricFamily("skycap_injector_decisions", "Pods by what was decided.", labels=["reason"])
        for code, count in sorted(self._decisions.items()):
            decided.add_metric([code], count)
        yield decided
        yield GaugeMetricFamily("skycap_replica_leads", "Whether this replica leads.", int(self.leads))


def application(figures: CollectorRegistry) -> web.Application:
    """`/metrics` and nothing else."""

    async def metrics(request: web.Request) -> web.Response:
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return web.Response(body=encode(figures), headers={"content-type": kind})

    made = web.Application(client_max_size=1024)
    made.router.add_get("/metrics", metrics)
    return made

"""The figures as Prometheus and OpenMetrics read them."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from proxy.errors import FAILURES
from proxy.feed.holder import FeedState
from proxy.routing.table import RouteTable
from proxy.telemetry.counters import DECISIONS, Counters, SideCounters
from proxy.telemetry.exposition import Exposition, PoolFigures

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


class Sidecar:
    def __init__(self) -> None:
        self.counters = Counters()
        self.table = RouteTable("shop/users")
        self.clock = Clock()
        self.feed = FeedState("registry http://secret-host:1", self.table, self.clock)
        self.pools: list[PoolFigures] = []
        self.exposition = Exposition(
            self.counters, self.table, self.feed, lambda: self.pools, workload="shop/users", version="1.2.3"
        )

    def families(self, accept: str = OPENMETRICS) -> dict[str, Metric]:
        text, content_type = self.exposition.text(accept)
        openmetrics = content_type.startswith("application/openmetrics-text")
        families: Iterable[Metric] = (parse_openmetrics if openmetrics else parse_prometheus)(text.decode())
        return {family.name: family for family in families}

    def value(self, name: str, **labels: str) -> float:
        family = self.families()[name.removesuffix("_total")]
        [value] = [sample.value for sample in family.samples if sample.name == name and sample.labels == labels]
        return value


@pytest.fixture
def sidecar() -> Sidecar:
    return Sidecar()


def test_statuses_beyond_599_count_as_5xx(sidecar: Sidecar) -> None:
    """RFC 9110 section 15"""
    for status_class, count in ((5, 1), (6, 20), (9, 300)):
        sidecar.counters.inbound.requests["baseline"][status_class] = count
    assert sidecar.value("skycap_requests_total", direction="inbound", decision="baseline", status="5xx") == 321


def test_requests_by_direction_decision_and_status_class(sidecar: Sidecar) -> None:
    sidecar.counters.inbound.requests["shadow"][2] = 7
    sidecar.counters.inbound.requests["error"][0] = 1
    sidecar.counters.outbound.requests["forward"][5] = 2
    name = "skycap_requests_total"
    assert sidecar.value(name, direction="inbound", decision="shadow", status="2xx") == 7
    assert sidecar.value(name, direction="inbound", decision="error", status="none") == 1
    assert sidecar.value(name, direction="outbound", decision="forward", status="5xx") == 2
    assert sidecar.value(name, direction="inbound", decision="baseline", status="2xx") == 0  # from zero, for rate()
    assert len(sidecar.families()["skycap_requests"].samples) == 2 * len(DECISIONS) * 6


def test_durations_are_cumulative_seconds(sidecar: Sidecar) -> None:
    figures = sidecar.counters.inbound
    for microseconds in (0, 100, 127, 128, 1000, 70_000_000, 2**38):
        figures.durations[int(microseconds).bit_length()] += 1
    figures.duration_sum = 99.5
    family = sidecar.families()["skycap_request_duration_seconds"]
    inbound = [sample for sample in family.samples if sample.labels["direction"] == "inbound"]
    buckets = {sample.labels["le"]: sample.value for sample in inbound if sample.name.endswith("_bucket")}
    assert buckets["0.000128"] == 3
    assert buckets["0.000256"] == 4
    assert buckets["0.001024"] == 5
    assert buckets["67.108864"] == 5
    assert buckets["+Inf"] == 7
    assert len(buckets) == 21
    bounds = [float(bound) for bound in buckets]
    assert all(low < high for low, high in itertools.pairwise(bounds))
    assert [sample.value for sample in inbound if sample.name.endswith("_count")] == [7]
    assert [sample.value for sample in inbound if sample.name.endswith("_sum")] == [99.5]


def test_failures_by_code_are_there_from_the_start(sidecar: Sidecar) -> None:
    sidecar.counters.inbound.failures["loop"] += 3
    assert sidecar.value("skycap_failures_total", direction="inbound", code="loop") == 3
    assert sidecar.value("skycap_failures_total", direction="outbound", code="loop") == 0
    assert len(sidecar.families()["skycap_failures"].samples) == 2 * len(FAILURES)


@pytest.mark.parametrize(
    ("attribute", "name", "labels"),
    [
        ("keys_malformed", "skycap_keys_malformed_total", {}),
        ("key_conflicts", "skycap_key_conflicts_total", {}),
        ("connections_accepted", "skycap_connections_accepted_total", {}),
        ("connections_open", "skycap_connections_open", {}),
        ("tunnels_opened", "skycap_tunnels_opened_total", {}),
        ("paused_downstream", "skycap_reads_paused_total", {"peer": "downstream"}),
        ("paused_upstream", "skycap_reads_paused_total", {"peer": "upstream"}),
        ("upstream_dials", "skycap_upstream_dials_total", {}),
        ("upstream_dial_failures", "skycap_upstream_dial_failures_total", {}),
        ("upstream_reused", "skycap_upstream_reused_total", {}),
        ("upstream_retries", "skycap_upstream_retries_total", {}),
        ("upstream_discarded", "skycap_upstream_discarded_total", {}),
    ],
)
def test_plain_figures_of_a_direction(sidecar: Sidecar, attribute: str, name: str, labels: dict[str, str]) -> None:
    setattr(sidecar.counters.outbound, attribute, 5)
    assert sidecar.value(name, direction="outbound", **labels) == 5
    assert sidecar.value(name, direction="inbound", **labels) == 0


def test_every_counter_of_a_direction_is_shown() -> None:
    """A figure that is counted and never seen would be a mistake."""
    sidecar = Sidecar()
    before = sidecar.exposition.text()[0].decode()
    names = [name for name, member in vars(SideCounters).items() if inspect.isdatadescriptor(member)]
    assert len(names) > 10
    for number, attribute in enumerate(names, 1000):
        value = getattr(sidecar.counters.inbound, attribute)
        if isinstance(value, int | float):
            setattr(sidecar.counters.inbound, attribute, number)
        elif attribute == "requests":
            value["shadow"][3] = number
        elif attribute == "durations":
            value[9] = number
        else:
            value["new"] = number
        after = sidecar.exposition.text()[0].decode()
        assert f" {float(number)}" in after, attribute
        assert after != before
    sidecar.counters.keys_lost, sidecar.counters.traces_known, sidecar.counters.traces_dropped = 1, 2, 3
    assert sidecar.value("skycap_keys_lost_total") == 1
    sidecar.counters.traces_disputed, sidecar.counters.trace_seconds = 4, 118.5
    assert sidecar.value("skycap_traces_disputed_total") == 4
    assert sidecar.value("skycap_trace_memory_seconds") == 118.5
    assert sidecar.value("skycap_traces_known") == 2
    assert sidecar.value("skycap_traces_dropped_total") == 3


def test_timeouts_and_carriers(sidecar: Sidecar) -> None:
    sidecar.counters.inbound.timeouts["hold"] += 2
    sidecar.counters.outbound.key_carriers["trace"] += 4
    assert sidecar.value("skycap_timeouts_total", direction="inbound", phase="hold") == 2
    assert sidecar.value("skycap_keys_total", direction="outbound", carrier="trace") == 4


def test_pools_of_one_kind_are_added_up(sidecar: Sidecar) -> None:
    sidecar.pools = [PoolFigures("inbound", "shadow", 1, 2), PoolFigures("inbound", "shadow", 10, 20)]
    name = "skycap_upstream_connections"
    assert sidecar.value(name, direction="inbound", upstream="shadow", state="idle") == 11
    assert sidecar.value(name, direction="inbound", upstream="shadow", state="busy") == 22


def test_the_table_and_its_feed(sidecar: Sidecar) -> None:
    families = sidecar.families()
    assert families["skycap_routes_age_seconds"].samples == []  # never confirmed is no age
    assert sidecar.value("skycap_routes_synced") == 0
    sidecar.table.replace({})
    sidecar.feed.confirm()
    sidecar.clock.now += 2.5
    sidecar.feed.connected = True
    sidecar.feed.applied, sidecar.feed.refused, sidecar.feed.ignored, sidecar.feed.failures = 4, 3, 2, 1
    assert sidecar.value("skycap_routes") == 0
    assert sidecar.value("skycap_routes_synced") == 1
    assert sidecar.value("skycap_routes_age_seconds") == 2.5
    assert sidecar.value("skycap_feed_connected") == 1
    assert sidecar.value("skycap_feed_applied_revision") == 4
    assert sidecar.value("skycap_feed_refused_total") == 3
    assert sidecar.value("skycap_feed_ignored_total") == 2
    assert sidecar.value("skycap_feed_failures_total") == 1


def test_the_build_and_the_process(sidecar: Sidecar) -> None:
    families = sidecar.families()
    [build] = families["skycap_build"].samples
    assert (build.labels["version"], build.labels["workload"]) == ("1.2.3", "shop/users")
    assert families["process_resident_memory_bytes"].samples[0].value > 1e6
    assert families["process_open_fds"].samples[0].value > 1


@pytest.mark.parametrize("accept", [OPENMETRICS, "text/plain", "", "*/*", "application/openmetrics-text;version=0.0.1"])
def test_every_format_holds_the_same(sidecar: Sidecar, accept: str) -> None:
    sidecar.counters.inbound.requests["shadow"][2] = 7
    ours = {name.removesuffix("_info") for name in sidecar.families(accept) if name.startswith("skycap_")}
    assert ours == {name for name in sidecar.families() if name.startswith("skycap_")}
    for family in sidecar.families(accept).values():
        assert family.documentation


def test_a_scrape_registers_nothing_twice(sidecar: Sidecar) -> None:
    first, second = sidecar.families(), sidecar.families()
    assert first.keys() == second.keys()


def test_no_label_has_a_key_a_host_or_a_path(sidecar: Sidecar) -> None:
    names = {
        label
        for name, family in sidecar.families().items()
        if name.startswith("skycap_") and name != "skycap_build"
        for sample in family.samples
        for label in sample.labels
    }
    assert names <= {
        "direction",
        "decision",
        "status",
        "code",
        "protocol",
        "le",
        "flow",
        "peer",
        "upstream",
        "state",
        "outcome",
    }
    assert b"secret-host" not in sidecar.exposition.text()[0]

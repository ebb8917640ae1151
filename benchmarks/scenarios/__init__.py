"""The scenarios, in the order in which they run."""

from benchmarks.scenario import Scenario
from benchmarks.scenarios import (
    agents,
    bodies,
    connections,
    feedback,
    grpc,
    hops,
    http1,
    http2,
    latency,
    micro,
    outbound,
    propagation,
    routes,
)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        http1.SCENARIO,
        latency.SCENARIO,
        bodies.SCENARIO,
        connections.SCENARIO,
        http2.SCENARIO,
        grpc.SCENARIO,
        routes.SCENARIO,
        propagation.SCENARIO,
        hops.SCENARIO,
        feedback.SCENARIO,
        agents.SCENARIO,
        outbound.SCENARIO,
        micro.SCENARIO,
    )
}

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from controlplane.launch.port import LaunchError
from controlplane.store.port import StoreError
from tests.controlplane.api.conftest import Watch
from tests.controlplane.api.served import Served
from tests.controlplane.eventually import eventually
from tests.controlplane.sandboxes import document, sandbox


async def figures(api: Served) -> dict[str, float]:
    """Samples as `name{label values}`."""
    async with api.http.get(f"{api.url}/metrics") as answer:
        assert answer.status == 200
        text = await answer.text()
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}" if sample.labels else sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_live_and_ready(api: Served) -> None:
    assert (await api.ask("GET", "/live"))[:2] == (200, {"status": "live"})
    assert (await api.ask("GET", "/ready"))[:2] == (200, {"status": "ready"})
    assert await api.client.ready()


async def test_a_fault_of_the_store_is_told_and_over_with_the_next_write_that_succeeds(api: Served) -> None:
    """Not what a store says, a full disk for example: an exception that nobody foresaw."""
    api.store.problem = RuntimeError("the driver is broken")
    status, body, _ = await api.ask("PUT", "/v1/sandboxes/a", json=document("a"))
    assert (status, body["code"]) == (503, "store-unavailable")
    status, body, _ = await api.ask("GET", "/ready")
    assert (status, body["detail"]) == (503, "the store has a fault: RuntimeError: the driver is broken")
    assert (await api.ask("GET", "/live"))[0] == 200
    api.store.problem = None
    assert (await api.ask("PUT", "/v1/sandboxes/a", json=document("a")))[0] == 201
    assert (await api.ask("GET", "/ready"))[0] == 200


async def test_the_figures_follow_what_happens(api: Served, watch: Watch) -> None:
    stream = watch("shop/cart", sidecar="cart-1")
    await eventually(lambda: stream.synced)
    await api.client.apply(sandbox("a"))
    await api.client.wait("a")
    api.launcher.failing[1] = LaunchError("broken")
    await api.client.apply(sandbox("b"))
    await api.client.wait("b")
    api.store.problem = StoreError("full", full=True)
    await api.ask("PUT", "/v1/sandboxes/c", json=document("c"))
    api.store.problem = None
    found = await figures(api)
    expected = {
        "skycap_registry_sandboxes{Ready}": 1,
        "skycap_registry_sandboxes{Failed}": 1,
        "skycap_registry_sandboxes{Pending}": 0,
        "skycap_registry_sidecars{behind}": 1,
        "skycap_registry_sidecars{in_sync}": 0,
        "skycap_registry_routes": 2,
        "skycap_registry_watchers": 1,
        "skycap_registry_watches_total{snapshot}": 1,
        "skycap_registry_watches_total{cut}": 0,
        "skycap_registry_store_writes_total{failed}": 1,
        "skycap_registry_shadows_total{started}": 1,
        "skycap_registry_shadows_total{not_started}": 1,
        "skycap_registry_requests_total{PUT,/v1/sandboxes/{name},201}": 2,
        "skycap_registry_requests_total{PUT,/v1/sandboxes/{name},507}": 1,
        "skycap_registry_revision": api.registry.published.revision,
    }
    assert {name: found.get(name) for name in expected} == expected


async def test_strangers_make_no_labels(api: Served) -> None:
    for number in range(5):
        await api.ask("PROPFIND", f"/coffee/{number}")
    found = await figures(api)
    assert found["skycap_registry_requests_total{other,other,404}"] == 5
    assert not any("coffee" in name or "PROPFIND" in name for name in found)

"""The map over HTTP: the registry's own knowledge of its services."""

from __future__ import annotations

from controlplane.model.workload import Workload
from proxy.contract.hops import HOPS_TYPE, INBOUND, OUTBOUND, Hop, encode_hop
from tests.controlplane.api.served import Served
from tests.controlplane.api.test_feedback import KEY
from tests.controlplane.sandboxes import sandbox


async def test_what_calls_what_and_who_forks_it(api: Served) -> None:
    await api.client.put_workload(Workload(workload="shop/users", address="127.0.0.1:7"))
    await api.client.apply(sandbox(KEY))
    await api.client.wait(KEY, 10)
    hops = [
        Hop("1" * 16, KEY, "shop/orders", OUTBOUND, peer="127.0.0.1:7", method="GET", path="/users/ada", status=200),
        Hop("2" * 16, KEY, "shop/users", INBOUND, parent="1" * 16, method="GET", path="/users/ada", status=200),
    ]
    batch = b"".join(map(encode_hop, hops))
    status, _, _ = await api.ask("POST", "/v1/hops", data=batch, headers={"content-type": HOPS_TYPE})
    assert status == 204
    services = {one.workload: one for one in (await api.client.map()).services}
    assert [one.workload for one in services["shop/orders"].calls] == ["shop/users"]
    users = services["shop/users"]
    assert users.example is not None
    assert users.example.url == "http://127.0.0.1:7/users/ada"
    assert [(fork.sandbox, fork.revision) for fork in users.forks] == [(KEY, 1)]

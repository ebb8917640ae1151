from __future__ import annotations

import pytest

from controlplane.client import RegistryError
from controlplane.model.workload import Upstream, Workload
from tests.controlplane.api.served import Served
from tests.controlplane.sandboxes import USERS

WORKLOAD = Workload(
    workload=USERS,
    address="127.0.0.1:18081",
    command=("python", "users.py"),
    upstreams=(Upstream(name="payments", workload="shop/payments", address="127.0.0.1:18082"),),
)


async def test_register_look_and_forget(api: Served) -> None:
    assert await api.client.put_workload(WORKLOAD) == WORKLOAD
    assert await api.client.workload(USERS) == WORKLOAD
    assert await api.client.workloads() == [WORKLOAD]
    await api.client.delete_workload(USERS)
    assert await api.client.workloads() == []
    with pytest.raises(RegistryError, match="no baseline of shop/users is registered"):
        await api.client.workload(USERS)


async def test_new_is_201_and_the_same_again_200(api: Served) -> None:
    body = WORKLOAD.model_dump(mode="json")
    assert [(await api.ask("PUT", f"/v1/workloads/{USERS}", json=body))[0] for _ in range(2)] == [201, 200]


async def test_a_bad_definition(api: Served) -> None:
    status, problem, _ = await api.ask("PUT", f"/v1/workloads/{USERS}", json={"workload": "shop/cart", "port": 3})
    assert status == 422
    assert [item["path"] for item in problem["problems"]] == ["address", "port"]
    status, problem, _ = await api.ask(
        "PUT", f"/v1/workloads/{USERS}", json={"workload": "shop/cart", "address": "127.0.0.1:1"}
    )
    assert [item["path"] for item in problem["problems"]] == ["workload"]

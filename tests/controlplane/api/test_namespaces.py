"""A sidecar of one namespace speaks of its own workloads only: one that is taken over tells nothing of others."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.api.access import Role, Visitor
from controlplane.model.push import Push, SentFile
from controlplane.model.workload import Workload
from proxy.contract.hops import HOPS_TYPE
from tests.controlplane.api.served import Served, served
from tests.controlplane.sandboxes import sandbox

OURS, THEIRS, GATEWAY = "token-of-shop", "token-of-bank", "token-of-gateway"
NAMESPACES = {OURS: "shop", THEIRS: "bank", GATEWAY: ""}


async def review(token: str) -> Visitor | None:
    return Visitor(Role.SIDECAR, NAMESPACES[token]) if token in NAMESPACES else None


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served(review=review) as one:
        yield one


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_reports(api: Served) -> None:
    report = {"workload": "shop/users", "appliedRevision": 0}

    async def put(token: str, document: dict[str, object]) -> int:
        return (await api.ask("PUT", "/v1/sidecars/one", json=document, headers=bearer(token)))[0]

    assert await put(THEIRS, report) == 403
    assert await put(OURS, report) == 204
    assert await put(THEIRS, {**report, "workload": "bank/users"}) == 403, "the id is another's"
    (found,) = await api.client.sidecars()
    assert found.workload == "shop/users"


async def test_hops(api: Served) -> None:
    await api.client.apply(sandbox("a"))
    line = {"id": "1" * 16, "key": "a", "workload": "shop/users", "side": "inbound", "time": 1.0, "status": 200}
    batch = json.dumps(line).encode() + b"\n"
    for token, kept in ((THEIRS, 0), (OURS, 1)):
        headers = {**bearer(token), "content-type": HOPS_TYPE}
        assert (await api.ask("POST", "/v1/hops", data=batch, headers=headers))[0] == 204
        assert api.registry.intake.kept == kept
    assert api.registry.intake.malformed == 1


async def test_pushed_files(api: Served, tmp_path: Path) -> None:
    """A pod gets the files of its own namespace's forks, and those that nobody has pushed are told by name."""
    baseline = Workload(workload="shop/users", address="127.0.0.1:1", command=("a",), cwd=str(tmp_path))
    await api.client.put_workload(baseline)
    files = (SentFile(path="users.py", text="new"),)
    pushed = await api.client.push("agent-42", Push(workload="shop/users", files=files))
    for token, status in ((THEIRS, 404), (OURS, 200)):
        async with api.http.get(f"{api.url}/v1/trees/{pushed.digest}", headers=bearer(token)) as answer:
            assert answer.status == status
            data = await answer.read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == [".removed", "files/users.py"]
    status, document = (await api.ask("GET", f"/v1/trees/{'0' * 64}", headers=bearer(OURS)))[:2]
    assert (status, "push them again" in document["detail"]) == (404, True)


@pytest.mark.parametrize(
    ("token", "query", "status"),
    [
        (THEIRS, "workload=shop/users", 403),
        (OURS, "workload=shop/users", 200),
        (OURS, "workload=shop/users&previews=true", 403),
        (GATEWAY, "workload=skycap/gateway&previews=true", 200),
    ],
)
async def test_watches(api: Served, token: str, query: str, status: int) -> None:
    async with api.http.get(f"{api.url}/v1/watch/routes?{query}", headers=bearer(token)) as answer:
        assert answer.status == status

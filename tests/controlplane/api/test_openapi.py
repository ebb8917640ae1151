"""The registry against its own description: what it says of itself, and what schemathesis makes of that."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from controlplane.model.problem import Problem
from controlplane.model.sandbox import Manifest
from controlplane.model.workload import Workload
from tests.controlplane.api.served import Served
from tests.controlplane.running import start
from tests.controlplane.sandboxes import sandbox

HOOKS = """
import schemathesis

@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return str(value).encode()
"""
"""A body of lines is text as it stands."""


PAGES = ("/web/", "/session", "/~skycap/")
"""For browsers: what is there, besides `/`, is no part of the API."""


async def test_every_route_is_described_and_nothing_else(api: Served) -> None:
    status, described, _ = await api.ask("GET", "/openapi.json")
    assert status == 200
    assert described["openapi"] == "3.1.0"
    operations = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    served_routes = {
        (route.method, route.resource.canonical)
        for route in api.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
        if route.resource.canonical != "/" and not route.resource.canonical.startswith(PAGES)
    }
    assert operations == served_routes
    assert len({o["operationId"] for methods in described["paths"].values() for o in methods.values()}) == len(
        operations
    )


async def test_the_models_are_those_that_check(api: Served) -> None:
    _, described, _ = await api.ask("GET", "/openapi.json")
    put = described["paths"]["/v1/sandboxes/{name}"]["put"]
    reference = put["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = described["components"]["schemas"][reference.rpartition("/")[2]]
    assert set(schema["properties"]) == {field.alias for field in Manifest.model_fields.values()}
    assert schema["additionalProperties"] is False
    refusal = put["responses"]["422"]["content"]["application/problem+json"]["schema"]["$ref"]
    assert set(described["components"]["schemas"][refusal.rpartition("/")[2]]["properties"]) == set(
        Problem.model_fields
    )


@pytest.mark.timeout(900)  # a thousand requests: seconds of an idle core, and minutes of one that many share
async def test_schemathesis_finds_no_answer_that_the_description_does_not_promise(tmp_path: Path) -> None:
    """Against the real process. The four streams are left out because their answers have no end, and `positive data is
    accepted` because no schema can say that the name in a body is the one in the path. A body that breaks a rule of the
    schema may be too large as well."""
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "schemathesis.toml").write_text(
        '[checks.negative_data_rejection]\nexpected-statuses = ["400", "404", "405", "413", "415", "422"]\n'
    )
    registry = await start(tmp_path, "--listen", "127.0.0.1:0", "--memory", "--state-dir", str(tmp_path / "shadows"))
    try:
        async with registry.client() as client:
            # Something of each kind under the names of the examples, so that not every name leads nowhere.
            await client.put_workload(Workload(workload="shop/users", address="127.0.0.1:1"))
            await client.apply(sandbox("agent-42"))
        run = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "run", f"{registry.url}/openapi.json",
            "-H", f"Authorization: Bearer {registry.token()}",
            "--exclude-path", "/v1/watch/routes", "--exclude-path", "/v1/sandboxes/{name}/traffic/stream",
            "--exclude-path", "/v1/events", "--exclude-path", "/v1/groups/{name}/traffic/stream",
            "--exclude-checks", "positive_data_acceptance",
            "--phases", "examples,coverage,fuzzing", "--max-examples", "10", "--seed", "1", "--no-color",
            cwd=tmp_path, stdout=PIPE, stderr=STDOUT, env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks"},
        )  # fmt: skip
        said, _ = await run.communicate()
    finally:
        code, log = await registry.end()
    assert run.returncode == 0, said.decode()
    found = re.search(r"([0-9]+) selected / ([0-9]+) total", said.decode())
    assert found is not None
    assert int(found[2]) - int(found[1]) == 4, "all but the four streams"
    assert int(found[1]) > 20
    assert code == 0
    assert "Traceback" not in log

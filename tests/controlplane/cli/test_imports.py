"""What a command imports is what it costs: an interpreter that starts, and modules that are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.controlplane.cli.conftest import Origin

BUDGET = 210
"""Modules. Click has 80 beside those of the interpreter, the HTTP client 40, the command itself 10. The digest of a
compiled checkout takes three more."""

HEAVY = {"aiohttp", "pydantic", "rich", "asyncio", "yaml", "uvloop", "opentelemetry", "difflib"}

OTHERS = {"stub", "dev", "diff", "report", "previews"}
"""Modules of commands of `skycap sandbox` that are not asked for below."""

SANDBOX = {"metadata": {"name": "a"}, "spec": {"forks": [{"workload": "b/c"}]}}

HOP = {"position": 1, "id": "0" * 16, "key": "a", "workload": "b/c", "side": "inbound", "status": 200}

FEEDBACK = {"sandbox": "a", "revision": 1, "verdict": "passing", "summary": "well", "routing": {"requests": 1}}

COUNT = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, sep="\\n", file=sys.stderr))
from controlplane.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("version",), None),
        (("sandbox", "list"), {"items": [SANDBOX]}),
        (("sandbox", "get", "a"), SANDBOX),
        (("sandbox", "apply", "a", "--fork", "b/c", "--command", "d"), SANDBOX),
        (("sandbox", "wait", "a", "--timeout", "0"), SANDBOX | {"status": {"phase": "Ready"}}),
        (("sandbox", "logs", "a"), {"items": [{"workload": "b/c", "revision": 1, "state": "running", "log": "d"}]}),
        (("sandbox", "delete", "a"), None),
        (("sandbox", "traffic", "a"), {"items": [HOP]}),
        (("sandbox", "feedback", "a"), FEEDBACK),
        (("sandbox", "assert", "a", "b/c"), {"holds": True, "sentence": "all is well"}),
        (("trace", "t"), {"id": "t", "sandbox": "a", "hops": [HOP | {"depth": 0}]}),
        (("explain", "a", "b/c"), {"decision": "baseline", "reason": "none", "inForce": True}),
        (("sandbox", "get"), None),
    ],
)
def test_what_asks_the_registry_one_thing_imports_little(
    arguments: tuple[str, ...], answer: object, origin: Origin
) -> None:
    origin.body = b"" if answer is None else json.dumps(answer).encode()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("SKYCAP_", "COV_"))}
    ended = subprocess.run(
        [sys.executable, "-c", COUNT, *arguments],
        env=environ | {"SKYCAP_REGISTRY": origin.url},
        capture_output=True,
        text=True,
        timeout=50,
    )
    modules = ended.stderr.splitlines()
    assert ended.returncode == (2 if arguments == ("sandbox", "get") else 0), ended.stderr[:500]
    assert not HEAVY.intersection(modules)
    if arguments[0] == "sandbox":
        assert not {f"controlplane.cli.{name}" for name in OTHERS}.intersection(modules)
    assert 50 < len(modules) < BUDGET

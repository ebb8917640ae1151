"""Pods from the wild, before and after: each NAME.in.yaml becomes NAME.out.yaml.

A first line `# skycap inject FLAGS` says with which flags. `python -m tests.controlplane.kubernetes.test_golden` writes
what comes out today, to be read before it is believed.
"""

from __future__ import annotations

import json
import shlex
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controlplane.cli.inject import inject
from controlplane.kubernetes.decision import REASONS
from controlplane.kubernetes.documents import parse, pods_within
from controlplane.kubernetes.jsonpatch import difference
from controlplane.kubernetes.names import INTERCEPT, PROXY, TOKEN

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.name.removesuffix(".in.yaml") for path in GOLDEN.glob("*.in.yaml"))


def _flags(name: str) -> list[str]:
    first = (GOLDEN / f"{name}.in.yaml").read_text().split("\n", 1)[0]
    return shlex.split(first.removeprefix("# skycap inject")) if first.startswith("# skycap inject") else []


def _ran(path: Path, *flags: str) -> str:
    ended = CliRunner().invoke(inject, ["-f", str(path), *flags])
    assert ended.exit_code == 0 or "--explain" in flags, ended.output
    return ended.stdout


def injected(name: str) -> str:
    """What comes out."""
    return _ran(GOLDEN / f"{name}.in.yaml", *_flags(name))


def _pods(text: str) -> list[dict[str, Any]]:
    return [place.pod for place in pods_within(parse(text.encode(), "text"))]


@pytest.mark.parametrize("name", NAMES)
def test_what_becomes_of_it(name: str) -> None:
    assert injected(name) == (GOLDEN / f"{name}.out.yaml").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_once_more_changes_nothing(name: str) -> None:
    out = GOLDEN / f"{name}.out.yaml"
    assert _ran(out, *_flags(name)) == out.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_removed_nothing_is_left(name: str) -> None:
    removed = _ran(GOLDEN / f"{name}.out.yaml", "--remove", *_flags(name))
    before = (GOLDEN / f"{name}.in.yaml").read_bytes()
    assert parse(removed.encode(), "removed") == parse(before, "before")


@pytest.mark.parametrize("name", NAMES)
def test_the_application_stays_what_it_was(name: str) -> None:
    """Independently of the golden files: nothing of a container changes but what the mode is about."""
    before = _pods((GOLDEN / f"{name}.in.yaml").read_text())
    after = _pods((GOLDEN / f"{name}.out.yaml").read_text())
    for old, new in zip(before, after, strict=True):
        assert [item["name"] for item in new["spec"]["containers"]] == [
            item["name"] for item in old["spec"]["containers"]
        ]
        added = [
            item for item in new["spec"].get("initContainers", []) if item not in old["spec"].get("initContainers", [])
        ]
        ours = {item["name"]: item for item in added if item["name"] in (PROXY, INTERCEPT)}
        if not ours:
            assert new["spec"] == old["spec"]
            continue
        names = [item["name"] for item in new["spec"]["initContainers"]]
        assert names[: len(ours)] == [PROXY, INTERCEPT][: len(ours)], "the sidecar listens before it is led to"
        assert ours[PROXY]["restartPolicy"] == "Always"
        assert ours[PROXY]["securityContext"]["runAsUser"] == 1337
        assert ours[PROXY]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        if INTERCEPT in ours:
            assert ours[INTERCEPT]["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
        for was, became in zip(_containers(old), _containers(new, without=ours), strict=True):
            untouched = set(was) - {"ports", "env", "startupProbe", "livenessProbe", "readinessProbe"}
            assert {field: became[field] for field in untouched} == {field: was[field] for field in untouched}
            assert [port["containerPort"] for port in became.get("ports", [])] == [
                port["containerPort"] for port in was.get("ports", [])
            ]
            assert became.get("env", [])[: len(was.get("env", []))] == was.get("env", [])
        assert [item for item in new["spec"]["volumes"] if item["name"] != TOKEN] == old["spec"].get("volumes", [])
        assert {k: v for k, v in new["spec"].items() if k not in ("containers", "initContainers", "volumes")} == {
            k: v for k, v in old["spec"].items() if k not in ("containers", "initContainers", "volumes")
        }


@pytest.mark.parametrize("name", NAMES)
def test_the_patch_leads_from_one_to_the_other(name: str) -> None:
    before = _pods((GOLDEN / f"{name}.in.yaml").read_text())
    after = _pods((GOLDEN / f"{name}.out.yaml").read_text())
    for old, new in zip(before, after, strict=True):
        assert _applied(old, difference(old, new)) == new


def test_every_reason_has_an_example() -> None:
    met = set()
    for name in NAMES:
        explained = json.loads(_ran(GOLDEN / f"{name}.in.yaml", "--explain", "--output", "json", *_flags(name)))
        met |= {item["reason"] for item in explained["items"]}
    assert met == set(REASONS)


def test_there_are_many() -> None:
    assert len(NAMES) >= 40
    assert {path.name.split(".")[1] for path in GOLDEN.iterdir()} == {"in", "out"}


def _containers(pod: dict[str, Any], without: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    every = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    return [item for item in every if item["name"] not in (without or {})]


def _applied(document: Any, patch: list[dict[str, Any]]) -> Any:
    """RFC 6902, as far as our patches go, written independently of what makes them."""
    made = {"": deepcopy(document)}
    for operation in patch:
        holder: Any = made
        *path, last = ["", *(part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:])]
        for part in path:
            holder = holder[int(part)] if isinstance(holder, list) else holder[part]
        at: Any = int(last) if isinstance(holder, list) else last
        if operation["op"] == "remove":
            del holder[at]
        else:
            assert (operation["op"] == "replace") == (at in holder if isinstance(holder, dict) else True)
            holder[at] = operation["value"]
    return made[""]


if __name__ == "__main__":
    for each in NAMES:
        (GOLDEN / f"{each}.out.yaml").write_text(injected(each))

"""Where a command looks for the registry: what was said, a registry of ours here, the cluster of a kubeconfig."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.cli.registry import context_of, found_place
from proxy.base.access import USER, token_folder
from tests.controlplane.cli.conftest import Skycap


def test_nothing_is_there(tmp_path: Path) -> None:
    assert found_place({"HOME": str(tmp_path)}) == "http://127.0.0.1:7070"


def test_a_kubeconfig_leads_to_its_cluster(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube/config").touch()
    environ = {"HOME": str(tmp_path)}
    assert found_place(environ) == "kubernetes"
    assert found_place({**environ, "KUBECONFIG": f"{tmp_path}/missing"}) == "http://127.0.0.1:7070"
    folder = token_folder("127.0.0.1", 7070, environ)
    folder.mkdir(parents=True)
    (folder / USER).write_text("0123456789abcdef\n")
    assert found_place(environ) == "http://127.0.0.1:7070", "a registry of ours that runs here goes first"


@pytest.mark.parametrize(
    ("place", "context"), [("kubernetes", ""), ("kubernetes:prod", "prod"), ("http://127.0.0.1:7070", None)]
)
def test_which_context(place: str, context: str | None) -> None:
    assert context_of(place) == context


def test_a_kubeconfig_that_is_missing(skycap: Skycap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing")
    ended = skycap("workloads", "--registry", "kubernetes")
    assert (ended.code, ended.err.count("\n")) == (5, 1)
    assert f"{tmp_path}/missing does not exist" in ended.err


def test_what_can_be_forked(registry: str, baseline: str, skycap: Skycap) -> None:
    ended = skycap("workloads", "--registry", registry)
    assert ended.code == 0
    assert ended.out.splitlines()[0].split()[:2] == ["WORKLOAD", "SIDECARS"]
    assert any(line.startswith(baseline) for line in ended.out.splitlines())

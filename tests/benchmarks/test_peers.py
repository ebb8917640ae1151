"""Every peer's configuration is complete, and the programs that are here accept it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks import apps, builds, origin, tools
from benchmarks.errors import ToolMissing
from benchmarks.peers import ALL_PEERS, Hop, Peer, Site
from benchmarks.peers.known import INTERPRETER, Envoy, HAProxy, Nginx, Skycap
from benchmarks.traffic import FORKED
from proxy.contract.routes import decode_table

HOPS = (Hop(10_001, 10_002, 10_003), Hop(10_004, 10_005), Hop(10_006, 10_007, inbound=False))


def site(tmp_path: Path, *, http2: bool = False) -> Site:
    return Site(tmp_path, HOPS, admin=10_009, http2=http2)


def program(name: str) -> Path:
    found = tools.find(name)
    if found is None:
        reason = f"{name} is not installed: {tools.how_to_install([name])}"
        if os.environ.get("SKYCAP_REQUIRE_TOOLS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def check(command: list[str | Path]) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("peer", ALL_PEERS, ids=lambda peer: peer.name)
def test_every_hop_is_configured(peer: Peer, tmp_path: Path) -> None:
    command = peer.command(site(tmp_path), Path("/bin/program"))
    text = " ".join(command) + "".join(path.read_text() for path in tmp_path.iterdir())
    for port in range(10_001, 10_008):
        assert str(port) in text
    assert "@LISTEN@" not in text
    assert FORKED[0].removesuffix("000") in text


def test_skycaps_routes_file_fits_the_contract(tmp_path: Path) -> None:
    command = Skycap("skycap", builds.INTERPRETED).command(site(tmp_path), INTERPRETER)
    path = Path(command[command.index("--routes") + 1])
    routes = decode_table(json.loads(path.read_text()))
    assert [route.key for route in routes] == list(FORKED)
    assert {str(endpoint) for route in routes for endpoint in route.endpoints} == {"127.0.0.1:10003"}
    assert command.count("--inbound") == 2
    assert command[command.index("--outbound") + 1] == "127.0.0.1:10006=127.0.0.1:10007"


def test_each_build_is_found_before_the_checkout(tmp_path: Path) -> None:
    for peer in ALL_PEERS:
        if isinstance(peer, Skycap):
            command = peer.command(site(tmp_path), INTERPRETER)
            assert command[1].startswith(f"PYTHONPATH={builds.folder(peer.build)}:")


def test_the_interpreted_build_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a checkout that is compiled."""
    monkeypatch.setattr(builds, "_KEPT", tmp_path)
    tmp_path.joinpath("old").mkdir()
    builds.make(builds.INTERPRETED)
    builds.make(builds.INTERPRETED)  # nothing to do
    folder = builds.folder(builds.INTERPRETED)
    assert [path.name for path in tmp_path.iterdir()] == [folder.parent.name], "only the newest is kept"
    said = subprocess.run(
        [sys.executable, "-c", "import proxy; print(proxy.BUILD, proxy.__file__)"],
        cwd=folder, capture_output=True, text=True, timeout=30, check=True,
    ).stdout  # fmt: skip
    assert said.split() == ["interpreted", str(folder / "proxy/__init__.py")]


def test_where_nothing_can_be_compiled_it_is_said_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_KEPT", tmp_path)
    builder = tmp_path / "builder.py"
    monkeypatch.setattr(builds, "_BUILDER", builder)
    for source, phrase in (
        ("import skycap_has_no_such_module", "pip install"),
        (
            "import subprocess\ndef compile_into(folder):\n raise subprocess.CalledProcessError(1, 'cc', 'a\\nno cc')",
            "no cc",
        ),
    ):
        builder.write_text(source)
        with pytest.raises(ToolMissing, match=phrase):
            builds.make(builds.COMPILED)
        assert not builds.folder(builds.COMPILED).exists()


def test_a_sidecar_without_forks_gets_an_empty_table(tmp_path: Path) -> None:
    Skycap("skycap", builds.INTERPRETED).command(
        Site(tmp_path, HOPS[1:], admin=10_009, workload="shop/frontend"), INTERPRETER
    )
    assert decode_table(json.loads((tmp_path / "routes.json").read_text())) == []


def test_envoys_configuration_is_a_bootstrap_with_a_cluster_for_every_route(tmp_path: Path) -> None:
    Envoy().command(site(tmp_path), Path("/bin/envoy"))
    document = yaml.safe_load((tmp_path / "envoy.yaml").read_text())
    resources = document["static_resources"]
    assert len(resources["listeners"]) == 3
    assert not any(cluster["typed_extension_protocol_options"] for cluster in resources["clusters"])
    clusters = {cluster["name"] for cluster in resources["clusters"]}
    assert clusters == {"baseline_0", "shadow_0", "next_1", "next_2"}


@pytest.mark.parametrize("peer", [peer for peer in ALL_PEERS if peer.http2], ids=lambda peer: peer.name)
def test_both_sides_speak_http2_where_they_are_to(peer: Peer, tmp_path: Path) -> None:
    peer.command(site(tmp_path, http2=True), Path("/bin/program"))
    text = "".join(path.read_text() for path in tmp_path.iterdir())
    marks = {"envoy": ("HTTP2", "http2_protocol_options"), "haproxy": ("4096 proto h2", "10003 proto h2")}
    for mark in {**marks, "nginx": (" http2 backlog", "grpc_pass grpc://$chosen_0")}.get(peer.name, ()):
        assert mark in text


@pytest.mark.parametrize("http2", [False, True])
def test_nginx_accepts_its_configurations(tmp_path: Path, http2: bool) -> None:
    nginx = program("nginx")
    Nginx().command(site(tmp_path, http2=http2), nginx)
    (tmp_path / "origin.conf").write_text(origin.configuration("baseline", 10_001, 10_008, tmp_path))
    listed = [apps.App(10_002, 10_003, True), apps.App(10_004, 10_005, False)]
    (tmp_path / "apps.conf").write_text(apps.configuration(listed, tmp_path))
    for name in ("nginx.conf", "origin.conf", "apps.conf"):
        check([nginx, "-t", "-q", "-p", tmp_path, "-c", tmp_path / name, "-e", "stderr"])


@pytest.mark.parametrize("http2", [False, True])
def test_haproxy_accepts_its_configuration(tmp_path: Path, http2: bool) -> None:
    haproxy = program("haproxy")
    HAProxy().command(site(tmp_path, http2=http2), haproxy)
    check([haproxy, "-c", "-q", "-f", tmp_path / "haproxy.cfg"])


def test_the_number_of_requests_is_read_from_nginx_status() -> None:
    text = "Active connections: 2 \nserver accepts handled requests\n 10 10 4711 \nReading: 0 Writing: 1 Waiting: 1 \n"
    assert origin.parse_status(text) == 4711

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from controlplane.api.access import Role
from controlplane.life.quota import Quota
from controlplane.process.limits import Limits
from controlplane.settings import Settings, is_loopback, settings_from
from proxy.base.access import state_home
from proxy.base.listen import parse_listen
from proxy.base.problems import ConfigurationError

TOKEN = "0123456789abcdef"


def settings(tmp_path: Path, **given: Any) -> Settings:
    return settings_from(given, {"HOME": str(tmp_path)})


def problems(tmp_path: Path, **given: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        settings(tmp_path, **given)
    return raised.value.problems


def test_the_defaults(tmp_path: Path) -> None:
    made = settings(tmp_path)
    assert str(made.listen) == "127.0.0.1:7070"
    assert made.store == tmp_path / ".local/state/skycap/registry.db"
    assert made.state_dir == tmp_path / ".local/state/skycap/shadows"
    assert (made.tokens, made.default_ttl, made.endpoint_networks) == ({}, 8 * 3600, ())
    assert (made.keep_shadows, made.log_level) == (False, "info")
    assert made.quota == Quota(sandboxes=100_000, per_owner=None)


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    made = settings(
        tmp_path,
        listen="[::]:80",
        store=str(tmp_path / "x.db"),
        token_file=str(file),
        default_ttl="30m",
        state_dir="/srv/shadows",
        endpoint_networks="10.0.0.0/8, fd00::/8,",
        keep_shadows=True,
        shadow_memory="2G",
        shadow_cpus="0.5",
        max_sandboxes="20",
        max_sandboxes_per_owner="3",
        log_level="DEBUG",
    )
    assert (made.listen.host, made.listen.port) == ("::", 80)
    assert made.store == tmp_path / "x.db"
    assert (made.tokens, made.default_ttl) == ({Role.USER: TOKEN}, 1800)
    assert made.endpoint_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert (made.state_dir, made.keep_shadows, made.log_level) == (Path("/srv/shadows"), True, "debug")
    assert made.quota == Quota(sandboxes=20, per_owner=3)
    assert made.limits == Limits(memory=2 << 30, cpus=0.5)
    assert TOKEN not in repr(made)


def test_a_quota_is_a_number(tmp_path: Path) -> None:
    assert problems(tmp_path, shadow_memory="4m", shadow_cpus="0") == [
        "--shadow-memory: '4m' is not a size from 16m on, like 512m or 2g",
        "--shadow-cpus: '0' is not a number of processors, like 2 or 0.5",
    ]
    assert problems(tmp_path, max_sandboxes="0", max_sandboxes_per_owner="many") == [
        "--max-sandboxes: '0' is not a whole number from 1 to 100000",
        "--max-sandboxes-per-owner: 'many' is not a whole number from 1 to 100000",
    ]


def test_memory_has_no_file(tmp_path: Path) -> None:
    assert settings(tmp_path, memory=True).store is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
def test_loopback_needs_no_token(tmp_path: Path, host: str) -> None:
    assert settings(tmp_path, listen=f"{host}:0").tokens == {}


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "registry.internal:0", "127.0.0.1.nip.io:0"])
def test_any_other_address_needs_a_token(tmp_path: Path, listen: str) -> None:
    assert problems(tmp_path, listen=listen) == [
        f"--listen: {parse_listen(listen)} is not loopback, so a token is needed: say --token-file FILE"
    ]


@pytest.mark.parametrize("name", ["", "localhost.", "a.localhost", "127.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "1"])
def test_what_is_not_loopback(name: str) -> None:
    assert not is_loopback(name)


def test_every_role_has_a_token_of_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(f"{TOKEN}{name}")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    made = settings(tmp_path, token_file=one, sidecar_token_file=two)
    assert made.tokens == {Role.USER: f"{TOKEN}one", Role.SIDECAR: f"{TOKEN}two"}
    assert problems(tmp_path, token_file=one, viewer_token_file=two, sidecar_token_file=one) == [
        "--sidecar-token-file: holds the token of --token-file: each role needs its own"
    ]


def test_a_token_that_cannot_be_read_is_the_only_complaint_about_it(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    assert problems(tmp_path, listen="0.0.0.0:80", token_file=missing) == [
        f"--token-file: {missing}: No such file or directory"
    ]


def test_where_state_lives() -> None:
    assert state_home({"XDG_STATE_HOME": "/var/state"}) == Path("/var/state/skycap")
    assert state_home({"XDG_STATE_HOME": "relative", "HOME": "/home/me"}) == Path("/home/me/.local/state/skycap")


def _cluster(**given: str) -> Settings:
    return settings_from({"engine": "kubernetes", "listen": "0.0.0.0:7070", **given}, {"SKYCAP_POD_NAME": "skycap-1"})


def test_the_engine_of_a_cluster() -> None:
    settings = _cluster(webhook_listen="0.0.0.0:9443", shadow_namespaces="shop, bank")
    assert settings.cluster is not None
    assert settings.cluster.identity == "skycap-1"
    assert settings.cluster.namespaces == ("shop", "bank")
    assert str(settings.cluster.webhook) == "0.0.0.0:9443"
    assert settings.cluster.injection.registry == "http://skycap.skycap-system.svc:7070"
    assert settings_from({}, {"HOME": "/home/ada"}).cluster is None


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"memory": "1"}, "--memory: is for --engine local"),
        ({"store": "a"}, "--store: is for --engine local"),
        (
            {"engine": "local", "sidecar_image": "a", "listen": "127.0.0.1:0"},
            "--sidecar-image: is for --engine kubernetes",
        ),
        ({"webhook_listen": "here"}, "--webhook-listen: "),
    ],
)
def test_options_of_the_other_engine_are_refused(given: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _cluster(**given)
    assert any(one.startswith(problem) for one in refused.value.problems), refused.value.problems

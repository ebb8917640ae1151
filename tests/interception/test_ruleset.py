"""The rules as text: what is asked for and nothing else, in a form that nftables takes. No privileges needed."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from pathlib import Path

import pytest

from controlplane.intercept import nft
from controlplane.intercept.nft import InterceptError
from controlplane.intercept.ruleset import Interception, ruleset
from controlplane.intercept.verify import Chain, read_chains
from tests.controlplane.cli.conftest import Skycap, skycap  # noqa: F401 (the fixture)

GOLDEN = Path(__file__).parent / "golden"

ASKED = {
    "default": [],
    "bare": ["--admin-port", "0"],
    "ports": [
        "--include-inbound-ports", "8080,80",
        "--exclude-inbound-ports", "22,8000-8100,8101, 8050-8200",
        "--exclude-outbound-ports", "5432,53",
    ],
    "direct": ["--direct-ports", "15080=8080,15081=9090", "--exclude-inbound-ports", "9090"],
    "networks": ["--exclude-outbound-cidrs", "fd00::/8,10.1.0.0/16,10.0.0.0/8,192.0.2.7,fd01::/16,10.2.3.4/32"],
    "sidecar": [
        "--proxy-uid", "0", "--proxy-gid", "65534", "--transparent-inbound", "1", "--transparent-outbound", "65535",
        "--admin-port", "9999",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_the_rules_that_are_asked_for(skycap: Skycap, name: str) -> None:  # noqa: F811
    ended = skycap("intercept", "show", *ASKED[name])
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (GOLDEN / f"{name}.nft").read_text()


def test_variables_say_the_same_as_flags(skycap: Skycap, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    flags = iter(ASKED["ports"])
    for flag in flags:
        monkeypatch.setenv("SKYCAP_" + flag.removeprefix("--").upper().replace("-", "_"), next(flags))
    assert skycap("intercept", "show").out == (GOLDEN / "ports.nft").read_text()


def test_json_holds_rules_and_options(skycap: Skycap) -> None:  # noqa: F811
    document = json.loads(skycap("intercept", "show", *ASKED["networks"], "--output", "json").out)
    assert document["ruleset"] == (GOLDEN / "networks.nft").read_text()
    assert document["options"] == {
        "inboundPort": 15006,
        "outboundPort": 15001,
        "proxyUid": 1337,
        "proxyGid": 1337,
        "adminPort": 9901,
        "includeInboundPorts": [],
        "excludeInboundPorts": [],
        "excludeOutboundPorts": [],
        "excludeOutboundCidrs": ["fd00::/8", "10.1.0.0/16", "10.0.0.0/8", "192.0.2.7/32", "fd01::/16", "10.2.3.4/32"],
        "directPorts": [],
    }


def test_the_text_is_a_function_of_the_options() -> None:
    options = Interception(exclude_outbound_cidrs=(ipaddress.ip_network("10.0.0.0/8"),))
    assert ruleset(options) == ruleset(options)
    assert ruleset(Interception(admin_port=9901)) == (GOLDEN / "default.nft").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--exclude-inbound-ports", "22,ssh"], "'ssh' is neither a port nor a range like 8000-8100"),
        (["--exclude-inbound-ports", "0"], "'0' is neither a port nor a range like 8000-8100"),
        (["--include-inbound-ports", "90-80"], "'90-80' is neither a port nor a range like 8000-8100"),
        (["--exclude-outbound-ports", "65536"], "'65536' is neither a port nor a range like 8000-8100"),
        (["--exclude-outbound-cidrs", "10.0.0.1/8"], "'10.0.0.1/8' is no network like 10.0.0.0/8: 10.0.0.1/8 has host"),
        (["--direct-ports", "15080"], "'15080' is not PORT=PORT like 15080=8080"),
        (["--direct-ports", "15080=0"], "'15080=0' is not PORT=PORT like 15080=8080"),
        (["--direct-ports", "1=2,1=3"], "'1=2,1=3' names a port twice"),
        (["--exclude-outbound-cidrs", "shop"], "'shop' is no network like 10.0.0.0/8"),
        (["--proxy-uid", "-1"], "-1 is not in the range"),
        (["--transparent-inbound", "15001"], "--transparent-inbound and --transparent-outbound are both 15001"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(skycap: Skycap, arguments: list[str], said: str) -> None:  # noqa: F811
    ended = skycap("intercept", "install", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert said in ended.err


# -- what nft says ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found, wherever it is looked for."""
    monkeypatch.setattr(nft, "PLACES", "")
    monkeypatch.setenv("PATH", "")


@pytest.mark.usefixtures("no_path")
@pytest.mark.parametrize("command", ["install", "remove", "verify"])
def test_without_nft_it_is_one_clear_line(skycap: Skycap, command: str) -> None:  # noqa: F811
    ended = skycap("intercept", command)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "skycap: nft is not installed (install the package nftables)\n"


def _pretended(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    program = folder / "nft"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


NEEDS = "it needs nf_tables with nat, redirect and fib in the inet family (Linux 5.2 or later)"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo '/dev/stdin:4:3-9: Error: Could not process rule: No such file or directory' >&2; exit 1",
            f"the kernel refuses the rules: 4:3-9: Error: Could not process rule: No such file or directory ({NEEDS})",
        ),
        ("echo 'something new' >&2; exit 1", "nft refuses: something new"),
        ("exit 3", "nft refuses: it does not say why"),
    ],
)
def test_what_nft_refuses_is_told_in_one_line(
    skycap: Skycap,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    script: str,
    said: str,
) -> None:
    _pretended(monkeypatch, tmp_path, script)
    assert skycap("intercept", "remove") == (1, "", f"skycap: {said}\n")


def test_nft_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _pretended(monkeypatch, tmp_path, "exec sleep 60")
    monkeypatch.setattr(nft, "SECONDS", 0.1)
    with pytest.raises(InterceptError, match=r"nft does not answer for 0\.1 s"):
        nft.installed()


def test_nft_that_is_no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _pretended(monkeypatch, tmp_path, "")
    (tmp_path / "nft").write_text("no program")
    with pytest.raises(InterceptError, match="cannot be run: Exec format error"):
        nft.installed()


def test_the_rules_in_force_are_read_whatever_else_stands_there() -> None:
    def rule(chain: str, *parts: object) -> dict[str, object]:
        return {"rule": {"family": "inet", "table": "skycap", "chain": chain, "expr": list(parts)}}

    listed: list[dict[str, object]] = [
        {"metainfo": {"version": "1.0.6"}},
        {"chain": {"name": "a", "hook": "prerouting"}},
        {"chain": {"name": "b"}},
        rule("a", {"match": {"left": 1}}, {"return": None}),
        rule("a", {"counter": {"packets": 7, "bytes": 420}}, {"redirect": {"port": 15006}}),
        rule("b", "accept", {"redirect": None}),
        rule("b", {"counter": None}, {"redirect": {"port": 9}}),
    ]
    assert read_chains(listed) == {"prerouting": Chain(15006, 7), "": Chain(9, 0)}


def test_the_golden_files_are_what_nftables_reads() -> None:
    """Parsed by nft itself, where it may: checking needs the same privilege as writing."""
    from tests.interception.hosts import Host, require_hosts

    require_hosts()
    host = Host("check")
    try:
        for path in GOLDEN.glob("*.nft"):
            done = subprocess.run(
                host.command("nft", "-c", "-f", str(path)), capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, ""), path.name
    finally:
        host.end()

"""Settings: from flags and variables, all problems at once, each with the name of what is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.base.listen import Listen
from proxy.base.problems import ConfigurationError
from proxy.contract.routes import Endpoint
from proxy.contract.rules import Rule, encode_rule
from proxy.exchange.settings import NO_LIMIT, ExchangeSettings
from proxy.flags import Trusted, rules_file
from proxy.settings import Settings, parse_settings
from proxy.wire.head import Limits

BASE = {"workload": "shop/users", "inbound": "127.0.0.1:8080=127.0.0.1:9001"}


SWITCHES = {"transparent", "peer-keys", "forwarded", "allow-caching", "check"}


def parse(flags: dict[str, str], variables: dict[str, str] | None = None) -> Settings:
    """flags and variables: by the name of the flag. Lists have their commas."""
    arguments = []
    for name, value in flags.items():
        if name in SWITCHES:
            arguments.append(f"--{name}")
            continue
        for each in value.split(",") if name in LISTS else [value]:
            arguments += [f"--{name}", each]
    environment = {variable(name): value for name, value in (variables or {}).items()}
    return parse_settings(arguments, environment)


def variable(name: str) -> str:
    return "SKYCAP_" + name.upper().replace("-", "_")


def problems(*arguments: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        parse_settings(arguments, environment)
    assert all(line and "\n" not in line for line in raised.value.problems)
    return raised.value.problems


RULES = str(Path(__file__).with_name("rules.json"))
LISTS = {"inbound", "outbound", "opaque", "key-names", "key-headers", "trace-headers", "redact"}

SAMPLES: dict[str, tuple[str, dict[str, str]]] = {
    "workload": ("shop/orders", {}),
    "inbound": ("0.0.0.0:8080=127.0.0.1:9001,[::]:8081=app:80", {}),
    "outbound": ("127.0.0.1:7001=payments.shop:80,127.0.0.1:7002", {}),
    "inbound-tls": ("/etc/tls/tls.crt,/etc/tls/tls.key", {}),
    "app-tls": ("/etc/tls/ca.crt", {"inbound-tls": "/etc/tls/tls.crt,/etc/tls/tls.key"}),
    "gateway": ("127.0.0.1:7080", {"registry": "http://127.0.0.1:7070"}),
    "gateway-domain": ("previews.example.org", {}),
    "transparent": ("true", {}),
    "transparent-inbound": ("25006", {"transparent": "true"}),
    "transparent-outbound": ("25001", {"transparent": "true"}),
    "opaque": ("8080", {}),
    "peer-keys": ("true", {"outbound": "127.0.0.1:9"}),
    "forwarded": ("true", {}),
    "allow-caching": ("true", {}),
    "sniff-delay": ("70ms", {}),
    "routes": (__file__, {}),
    "check": ("true", {}),
    "registry": ("http://registry.shop:7777", {}),
    "token-file": (__file__, {"registry": "https://[::1]:7777/base/"}),
    "instance": ("users-7f9c", {}),
    "sandbox": ("agent-42", {}),
    "routing-key": ("A.b_c-1", {"sandbox": "agent-42"}),
    "rules": (RULES, {}),
    "revision": ("7", {"sandbox": "agent-42"}),
    "admin": ("127.0.0.1:15000", {}),
    "key-names": ("my-key,other-key", {}),
    "key-headers": ("kubernetes-route-as,x-virtual-env", {}),
    "trace-headers": ("x-correlation-id", {}),
    "redact": ("x-session", {}),
    "max-head-bytes": ("8192", {}),
    "max-header-lines": ("64", {}),
    "max-held-bytes": ("8192", {}),
    "max-replay-bytes": ("0", {}),
    "splice-bytes": ("0", {}),
    "min-upload-rate": ("100", {}),
    "header-timeout": ("5s", {}),
    "idle-timeout": ("0", {}),
    "connect-timeout": ("250ms", {}),
    "response-timeout": ("2m", {}),
    "stream-timeout": ("2h", {}),
    "linger-timeout": ("1.5", {}),
    "hold-timeout": ("20s", {}),
    "sync-timeout": ("3s", {}),
    "drain-timeout": ("10s", {}),
    "otlp-endpoint": ("http://127.0.0.1:4318", {}),
    "log-level": ("debug", {}),
    "log-format": ("json", {}),
}
"""A value for every flag that is not its default, and what else it needs to make sense."""


@pytest.mark.parametrize("name", SAMPLES)
def test_every_flag_has_its_variable(name: str) -> None:
    value, needed = SAMPLES[name]
    others = {key: text for key, text in {**BASE, "instance": "one", **needed}.items() if key != name}
    by_flag = parse({**others, name: value})
    assert parse(others, {name: value}) == by_flag
    assert parse({}, {**others, name: value}) == by_flag
    if name not in BASE:
        assert parse(others) != by_flag
    assert parse(others, {name: value, "unknown": "x"}) == by_flag, "other programs have variables, too"


def test_every_flag_has_a_sample_here(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        parse_settings(["--help"], {})
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert set(re.findall(r"^  --([a-z-]+)", shown, re.MULTILINE)) == set(SAMPLES)
    assert "SKYCAP_HOLD_TIMEOUT" in shown
    assert "Exit codes" in shown


def test_a_flag_wins_over_its_variable() -> None:
    settings = parse({**BASE, "hold-timeout": "1s"}, {"hold-timeout": "2s", "sandbox": "agent-42"})
    assert settings.exchange.hold_ticks == 10
    assert settings.sandbox == "agent-42"


def test_an_empty_variable_is_none() -> None:
    """So that a template can leave it out."""
    one = {**BASE, "instance": "one"}
    assert parse(one, {"registry": "", "hold-timeout": "", "transparent": ""}) == parse(one)


def test_a_sidecar_has_a_name() -> None:
    """A pod's, or one that no other sidecar has: not of this host, and not the one that ran here before."""
    assert parse({**BASE, "instance": "users-7f9c.a_b"}).instance == "users-7f9c.a_b"
    assert parse(BASE, {"instance": "from-the-environment"}).instance == "from-the-environment"
    unnamed = {parse(BASE).instance for _ in range(10)}
    assert len(unnamed) == 10
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:63]
    assert all(re.fullmatch(rf"{re.escape(host)}-[0-9a-f]{{8}}", name) for name in unnamed)


def test_tls_to_the_application() -> None:
    clients = ("--workload", "a/b", "--inbound-tls", "c.pem,k.pem")
    here = ("--inbound", "127.0.0.1:8443=localhost:9001", "--inbound", "127.0.0.1:8444=[::1]:9002")
    away = ("--inbound", "127.0.0.1:8445=users.shop:9001")
    assert parse_settings([*clients, *here, "--app-tls"], {}).app_tls == Trusted(None)
    assert parse_settings([*clients, *here], {"SKYCAP_APP_TLS": "true"}).app_tls == Trusted(None)
    assert parse_settings([*clients, *here], {"SKYCAP_APP_TLS": "false"}).app_tls is None
    assert parse_settings([*clients, *away, "--app-tls", "ca.pem"], {}).app_tls == Trusted(Path("ca.pem"))
    assert problems(*clients, *here, *away, "--app-tls") == [
        "--app-tls needs CA: users.shop:9001 is not on this machine, where nobody else could answer in its place"
    ]
    assert problems("--workload", "a/b", *here, "--app-tls") == [
        "--app-tls is for --inbound-tls, without which TLS passes unread to the application"
    ]
    assert len(problems("--workload", "a/b", *here, "--app-tls", "--inbound-tls", "x")) == 1


def test_what_is_not_said_has_its_default() -> None:
    settings = parse(BASE)
    assert settings == Settings(
        workload="shop/users",
        inbound=((Listen("127.0.0.1", 8080), Endpoint("127.0.0.1", 9001)),),
        inbound_tls=None,
        app_tls=None,
        outbound=(),
        gateway=(),
        gateway_domain="localhost",
        transparent=None,
        opaque=frozenset(),
        peer_keys=False,
        forwarded=False,
        sniff_seconds=0.05,
        routes=None,
        check=False,
        registry="",
        token_file=None,
        instance=settings.instance,
        sandbox="",
        routing_key="",
        rules=None,
        revision=0,
        admin=None,
        key_names=("routing-key", "sd-routing-key"),
        key_headers=(),
        trace_headers=(),
        redact=(),
        limits=Limits(),
        exchange=ExchangeSettings(),
        sync_seconds=2.0,
        drain_seconds=30.0,
        otlp_endpoint="",
        log_level="info",
        log_format="text",
    )


def test_what_is_said_is_understood() -> None:
    settings = parse({name: value for name, (value, _) in SAMPLES.items() if name not in {"routes", "opaque"}})
    assert settings.inbound == (
        (Listen("0.0.0.0", 8080), Endpoint("127.0.0.1", 9001)),
        (Listen("::", 8081), Endpoint("app", 80)),
    )
    assert settings.outbound == (
        (Listen("127.0.0.1", 7001), Endpoint("payments.shop", 80)),
        (Listen("127.0.0.1", 7002), None),
    )
    assert settings.admin == Listen("127.0.0.1", 15000)
    assert (settings.sandbox, settings.routing_key, settings.revision) == ("agent-42", "A.b_c-1", 7)
    assert settings.key_names == ("my-key", "other-key")
    assert settings.limits == Limits(8192, 64)
    assert settings.exchange == ExchangeSettings(
        header_ticks=50,
        idle_ticks=NO_LIMIT,
        connect_ticks=2,
        response_ticks=1200,
        stream_ticks=72_000,
        linger_ticks=15,
        hold_ticks=200,
        sync_ticks=30,
        upload_rate=100,
        held_bytes=8192,
        replay_bytes=0,
        splice_bytes=NO_LIMIT,
        uncached=False,
    )
    assert (settings.sync_seconds, settings.drain_seconds) == (3.0, 10.0)
    assert settings.token_file == Path(__file__)


def test_a_sandboxes_key_is_its_name_and_its_first_revision_one() -> None:
    settings = parse({**BASE, "sandbox": "agent-42"})
    assert (settings.routing_key, settings.revision) == ("agent-42", 1)


@pytest.mark.parametrize(
    ("text", "ticks"),
    [("250ms", 2), ("1ms", 1), ("30s", 300), ("30", 300), ("0.5", 5), ("1.5m", 900), ("1h", 36_000), ("0", NO_LIMIT),
     ("0ms", NO_LIMIT), ("999999999h", 999_999_999 * 36_000)],
)  # fmt: skip
def test_durations(text: str, ticks: int) -> None:
    """Rounded to ticks of 100 ms, but never to none: that would be no limit."""
    assert parse({**BASE, "response-timeout": text}).exchange.response_ticks == ticks


@pytest.mark.parametrize("text", ["", "s", "-1s", "1 s", "1d", "1m30s", "1e3", ".5s", "٣s", "1_000", "9999999999s"])
def test_what_is_no_duration(text: str) -> None:
    (line,) = problems("--workload=a/b", "--inbound=127.0.0.1:1=127.0.0.1:2", f"--response-timeout={text}")
    assert line == f"--response-timeout: {text!r} is not a duration like 250ms, 30s, 5m or 1h"


@pytest.mark.parametrize(
    ("text", "listen"),
    [("127.0.0.1:80", Listen("127.0.0.1", 80)), ("[::1]:0", Listen("::1", 0)), ("host:65535", Listen("host", 65535)),
     ("[fe80::1%eth0]:80", Listen("fe80::1%eth0", 80))],
)  # fmt: skip
def test_listening_addresses(text: str, listen: Listen) -> None:
    assert parse({**BASE, "admin": text}).admin == listen
    assert str(listen) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("8080", "'8080' is not HOST:PORT"),
        ("host:", "'host:' is not HOST:PORT"),
        ("host:http", "'host:http' is not HOST:PORT"),
        ("host:65536", "'host:65536' is not HOST:PORT"),
        ("host:٣", "'host:٣' is not HOST:PORT"),
        (":8080", "':8080' has no host: write 0.0.0.0:8080 for all addresses, 127.0.0.1:8080 for loopback"),
        ("::1:8080", "'::1:8080': write an IPv6 address in brackets, [::1]:8080"),
    ],
)
def test_what_is_no_listening_address(text: str, problem: str) -> None:
    lines = problems("--workload=a/b", f"--inbound={text}=127.0.0.1:2", f"--outbound={text}", f"--admin={text}")
    assert lines == [f"--inbound: {problem}", f"--outbound: {problem}", f"--admin: {problem}"]


@pytest.mark.parametrize(
    ("flag", "value", "problem"),
    [
        ("workload", "users", "'users' is not NAMESPACE/NAME in DNS labels"),
        ("workload", "Shop/Users", "'Shop/Users' is not NAMESPACE/NAME in DNS labels"),
        ("inbound", "127.0.0.1:1", "'127.0.0.1:1' is not LISTEN=APP, like 0.0.0.0:8080=127.0.0.1:9001"),
        ("inbound", "127.0.0.1:1=127.0.0.1", "'127.0.0.1' is not HOST:PORT with a port from 1 to 65535"),
        ("outbound", "127.0.0.1:1=169.254.169.254:80", "'169.254.169.254:80' is link-local, where no shadow may be"),
        ("opaque", "0", "'0' is not a number from 1 to 65535"),
        ("registry", "registry:7777", "'registry:7777' is not an http:// or https:// URL"),
        ("registry", "http://", "'http://' is not an http:// or https:// URL"),
        ("registry", "http://[::1", "'http://[::1' is not an http:// or https:// URL"),
        ("registry", "http://a:99999", "'http://a:99999' is not an http:// or https:// URL"),
        ("otlp-endpoint", "http://a b", "'http://a b' is not an http:// or https:// URL"),
        ("token-file", "/nowhere/token", "/nowhere/token: no such file"),
        ("sandbox", "Agent", "'Agent' is not a DNS label"),
        ("routing-key", "a b", "'a b' is not 1 to 63 characters of A-Za-z0-9._-"),
        ("revision", "0", "'0' is not a number from 1 to 9007199254740992"),
        ("revision", "٣", "'٣' is not a number from 1 to 9007199254740992"),
        ("key-headers", "x y", "'x y' is not a header name"),
        ("key-names", "a:b", "'a:b' is not a header name"),
        ("max-head-bytes", "1023", "'1023' is not a number from 1024 to 1048576"),
        ("max-header-lines", "+64", "'+64' is not a number from 8 to 4096"),
        ("log-level", "loud", "'loud' is none of debug, info, warning, error"),
        ("log-format", "xml", "'xml' is none of text, json"),
    ],
)
def test_bad_values(flag: str, value: str, problem: str) -> None:
    """By flag and by variable, each is named where it was said."""
    needed = {"inbound": "127.0.0.1:11=127.0.0.1:12", "workload": "shop/users"}
    needed |= {"sandbox": "a"} if flag == "routing-key" else {}
    needed |= {"registry": "http://a"} if flag == "token-file" else {}
    rest = [f"--{name}={text}" for name, text in needed.items() if name != flag]
    assert problems(*rest, f"--{flag}={value}") == [f"--{flag}: {problem}"]
    assert problems(*rest, **{variable(flag): value}) == [f"{variable(flag)}: {problem}"]


def test_transparent_by_variable() -> None:
    base = [f"--{name}={value}" for name, value in BASE.items()]
    assert problems(*base, SKYCAP_TRANSPARENT="maybe") == ["SKYCAP_TRANSPARENT: 'maybe' is neither true nor false"]
    assert parse_settings(base, {"SKYCAP_TRANSPARENT": "No"}).transparent is None
    transparent = parse_settings(base, {"SKYCAP_TRANSPARENT": "on"}).transparent
    assert transparent is not None
    assert (transparent.inbound, transparent.outbound) == (15006, 15001)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"inbound": "127.0.0.1:1=127.0.0.1:2"}, "--workload is required (or SKYCAP_WORKLOAD)"),
        ({"workload": "a/b"}, "give at least one --inbound, --outbound or --gateway listener, or --transparent"),
        (
            {**BASE, "routes": __file__, "registry": "http://a"},
            "--routes and --registry exclude each other: a table has one source",
        ),
        ({"workload": "a/b", "gateway": "127.0.0.1:1"}, "--gateway needs --registry, which has the preview links"),
        ({**BASE, "token-file": __file__}, "--token-file is for --registry, which is not given"),
        ({**BASE, "routing-key": "a"}, "--routing-key is for --sandbox, which is not given"),
        ({**BASE, "admin": "127.0.0.1:8080"}, "127.0.0.1:8080 is given to more than one listener"),
        (
            {"workload": "a/b", "inbound": "[::1]:80=127.0.0.1:1", "outbound": "[::1]:80"},
            "[::1]:80 is given to more than one listener",
        ),
        (
            {"workload": "a/b", "inbound": "127.0.0.1:80=127.0.0.1:80"},
            "--inbound 127.0.0.1:80=127.0.0.1:80: the application cannot be the listener itself",
        ),
        (
            {"workload": "a/b", "inbound": "0.0.0.0:80=127.0.0.1:80"},
            "--inbound 0.0.0.0:80=127.0.0.1:80: the application cannot be the listener itself",
        ),
        (
            {"workload": "a/b", "inbound": "[::]:80=[::1]:80"},
            "--inbound [::]:80=[::1]:80: the application cannot be the listener itself",
        ),
        ({**BASE, "opaque": "9"}, "--opaque 9: no --inbound or --outbound listener has this port"),
        (
            {**BASE, "outbound": "127.0.0.1:9", "opaque": "9"},
            "--opaque 9: a forward proxy has to read where a request wants to go",
        ),
        (
            {"workload": "a/b", "inbound": "127.0.0.1:9=127.0.0.1:8", "peer-keys": ""},
            "--peer-keys is for calls of processes of this machine: give --outbound",
        ),
        (
            {"workload": "a/b", "outbound": "127.0.0.1:9", "forwarded": ""},
            "--forwarded is for requests to the application: give --inbound or --transparent",
        ),
        ({**BASE, "transparent-inbound": "9"}, "--transparent-inbound is for --transparent, which is not given"),
        (
            {**BASE, "transparent": "", "transparent-inbound": "9", "transparent-outbound": "9"},
            "--transparent-inbound and --transparent-outbound are both 9",
        ),
    ],
)
def test_what_contradicts_itself(flags: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse(flags)
    assert raised.value.problems == [problem]


def test_transparent_needs_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    line = "--transparent needs Linux, which tells where a connection was redirected from"
    assert problems("--workload=a/b", "--transparent") == [line]


def test_ports_that_the_kernel_chooses_are_never_the_same() -> None:
    settings = parse({"workload": "a/b", "outbound": "127.0.0.1:0,127.0.0.1:0", "admin": "127.0.0.1:0"})
    assert len(settings.outbound) == 2


def test_an_application_elsewhere_may_have_the_same_port() -> None:
    parse({"workload": "a/b", "inbound": "127.0.0.1:80=127.0.0.2:80,0.0.0.0:81=10.0.0.7:81,[::]:82=app.shop:82"})


def test_all_problems_at_once() -> None:
    lines = problems(
        "--workload=Users", "--inbound=127.0.0.1:8080", "--outbound=127.0.0.1:1", "--admin=127.0.0.1:1", "--unknown",
        "--hold-timeout=soon", "--routing-key=a", "--token-file=/nowhere", "stray",
        SKYCAP_LOG_LEVEL="loud", SKYCAP_KEY_HEADERS="x-ok,not ok,also bad",
    )  # fmt: skip
    assert lines == [
        "unknown argument '--unknown'",
        "unknown argument 'stray'",
        "--workload: 'Users' is not NAMESPACE/NAME in DNS labels",
        "--inbound: '127.0.0.1:8080' is not LISTEN=APP, like 0.0.0.0:8080=127.0.0.1:9001",
        "--token-file: /nowhere: no such file",
        "SKYCAP_KEY_HEADERS: 'not ok' is not a header name",
        "SKYCAP_KEY_HEADERS: 'also bad' is not a header name",
        "--hold-timeout: 'soon' is not a duration like 250ms, 30s, 5m or 1h",
        "SKYCAP_LOG_LEVEL: 'loud' is none of debug, info, warning, error",
        "--routing-key is for --sandbox, which is not given",
        "127.0.0.1:1 is given to more than one listener",
    ]


def test_a_mistake_does_not_hide_what_is_missing() -> None:
    """Not even when it sounds like it."""
    assert problems("--workloads=a/b", "--unbound=x") == [
        "unknown argument '--workloads=a/b'",
        "unknown argument '--unbound=x'",
        "--workload is required (or SKYCAP_WORKLOAD)",
        "give at least one --inbound, --outbound or --gateway listener, or --transparent",
    ]


def test_a_flag_without_its_value() -> None:
    assert problems("--workload=a/b", "--admin") == ["argument --admin: expected one argument"]


def test_abbreviations_are_mistakes() -> None:
    assert problems(*(f"--{name}={value}" for name, value in BASE.items()), "--hold=1s") == [
        "unknown argument '--hold=1s'"
    ]


# -- as a person meets it -----------------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SKYCAP_")}
    return subprocess.run(
        [sys.executable, "-m", "proxy", *arguments],
        env=environment, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def test_a_bad_flag_is_one_line() -> None:
    ended = run("--workload=shop/users", "--inbound=127.0.0.1:0=127.0.0.1:9", "--no-such-flag")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "skycap proxy: unknown argument '--no-such-flag'\n"


def test_a_missing_routes_file_is_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "routes.yaml"
    ended = run("--workload=shop/users", "--inbound=127.0.0.1:0=127.0.0.1:9", f"--routes={missing}", "--check")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"skycap proxy: {missing}: cannot be read: No such file or directory\n"


def test_what_can_work_is_judged_without_a_word(tmp_path: Path, busy_port: int) -> None:
    """A sidecar may be running there already."""
    routes = tmp_path / "routes.yaml"
    routes.write_text("routes: []")
    ended = run(
        "--workload=shop/users", f"--inbound=127.0.0.1:{busy_port}=127.0.0.1:9", f"--routes={routes}", "--check"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_busy_ports_are_one_line_each(busy_port: int) -> None:
    ended = run(
        "--workload=shop/users", f"--inbound=127.0.0.1:{busy_port}=127.0.0.1:9", "--outbound=192.0.2.1:1",
        "--outbound=127.0.0.1:0",
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (2, "")
    first, second = ended.stderr.splitlines()
    assert (
        first == f"skycap proxy: cannot listen on 127.0.0.1:{busy_port}: port {busy_port} is in use by another process"
    )
    assert second.startswith("skycap proxy: cannot listen on 192.0.2.1:1: ")


def test_a_routes_file_with_mistakes_says_all_of_them(tmp_path: Path) -> None:
    routes = tmp_path / "routes.yaml"
    routes.write_text(
        "routes:\n- {workload: shop/users, key: a b, endpoints: [127.0.0.1:1]}\n- {workload: x, key: b}\n"
    )
    ended = run("--workload=shop/users", "--inbound=127.0.0.1:0=127.0.0.1:9", f"--routes={routes}", "--check")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr
    for part in ("routes[0].key", "routes[1].workload", "routes[1].endpoints"):
        assert part in ended.stderr
    assert all(line.startswith("skycap proxy: ") for line in ended.stderr.splitlines())


def test_help_is_for_people() -> None:
    ended = run("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("usage: skycap proxy ")


def test_a_clean_end_is_zero() -> None:
    sidecar = subprocess.Popen(
        [sys.executable, "-m", "proxy", "--workload=shop/users", "--outbound=127.0.0.1:0"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with sidecar:
        try:
            assert sidecar.stderr is not None
            assert "listens on 127.0.0.1:" in sidecar.stderr.readline()
            sidecar.send_signal(signal.SIGTERM)
            _, rest = sidecar.communicate(timeout=50)
        finally:
            sidecar.kill()
    assert sidecar.returncode == 0
    assert "drained" in rest
    assert "Traceback" not in rest


def test_rules_of_calls_are_read_from_a_file(tmp_path: Path) -> None:
    rule = Rule(name="bank", effect="reset", host="api.bank.example")
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"key": "agent-42", "rules": [encode_rule(rule)]}))
    assert rules_file(str(file)) == ("agent-42", (rule,))
    for text, said in (("{", "Expecting"), ("{}", "legal key"), ("\udcff", "codec")):
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ValueError, match=said):
            rules_file(str(file))
    with pytest.raises(ValueError, match="no such file"):
        rules_file(str(tmp_path / "nothing"))

"""The sidecar's settings: frozen groups, made from flags and environment variables, all problems reported at once.

Every flag has an environment variable: `--hold-timeout` is SKYCAP_HOLD_TIMEOUT. A flag wins over its variable. Flags
that may be repeated take a comma-separated list as a variable. Durations are written `250ms`, `30s`, `5m`, `1h`; a
bare number is seconds.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from proxy.base.listen import Listen, parse_listen
from proxy.base.log import FORMATS, LEVELS
from proxy.base.problems import ConfigurationError
from proxy.contract.interception import INBOUND_PORT, OUTBOUND_PORT
from proxy.contract.names import DEFAULT_KEY_NAMES, DNS_LABEL, ROUTING_KEY, SANDBOX, WORKLOAD
from proxy.contract.routes import Endpoint
from proxy.contract.rules import Rule
from proxy.contradictions import contradictions, redirected
from proxy.exchange.settings import NO_LIMIT, TICK_SECONDS, ExchangeSettings
from proxy.flags import (
    Flag,
    Trusted,
    certificate_and_key,
    choice,
    duration,
    existing_file,
    inbound_listener,
    matching,
    number,
    outbound_listener,
    path_of_file,
    rules_file,
    switch,
    trusted,
    url,
)
from proxy.wire.head import Limits

DEFAULTS = ExchangeSettings()

SNIFF_SECONDS = 0.05
"""A client that speaks first does so within a round trip; a greeting that comes 50 ms late does no harm."""


@dataclass(frozen=True, slots=True)
class Transparent:
    """The ports that connections are redirected to; where they really wanted to go is asked of the kernel."""

    inbound: int
    outbound: int


TRANSPARENT = Transparent(INBOUND_PORT, OUTBOUND_PORT)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a sidecar is told.

    workload:     whom it stands beside, `namespace/name`.
    inbound:      listeners that guard the application, each with the address of the application.
    inbound_tls:  the certificate and its key that their clients are shown, None where they speak without TLS.
    app_tls:      whom the applications behind them are verified by, None where they speak without TLS.
    outbound:     listeners that carry its calls, each with its one upstream; None makes a forward proxy.
    gateway:      listeners that serve preview links, and the domain below which their hosts are.
    transparent:  where redirected connections arrive, or None.
    opaque:       ports whose connections are carried unread: of a listener, or, redirected, of a destination.
    peer_keys:    a call at a listener of `outbound` gets the key in the environment of the process that makes it.
    forwarded:    the client's address goes to the application in `x-forwarded-for` and `forwarded`.
    sniff_seconds: of silence on a new connection, until the application is dialled because it may be its turn to
                  speak; 0 for never. Clients that speak first do so within a round trip.
    routes:       file with the routes, or None.
    check:        only say what is wrong with all this and with the routes file.
    registry:     URL of the control plane, "" for none. Without either there are no shadows, only correlation.
    token_file:   file with the bearer token for the registry, or None.
    instance:     names this sidecar at the registry, unique: a pod's name.
    sandbox, routing_key, revision: beside a shadow, whose it is; "" and 0 beside the baseline.
    rules:        a key and what becomes of its calls to hosts, or None.
    admin:        listener for probes, metrics and people, or None.
    key_names:    members of `baggage` and `tracestate` that carry the key, in order of precedence.
    key_headers:  plain headers that carry it, after those.
    trace_headers: headers whose whole value is a trace id, besides the well-known formats.
    redact:       further headers whose values the registry is never told.
    sync_seconds: how long requests wait for a first table.
    drain_seconds: from SIGTERM until connections that are still busy are cut.
    otlp_endpoint: where spans of keyed requests go, "" for nowhere.
    """

    workload: str
    inbound: tuple[tuple[Listen, Endpoint], ...]
    inbound_tls: tuple[Path, Path] | None
    app_tls: Trusted | None
    outbound: tuple[tuple[Listen, Endpoint | None], ...]
    gateway: tuple[Listen, ...]
    gateway_domain: str
    transparent: Transparent | None
    opaque: frozenset[int]
    peer_keys: bool
    forwarded: bool
    sniff_seconds: float
    routes: Path | None
    check: bool
    registry: str
    token_file: Path | None
    instance: str
    sandbox: str
    routing_key: str
    rules: tuple[str, tuple[Rule, ...]] | None
    revision: int
    admin: Listen | None
    key_names: tuple[str, ...]
    key_headers: tuple[str, ...]
    trace_headers: tuple[str, ...]
    redact: tuple[str, ...]
    limits: Limits
    exchange: ExchangeSettings
    sync_seconds: float
    drain_seconds: float
    otlp_endpoint: str
    log_level: str
    log_format: str


_DOMAIN = re.compile(rf"(?!.{{191}}){DNS_LABEL}(?:\.{DNS_LABEL})*")
_INSTANCE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")


def _timeout(name: str, ticks: int, what: str) -> Flag:
    seconds = ticks * TICK_SECONDS
    shown = f"{seconds / 60:g}m" if seconds >= 60 else f"{seconds:g}s"
    return Flag(f"{name}-timeout", "TIME", duration, what, seconds, shown)


_NAME = matching(_FIELD_NAME, "a header name")
_PORT = number(1, 65535)

_FLAGS = (
    Flag("workload", "NS/NAME", matching(WORKLOAD, "NAMESPACE/NAME in DNS labels"), "the workload it stands beside"),
    Flag("inbound", "LISTEN=APP", inbound_listener, "guard the application at APP (repeatable)", (), many=True),
    Flag(
        "outbound", "LISTEN[=TARGET]", outbound_listener,
        "carry its calls to TARGET; without one, a forward proxy (repeatable)", (), many=True,
    ),
    Flag("inbound-tls", "CERT,KEY", certificate_and_key,
         "clients of --inbound listeners speak TLS, and are shown this certificate (PEM, read again when it changes)",
         None),
    Flag("app-tls", "CA", trusted,
         "behind --inbound-tls, the application and its shadows speak TLS as well, with certificates of CA (PEM, read "
         "again when it changes); without CA, an application on this machine, which is not verified",
         alone="true"),
    Flag("gateway", "LISTEN", parse_listen, "serve the registry's preview links at LISTEN (repeatable)", (), many=True),
    Flag("gateway-domain", "NAME", matching(_DOMAIN, "a host's name"), "below which the hosts of preview links are",
         "localhost", "localhost"),
    Flag("transparent", "", switch, "accept the connections that `skycap intercept` redirects", False, switch=True),
    Flag("transparent-inbound", "PORT", _PORT, "where it redirects those of the application's clients", None,
          str(TRANSPARENT.inbound)),
    Flag("transparent-outbound", "PORT", _PORT, "where it redirects those that the application makes", None,
          str(TRANSPARENT.outbound)),
    Flag("opaque", "PORT", _PORT, "carry connections to PORT unread (repeatable)", (), many=True),
    Flag("forwarded", "", switch,
          "append the client's address to x-forwarded-for and forwarded, for an application that needs it", False,
          switch=True),
    Flag("peer-keys", "", switch,
          "give a call the routing key that its process has in its environment, as SKYCAP_ROUTING_KEY (Linux)", False,
          switch=True),
    Flag("allow-caching", "", switch,
          "leave it to the application whether an answer to a request with a key may be cached", False, switch=True),
    Flag("sniff-delay", "TIME", duration,
          "silence on a new connection until the application may speak first; 0: never", SNIFF_SECONDS, "50ms"),
    Flag("routes", "FILE", path_of_file, "read routes from FILE, again when it changes"),
    Flag("check", "", switch, "judge the configuration and the routes file, start nothing", False, switch=True),
    Flag("registry", "URL", url, "watch the routes of the control plane at URL", ""),
    Flag("token-file", "FILE", existing_file, "bearer token for the registry"),
    Flag("instance", "NAME", matching(_INSTANCE, "1 to 128 characters of A-Za-z0-9._-"),
          "names this sidecar at the registry: a pod's name", "", "the host's name and something unique"),
    Flag("sandbox", "NAME", matching(SANDBOX, "a DNS label"), "it stands beside a shadow of this sandbox", ""),
    Flag(
        "routing-key", "KEY", matching(ROUTING_KEY, "1 to 63 characters of A-Za-z0-9._-"),
        "the sandbox's key", "", "the sandbox's name",
    ),
    Flag("rules", "FILE", rules_file, "what becomes of calls of one key to hosts without a sidecar, beside a shadow"),
    Flag("revision", "N", number(1, 2**53), "the shadow's revision", 1, "1"),
    Flag("admin", "LISTEN", parse_listen, "serve /live /ready /metrics /routes /connections at LISTEN"),
    Flag("key-names", "NAME", _NAME, "baggage members that carry the key (repeatable)", DEFAULT_KEY_NAMES,
          ",".join(DEFAULT_KEY_NAMES), many=True),
    Flag("key-headers", "NAME", _NAME, "headers that carry the key, after baggage (repeatable)", (), many=True),
    Flag("trace-headers", "NAME", _NAME, "further headers that hold a trace id (repeatable)", (), many=True),
    Flag("redact", "NAME", _NAME, "further headers whose values the registry is not told (repeatable)", (), many=True),
    Flag("max-head-bytes", "N", number(1024, 1 << 20), "longest head of a request or an answer",
          Limits().head_bytes, "65536"),
    Flag("max-header-lines", "N", number(8, 4096), "most header lines of one head", Limits().header_lines, "128"),
    Flag("max-held-bytes", "N", number(4096, 1 << 24),
          "bytes of pipelined requests held per connection; then reading pauses", DEFAULTS.held_bytes, "65536"),
    Flag("max-replay-bytes", "N", number(0, 1 << 24), "bytes of a request kept, so that it can be sent again",
          DEFAULTS.replay_bytes, "65536"),
    Flag("splice-bytes", "N", number(0, 1 << 40),
         "bodies with so many bytes to come, and bulk in tunnels, are moved by the kernel; 0: never",
         DEFAULTS.splice_bytes, "262144"),
    Flag("min-upload-rate", "N", number(0, 1 << 30),
          "bytes of content per second that a request sends, averaged, after --response-timeout; 0: any",
          DEFAULTS.upload_rate, "1"),
    _timeout("header", DEFAULTS.header_ticks, "longest time for a request head to arrive"),
    _timeout("idle", DEFAULTS.idle_ticks, "longest pause between two requests of a connection"),
    _timeout("connect", DEFAULTS.connect_ticks, "longest time for one dial"),
    _timeout("response", DEFAULTS.response_ticks, "longest wait for the head of an answer"),
    _timeout("stream", DEFAULTS.stream_ticks, "longest silence within a body or a tunnel"),
    _timeout("linger", DEFAULTS.linger_ticks, "longest wait for the rest of an upload that is already answered"),
    _timeout("hold", DEFAULTS.hold_ticks, "longest wait of a request for a shadow that is being started"),
    _timeout("sync", DEFAULTS.sync_ticks, "longest wait of requests for the first routes"),
    Flag("drain-timeout", "TIME", duration, "from SIGTERM until busy connections are cut", 30.0, "30s"),
    Flag("otlp-endpoint", "URL", url, "send spans of requests with a key to URL (needs skycap[otlp])", ""),
    Flag("log-level", "LEVEL", choice(*LEVELS), "debug, info, warning or error",
          "info", "info"),
    Flag("log-format", "FORMAT", choice(*FORMATS), "text or json", "text", "text"),
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigurationError([message])


def _argument_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="skycap proxy",
        description="Run a sidecar: it carries each request to the shadow of its routing key, or to the baseline. "
        "It runs until Ctrl-C or SIGTERM; all that it has to say goes to standard error as a log.",
        epilog="LISTEN, APP and TARGET are HOST:PORT; TIME is 250ms, 30s, 5m or 1h. In brackets stands the default. "
        "Every flag has an environment variable: --hold-timeout is SKYCAP_HOLD_TIMEOUT; lists are separated by commas. "
        "SIGTERM, SIGINT and SIGQUIT drain; a second one cuts what is left. SIGHUP reads the routes file now, or goes "
        "back to the registry at once; SIGUSR1 and SIGUSR2 are ignored. "
        "Exit codes: 0 after a clean shutdown, 1 on a failure, 2 when the configuration is not valid. --check judges "
        "the routes file as well; with a bad one a sidecar starts, serves the application and is not ready.",
        allow_abbrev=False,
    )
    for flag in _FLAGS:
        shown = f" [{flag.shown}]" if flag.shown else ""
        if flag.switch:
            parser.add_argument(f"--{flag.name}", help=flag.help, action="store_const", const="true")
            continue
        if flag.alone:
            parser.add_argument(f"--{flag.name}", metavar=flag.metavar, help=flag.help, nargs="?", const=flag.alone)
            continue
        parser.add_argument(
            f"--{flag.name}", metavar=flag.metavar, help=flag.help + shown, action="append" if flag.many else "store"
        )
    return parser


def parse_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from flags and variables. Raises ConfigurationError with every problem; SystemExit for --help."""
    parsed, unknown = _argument_parser().parse_known_args(list(arguments))
    problems = [f"unknown argument {text!r}" for text in unknown]
    values: dict[str, Any] = {}
    bad: set[str] = set()
    for flag in _FLAGS:
        given = getattr(parsed, flag.field)
        where = f"--{flag.name}"
        if given is None and environment.get(flag.variable):
            where = flag.variable
            given = environment[flag.variable].split(",") if flag.many else environment[flag.variable]
        values[flag.field] = flag.default
        if given is None:
            continue
        parsed_values = []
        for text in given if flag.many else [given]:
            try:
                parsed_values.append(flag.parse(text.strip()))
            except ValueError as error:
                problems.append(f"{where}: {error}")
        if len(parsed_values) == (len(given) if flag.many else 1):
            values[flag.field] = tuple(parsed_values) if flag.many else parsed_values[0]
        else:
            bad.add(flag.field)
    problems += contradictions(values, bad)
    if problems:
        raise ConfigurationError(problems)
    return _assemble(values)


def _unique_name() -> str:
    """The host may run many sidecars, and a sidecar that is started again is another one."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:63]
    return f"{host}-{os.urandom(4).hex()}"


def _assemble(values: dict[str, Any]) -> Settings:
    def ticks(name: str) -> int:
        seconds = float(values.pop(f"{name}_timeout"))
        return max(1, round(seconds / TICK_SECONDS)) if seconds else NO_LIMIT

    sync_seconds = values["sync_timeout"]
    exchange = ExchangeSettings(
        header_ticks=ticks("header"),
        idle_ticks=ticks("idle"),
        connect_ticks=ticks("connect"),
        response_ticks=ticks("response"),
        stream_ticks=ticks("stream"),
        linger_ticks=ticks("linger"),
        hold_ticks=ticks("hold"),
        sync_ticks=ticks("sync"),
        upload_rate=values.pop("min_upload_rate"),
        held_bytes=values.pop("max_held_bytes"),
        replay_bytes=values.pop("max_replay_bytes"),
        splice_bytes=values.pop("splice_bytes") or NO_LIMIT,
        uncached=not values.pop("allow_caching"),
    )
    limits = Limits(values.pop("max_head_bytes"), values.pop("max_header_lines"))
    values["sniff_seconds"] = values.pop("sniff_delay")
    values["opaque"] = frozenset(values["opaque"])
    transparent = Transparent(*redirected(values)) if values["transparent"] else None
    del values["transparent_inbound"], values["transparent_outbound"]
    values["transparent"] = transparent
    values["instance"] = values["instance"] or _unique_name()
    sandbox = values["sandbox"]
    values["routing_key"] = values["routing_key"] or sandbox
    values["revision"] = values["revision"] if sandbox else 0
    return Settings(
        **{name: value for name, value in values.items() if name != "drain_timeout"},
        drain_seconds=values["drain_timeout"],
        exchange=exchange,
        limits=limits,
        sync_seconds=sync_seconds,
    )

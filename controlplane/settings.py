"""The registry's settings: from flags and SKYCAP_ variables, frozen, all problems reported at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from socket import gethostname
from tempfile import gettempdir
from typing import Any, TypeVar
from urllib.parse import urlsplit

from controlplane.api.access import Role
from controlplane.kubernetes.decision import Installation as Injection
from controlplane.kubernetes.settings import ClusterSettings
from controlplane.life.quota import MAX_SANDBOXES, Quota
from controlplane.model.problem import TTL
from controlplane.model.sandbox import MAX_TTL_SECONDS, Network, ttl_seconds
from controlplane.process.limits import Limits
from proxy.base.access import state_home
from proxy.base.listen import Listen, parse_listen
from proxy.base.log import FORMATS, LEVELS
from proxy.base.problems import ConfigurationError
from proxy.base.token import read_token
from proxy.contract.routes import OnUnavailable

DEFAULT_LISTEN = "127.0.0.1:7070"
DEFAULT_TTL = "8h"

MIN_MEMORY = 16 << 20
"""Of a shadow: its keeper takes 10 MiB of it."""

_SHIFTS = {"m": 20, "g": 30}

MIN_TOKEN = 16
"""Characters: 64 bits when they are hexadecimal digits, the least that is not guessed over a network."""

TOKEN_FLAGS = {
    Role.USER: "--token-file",
    Role.VIEWER: "--viewer-token-file",
    Role.SIDECAR: "--sidecar-token-file",
}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Settings:
    """How one registry runs."""

    listen: Listen
    """Where the API listens; port 0: a free one."""

    store: Path | None
    """The SQLite file; None keeps everything in memory and forgets it at the end."""

    tokens: Mapping[Role, str] = field(repr=False)
    """The bearer tokens that were named, by what they allow; the others are made. Never logged."""

    sidecar_token_file: Path | None
    """Where the sidecars' token was named: the shadows' sidecars are told. None: they find the one that was made."""

    hops: str | None
    """The Redis that several replicas share for hop records; None: in memory. It may hold a password."""

    default_ttl: int
    """Seconds that a sandbox lives which names no TTL. Eight hours: a working day, gone the next morning."""

    state_dir: Path
    """Where the process launcher keeps the records and the output of shadows."""

    endpoint_networks: tuple[Network, ...]
    """Where static endpoints may be; empty: anywhere but link-local."""

    keep_shadows: bool
    """Leave shadows running at the end, for the next registry to adopt. By default they end with the registry,
    so that Ctrl-C leaves nothing behind; they are started again with it."""

    gateway: str
    """The URL at which preview links are served, "" where there is no gateway."""

    ended_keys: OnUnavailable
    """What a request with the key of a sandbox that has ended gets: an error, so that no test goes on against the
    baseline without a word, or the baseline."""

    quota: Quota
    """How many sandboxes there may be, and of one owner."""

    limits: Limits
    """Of memory and of processor, for the application of each shadow that is a process here."""

    log_level: str
    log_format: str

    cluster: ClusterSettings | None = None
    """The engine `kubernetes`: sandboxes are resources of a cluster, and their shadows its pods. None: this machine."""


def settings_from(given: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Settings from the flags' values, None where nothing was said. Raises ConfigurationError with all problems.

    given: listen, store, memory, token_file, viewer_token_file, sidecar_token_file, default_ttl, state_dir,
           endpoint_networks, keep_shadows, hops, gateway, ended_keys, max_sandboxes, max_sandboxes_per_owner,
           shadow_memory, shadow_cpus, log_level, log_format, and those of `_cluster`.
    """
    problems: list[str] = []

    def parsed(flag: str, parse: Callable[[str], _T], default: str) -> _T | None:
        text = given.get(flag.strip("-").replace("-", "_"))
        try:
            return parse(default if text is None else str(text))
        except ValueError as error:
            problems.append(f"{flag}: {error}")
            return None

    home = state_home(environ)
    listen = parsed("--listen", parse_listen, DEFAULT_LISTEN)
    ttl = parsed("--default-ttl", _ttl, DEFAULT_TTL)
    ended = parsed("--ended-keys", _policy, "error")
    gateway = parsed("--gateway", _gateway, "")
    hops = parsed("--hops", _hops, "memory")
    networks = parsed("--endpoint-networks", _networks, "")
    level = parsed("--log-level", _level, "info")
    form = parsed("--log-format", _log_format, "text")
    most = parsed("--max-sandboxes", _count, str(MAX_SANDBOXES))
    per_owner = parsed("--max-sandboxes-per-owner", _count_or_none, "")
    memory = parsed("--shadow-memory", _bytes, "")
    cpus = parsed("--shadow-cpus", _cpus, "")
    read = {role: parsed(flag, _token, "") for role, flag in TOKEN_FLAGS.items()}
    tokens = {role: token for role, token in read.items() if token}
    cluster = _cluster(given, environ, problems)
    if cluster is None and listen is not None and read[Role.USER] == "" and not is_loopback(listen.host):
        problems.append(f"--listen: {listen} is not loopback, so a token is needed: say --token-file FILE")
    for role, token in tokens.items():
        same = next(other for other, known in tokens.items() if known == token)
        if same is not role:
            problems.append(f"{TOKEN_FLAGS[role]}: holds the token of {TOKEN_FLAGS[same]}: each role needs its own")
    store = None if given.get("memory") else Path(given.get("store") or home / "registry.db")
    if given.get("memory") and given.get("store"):
        problems.append("--memory: keeps nothing, and --store says where to keep it: say one of them")
    if problems:
        raise ConfigurationError(problems)
    assert listen is not None
    assert ttl is not None
    assert networks is not None
    assert hops is not None
    assert gateway is not None
    assert ended is not None
    assert most is not None
    assert level is not None
    assert form is not None
    return Settings(
        listen=listen,
        store=store,
        tokens=tokens,
        sidecar_token_file=Path(given["sidecar_token_file"]).absolute() if given.get("sidecar_token_file") else None,
        hops=hops or None,
        default_ttl=ttl,
        state_dir=Path(given.get("state_dir") or (Path(gettempdir()) / "skycap" if cluster else home / "shadows")),
        endpoint_networks=networks,
        keep_shadows=bool(given.get("keep_shadows")),
        gateway=gateway,
        ended_keys=ended,
        quota=Quota(most, per_owner),
        limits=Limits(memory, cpus),
        log_level=level,
        log_format=form,
        cluster=cluster,
    )


OF_A_CLUSTER = (
    "webhook_listen",
    "webhook_certificate",
    "metrics_listen",
    "sidecar_image",
    "sidecar_pull_policy",
    "sidecar_registry",
    "shadow_namespaces",
)
OF_A_MACHINE = ("store", "memory", "keep_shadows")


def _cluster(given: Mapping[str, Any], environ: Mapping[str, str], problems: list[str]) -> ClusterSettings | None:
    """Those of the engine `kubernetes`, None for the other one; what is wrong is added to `problems`."""
    kubernetes = (given.get("engine") or "local") == "kubernetes"
    for flag in OF_A_MACHINE if kubernetes else OF_A_CLUSTER:
        if given.get(flag):
            other = "local" if kubernetes else "kubernetes"
            problems.append(f"--{flag.replace('_', '-')}: is for --engine {other}")
    if not kubernetes:
        return None
    if find_spec("cryptography") is None:
        problems.append("--engine: kubernetes needs skycap[kubernetes]: pip install 'skycap[kubernetes]'")
    namespace = environ.get("SKYCAP_POD_NAMESPACE") or "skycap-system"
    listens: dict[str, Listen | None] = {"webhook_listen": None, "metrics_listen": None}
    for flag in listens:
        if given.get(flag):
            try:
                listens[flag] = parse_listen(str(given[flag]))
            except ValueError as error:
                problems.append(f"--{flag.replace('_', '-')}: {error}")
    return ClusterSettings(
        namespace=namespace,
        identity=environ.get("SKYCAP_POD_NAME") or gethostname(),
        injection=Injection(
            image=str(given.get("sidecar_image") or ""),
            pull_policy=str(given.get("sidecar_pull_policy") or ""),
            registry=str(given.get("sidecar_registry") or f"http://skycap.{namespace}.svc:7070"),
            namespace=namespace,
        ),
        webhook=listens["webhook_listen"],
        given=given.get("webhook_certificate") == "given",
        metrics=listens["metrics_listen"],
        namespaces=tuple(filter(None, (part.strip() for part in str(given.get("shadow_namespaces") or "").split(",")))),
    )


def is_loopback(name: str) -> bool:
    """`localhost`, 127.0.0.0/8 or ::1."""
    if name.lower() == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _token(path: str) -> str:
    return read_token(Path(path), MIN_TOKEN) if path else ""


def _ttl(text: str) -> int:
    if not re.fullmatch(TTL.pattern, text):
        raise ValueError(f"{text!r} is not {TTL.words}")
    if ttl_seconds(text) > MAX_TTL_SECONDS:
        raise ValueError(f"{text!r} is longer than {MAX_TTL_SECONDS // 86400}d")
    return ttl_seconds(text)


def _gateway(text: str) -> str:
    try:
        parts = urlsplit(text)
        known = not text or (parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        known = False
    if not known or parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{text!r} is not http://HOST[:PORT], where a browser reaches the gateway")
    return text.rstrip("/")


def _hops(text: str) -> str:
    """ "" for memory."""
    if text == "memory":
        return ""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of its port
        valid = False
    if not valid:
        raise ValueError("it is neither `memory` nor redis://HOST:PORT")  # what it is may hold a password
    return text


def _policy(text: str) -> OnUnavailable:
    if text not in ("error", "baseline"):
        raise ValueError(f"{text!r} is neither error nor baseline")
    return OnUnavailable(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text) or int(text) > MAX_SANDBOXES:
        raise ValueError(f"{text!r} is not a whole number from 1 to {MAX_SANDBOXES}")
    return int(text)


def _count_or_none(text: str) -> int | None:
    return _count(text) if text else None


def _bytes(text: str) -> int | None:
    if not text:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mg])", text.lower())
    if found is None or int(found[1]) << _SHIFTS[found[2]] < MIN_MEMORY:
        raise ValueError(f"{text!r} is not a size from {MIN_MEMORY >> 20}m on, like 512m or 2g")
    return int(found[1]) << _SHIFTS[found[2]]


def _cpus(text: str) -> float | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,2})?", text) or float(text) < 0.01:
        raise ValueError(f"{text!r} is not a number of processors, like 2 or 0.5")
    return float(text)


def _networks(text: str) -> tuple[Network, ...]:
    named = [part.strip() for part in text.split(",") if part.strip()]
    wrong = [part for part in named if not _is_network(part)]
    if wrong:
        raise ValueError(f"{', '.join(map(repr, wrong))} is not a network in CIDR notation, like 10.0.0.0/8")
    return tuple(map(ip_network, named))


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _level(text: str) -> str:
    if text.lower() not in LEVELS:
        raise ValueError(f"{text!r} is none of {', '.join(LEVELS)}")
    return text.lower()


def _log_format(text: str) -> str:
    if text.lower() not in FORMATS:
        raise ValueError(f"{text!r} is neither {' nor '.join(FORMATS)}")
    return text.lower()

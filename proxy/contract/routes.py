"""A route: what a sidecar needs to know about one (workload, routing key).

The same object travels in the route watch (`proxy.contract.watch`) and stands in a routes file:

    routes:
    - {workload: shop/users, key: agent-42, endpoints: [127.0.0.1:9102]}
    - {workload: shop/users, key: b, endpoints: ["[::1]:8080"], sandbox: b, revision: 2, state: ready,
       onUnavailable: baseline}

    - {workload: shop/users, key: c, state: ended, since: "2026-01-31T12:00:00Z", why: it was deleted}

`ports` is for a shadow that is a copy of a whole pod (`proxy.contract.ports`).
`workload`, `key` and `endpoints` are required; a route that has ended has no endpoints. A table with one bad route is
refused whole.

Two ways of reading. A file that people write is read strictly: an unknown field is an error, because a misspelt
`onUnavailable` must not become a silent default. What programs send each other is read leniently, because one of them
is newer: an unknown field is ignored, an unknown state counts as pending (the baseline would be a wrong answer), an
unknown policy as `error`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar

from proxy.contract.addresses import is_link_local, why_no_shadow
from proxy.contract.names import ROUTING_KEY, SANDBOX, WORKLOAD
from proxy.contract.ports import decode_ports, encode_ports
from proxy.contract.shown import kind, named, show
from proxy.errors import ContractError

MAX_ENDPOINTS = 64
"""Per route. A shadow is one process or a few pods; more is a mistake in a generated file."""

MAX_ROUTES = 1_000_000
"""In one table: ten times the 100,000 that are promised, and about 400 MB of memory."""


MAX_WHY = 200
"""Characters of the sentence that says why a route has ended."""


class State(Enum):
    """Where a shadow is in its life, as far as routing cares."""

    READY = "ready"
    PENDING = "pending"
    """Starting, or updating for the first time: requests are held up."""
    FAILED = "failed"
    ENDED = "ended"
    """Its sandbox is gone. The route is its tombstone: the baseline does not serve its key in silence."""


class OnUnavailable(Enum):
    """What a request gets when its shadow should answer and cannot."""

    ERROR = "error"
    BASELINE = "baseline"


class Endpoint:
    """An address that accepts connections: `host` (IPv4, IPv6 or a name) and `port` (1-65535)."""

    __slots__ = ("host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Endpoint {self}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Endpoint) and (self.host, self.port) == (other.host, other.port)

    def __hash__(self) -> int:
        return hash((self.host, self.port))


class Route:
    """One (workload, key) and where it leads.

    endpoints:      where the shadow answers, tried in turn; empty unless the state is ready.
    sandbox:        the sandbox's name, by default the key.
    revision:       grows with every update of the fork, from 1.
    since, why:     of a route that has ended, when and what happened, for people; "" when that is not known.
    ports:          on which of its ports the shadow answers (`proxy.contract.ports`); None: on those of `endpoints`.
    asleep:         of a pending one: its shadow is started when somebody says that a request waits for it
                    (`proxy.contract.watch`).
    """

    # A hand-written class with slots: 100,000 of them must stay well under 60 MB.
    __slots__ = (
        "asleep", "endpoints", "key", "on_unavailable", "ports", "revision", "sandbox", "since", "state", "why",
        "workload",
    )  # fmt: skip

    def __init__(
        self,
        workload: str,
        key: str,
        endpoints: tuple[Endpoint, ...],
        sandbox: str = "",
        revision: int = 1,
        state: State = State.READY,
        on_unavailable: OnUnavailable = OnUnavailable.ERROR,
        since: str = "",
        why: str = "",
        asleep: bool = False,
        ports: Mapping[int, int] | None = None,
    ) -> None:
        self.workload = workload
        self.key = key
        self.endpoints = endpoints
        self.sandbox = sandbox or key
        self.revision = revision
        self.state = state
        self.on_unavailable = on_unavailable
        self.since = since
        self.why = why
        self.asleep = asleep
        self.ports = ports

    def led(self, port: int) -> tuple[Endpoint, ...]:
        """Where what was sent to this port of the baseline goes; 0: nobody knows to which one it was sent."""
        if self.ports is None or not port:
            return self.endpoints
        return tuple(Endpoint(endpoint.host, self.ports.get(port, port)) for endpoint in self.endpoints)

    def __repr__(self) -> str:
        where = ",".join(map(str, self.endpoints)) or "nowhere"
        return f"<Route {self.workload} {self.key} -> {where} rev={self.revision} {self.state.value}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Route) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.workload, self.key, self.revision))


_E = TypeVar("_E", bound=Enum)
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?!.{{254}}){_LABEL}(?:\.{_LABEL})*\.?")
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")
"""A last label that is a number: resolvers read `127.1`, `2852039166` and `0xa9fea9fe` as IPv4 addresses."""
_PORT = re.compile(r"[0-9]{1,5}")
_FIELDS = frozenset({
    "workload", "key", "endpoints", "sandbox", "revision", "state", "onUnavailable", "ports", "since", "why",
})  # fmt: skip
_SINCE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z")
_WHY = re.compile(rf"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{{1,{MAX_WHY}}}")


def parse_endpoint(text: str) -> Endpoint:
    """`host:port` or `[v6]:port`, addresses in their shortest form. Raises ValueError with one sentence.

    Link-local addresses (169.254.0.0/16, fe80::/10) are refused, however they are wrapped: they are where cloud
    metadata lives, and no shadow does. So is a "name" that a resolver would read as a number, which hides one.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{show(text)} is not HOST:PORT with a port from 1 to 65535")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if bracketed or not _HOST_NAME.fullmatch(host) or _NUMERIC.fullmatch(host):
            raise ValueError(f"{show(text)} has no valid host: write an address, a name, or [v6]") from None
        return Endpoint(host, int(port))
    if bracketed != (address.version == 6):
        raise ValueError(f"{show(text)}: an IPv6 address stands in brackets, an IPv4 address does not")
    if "%" in host:
        raise ValueError(f"{show(text)}: an address with a zone means something else on every machine")
    if is_link_local(address):
        raise ValueError(f"{show(text)} is link-local, where no shadow may be")
    return Endpoint(str(address), int(port))


def parse_shadow(text: str) -> Endpoint:
    """The endpoint of a shadow: one address of one machine, and none where clouds keep secrets. Raises ValueError."""
    endpoint = parse_endpoint(text)
    try:
        why = why_no_shadow(ipaddress.ip_address(endpoint.host))
    except ValueError:  # a name; what it leads to is judged when it is dialled
        return endpoint
    if why:
        raise ValueError(f"{show(text)} {why}")
    return endpoint


def decode_route(document: object, path: str = "", *, lenient: bool = False) -> Route:
    """One route from its JSON form. Raises ContractError with every problem, each with its path.

    lenient: it comes from another program, which may be newer.
    """
    problems: list[tuple[str, str]] = []
    dot = f"{path}." if path else ""
    if not isinstance(document, Mapping):
        raise ContractError([(path, f"must be an object, not {kind(document)}")])
    if not lenient:
        problems += [(f"{dot}{named(name)}", "unknown field") for name in document if name not in _FIELDS]

    def text(name: str, pattern: re.Pattern[str], what: str) -> str:
        value = document.get(name)
        if value is None:
            problems.append((f"{dot}{name}", "is required"))
        elif not isinstance(value, str):
            problems.append((f"{dot}{name}", f"must be text, not {kind(value)}: put it in quotes"))
        elif not pattern.fullmatch(value):
            problems.append((f"{dot}{name}", f"{show(value)} is not {what}"))
        else:
            return value
        return ""

    workload = text("workload", WORKLOAD, "NAMESPACE/NAME in DNS labels")
    key = text("key", ROUTING_KEY, "1 to 63 characters of A-Za-z0-9._-")
    sandbox = key  # the default, which need not be a DNS label
    if document.get("sandbox") not in (None, key):
        sandbox = text("sandbox", SANDBOX, "a DNS label")
    revision = document.get("revision", 1)
    if not isinstance(revision, int) or isinstance(revision, bool) or not 1 <= revision < 2**53:
        problems.append((f"{dot}revision", f"{show(revision)} is not a whole number from 1"))
    unknown_state = State.PENDING if lenient else None
    state = _choice(State, document.get("state", "ready"), f"{dot}state", problems, unknown_state)
    unknown_policy = OnUnavailable.ERROR if lenient else None
    policy = _choice(
        OnUnavailable, document.get("onUnavailable", "error"), f"{dot}onUnavailable", problems, unknown_policy
    )
    listed = document.get("endpoints")
    if state is State.ENDED:
        listed = listed or []
        if listed:
            problems.append((f"{dot}endpoints", "a route that has ended has none"))
    endpoints = _endpoints(listed, f"{dot}endpoints", problems)
    since, why = _end(document, dot, state, lenient, problems)
    ports: dict[int, int] | None = None
    try:
        ports = decode_ports(document.get("ports"))
    except ValueError as error:
        problems.append((f"{dot}ports", str(error)))
    if state is State.READY and document.get("endpoints") == []:
        problems.append((f"{dot}endpoints", "a ready route needs at least one"))
    if problems:
        raise ContractError(problems)
    assert isinstance(revision, int)
    assert state is not None
    assert policy is not None
    asleep = lenient and state is State.PENDING and document.get("asleep") is True
    return Route(workload, key, endpoints, sandbox, revision, state, policy, since, why, asleep, ports)


def encode_route(route: Route) -> dict[str, Any]:
    """The JSON form of a route, all fields written out; those for some routes only where they mean something."""
    more: dict[str, Any] = {"since": route.since, "why": route.why} if route.state is State.ENDED else {}
    if route.asleep:
        more["asleep"] = True
    if route.ports is not None:
        more["ports"] = encode_ports(route.ports)
    return {
        "workload": route.workload,
        "key": route.key,
        "endpoints": [str(endpoint) for endpoint in route.endpoints],
        "sandbox": route.sandbox,
        "revision": route.revision,
        "state": route.state.value,
        "onUnavailable": route.on_unavailable.value,
    } | more


def encode_tombstone(route: Route) -> dict[str, Any]:
    """The JSON form of a route that has ended, as the watch carries it beside the routes."""
    assert route.state is State.ENDED
    encoded = encode_route(route)
    return {name: value for name, value in encoded.items() if name not in ("state", "endpoints")}


def decode_tombstone(document: object, path: str = "") -> Route:
    """A route of state `ended`, from `encode_tombstone` of another program. Raises ContractError."""
    if isinstance(document, Mapping):
        document = {**document, "state": State.ENDED.value, "endpoints": []}
    return decode_route(document, path, lenient=True)


def decode_table(document: object) -> list[Route]:
    """A whole routes file, already parsed from YAML or JSON. Raises ContractError with every problem."""
    return list(decode_routes(listed_routes(document)))


def decode_routes(items: Iterable[object]) -> Iterator[Route]:
    """The routes of one table, one at a time; after the last, raises ContractError with every problem.

    A reader of a table in pieces must not use a route of it before the end. A ContractError raised by
    `items` itself is a problem of the document around the routes, and ends it. Two routes for one (workload,
    key) are a problem: either could win.
    """
    problems: list[tuple[str, str]] = []
    seen: dict[tuple[str, str], int] = {}
    try:
        for index, item in enumerate(items):
            if index == MAX_ROUTES:
                problems.append(("routes", f"has more than {MAX_ROUTES} entries"))
                break
            try:
                route = decode_route(item, f"routes[{index}]")
            except ContractError as error:
                problems += error.problems
                continue
            first = seen.setdefault((route.workload, route.key), index)
            if first != index:
                problems.append((f"routes[{index}]", f"repeats the workload and key of routes[{first}]"))
                continue
            yield route
    except ContractError as error:
        problems += error.problems
    if problems:
        raise ContractError(problems)


def listed_routes(document: object) -> Iterator[object]:
    """The items of a parsed routes file, for `decode_routes`. Raises ContractError for what is around them."""
    if not isinstance(document, Mapping):
        raise ContractError([("", f"must be an object with `routes`, not {kind(document)}")])
    listed = document.get("routes")
    problems = [(named(name), "unknown field") for name in document if name != "routes"]
    if isinstance(listed, list):
        yield from listed
    else:
        problems.append(("routes", "is required and must be a list"))
    if problems:
        raise ContractError(problems)


def _endpoints(value: object, path: str, problems: list[tuple[str, str]]) -> tuple[Endpoint, ...]:
    if not isinstance(value, list):
        problems.append((path, "is required and must be a list of HOST:PORT"))
        return ()
    if len(value) > MAX_ENDPOINTS:
        problems.append((path, f"has {len(value)} entries, {MAX_ENDPOINTS} are allowed"))
        return ()
    endpoints = []
    for index, item in enumerate(value):
        try:
            if not isinstance(item, str):
                raise ValueError(f"{show(item)} is not HOST:PORT")
            endpoints.append(parse_shadow(item))
        except ValueError as error:
            problems.append((f"{path}[{index}]", str(error)))
    return tuple(endpoints)


def _end(
    document: Mapping[str, Any], dot: str, state: State | None, lenient: bool, problems: list[tuple[str, str]]
) -> tuple[str, str]:
    """`since` and `why`. Read leniently, what does not fit is left out: they are for people and decide nothing."""
    found = []
    for name, pattern, what in (
        ("since", _SINCE, "a time in UTC, like 2026-01-31T12:00:00Z"),
        ("why", _WHY, f"text of 1 to {MAX_WHY} characters in one line"),
    ):
        value = document.get(name)
        if isinstance(value, str) and (pattern.fullmatch(value) or not value):
            if state is not State.ENDED and not lenient:
                problems.append((f"{dot}{name}", "is for a route whose state is `ended`"))
            found.append(value)
            continue
        if value is not None and not lenient:
            problems.append((f"{dot}{name}", f"{show(value)} is not {what}"))
        found.append("")
    return (found[0], found[1]) if state is State.ENDED else ("", "")


def _choice(
    members: type[_E], value: object, path: str, problems: list[tuple[str, str]], unknown: _E | None
) -> _E | None:
    for member in members:
        if member.value == value:
            return member
    if unknown is not None and isinstance(value, str):
        return unknown
    allowed = ", ".join(repr(member.value) for member in members)
    problems.append((path, f"{show(value)} is none of {allowed}"))
    return None

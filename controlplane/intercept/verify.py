"""Is the interception at work? Read the rules, then really connect.

- Straight to both ports of the sidecar: it accepts such a connection and ends it, because it was not redirected.
  Refused means that no sidecar listens; kept open, that something else does.
- To an address that exists nowhere (RFC 5737, RFC 3849): only a redirection can accept that connection, and the rule
  that redirects must have counted it.

How clients come in cannot be tried from here: whatever this machine sends to itself goes over loopback, which is
never redirected. The rule tells how many connections it has redirected.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from controlplane.intercept import nft
from controlplane.intercept.nft import InterceptError

CONNECT_SECONDS = 1.0
"""A redirected connection is made within this machine."""

NOWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Reserved for documentation: nobody answers there."""

PROBE_PORTS = (80, 443, 61999)
"""Some may be excluded."""

_FAMILIES = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and what to do when it is not good."""

    ok: bool
    subject: str
    found: str
    advice: str = ""

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Chain:
    """One direction, as it is in force. port: where it redirects to; connections: how many it has redirected."""

    port: int
    connections: int


def examine() -> list[Check]:
    """Every check, in the order in which a person should act on them. Raises InterceptError without access to rules."""
    if not nft.installed():
        return [Check(False, "rules", "they are not installed", "run `skycap intercept install`")]
    rules = nft.rules()
    chains = read_chains(rules)
    checks = []
    for name, hook in (("inbound", "prerouting"), ("outbound", "output")):
        chain = chains.get(hook)
        if chain is None:
            advice = "run `skycap intercept install` again"
            checks.append(Check(False, f"{name} rules", "no rule redirects anything", advice))
            continue
        counted = f"redirected to port {chain.port}, {chain.connections} connections so far"
        checks += [Check(True, f"{name} rules", counted), _sidecar(name, chain.port)]
    if "output" in chains:
        if _spares_us(rules):
            advice = "run this as another user, root for example"
            checks.append(Check(False, "a call", "cannot be tried by the sidecar's own user, who is spared", advice))
        else:
            checks += [_call(family, chains["output"]) for family in NOWHERE]
    return checks


def _spares_us(rules: list[dict[str, Any]]) -> bool:
    """Calls of this process's user or group are not redirected."""
    matches = [part["match"] for entry in rules for part in entry.get("rule", {}).get("expr", []) if "match" in part]
    ours = {"skuid": os.getuid(), "skgid": os.getgid()}
    return any(
        match["left"] == {"meta": {"key": key}} and match["right"] == own
        for match in matches
        for key, own in ours.items()
    )


def read_chains(rules: list[dict[str, Any]]) -> dict[str, Chain]:
    """By hook, the chains that redirect; `rules` as `nft -j` lists a table."""
    hooks = {entry["chain"]["name"]: entry["chain"].get("hook", "") for entry in rules if "chain" in entry}
    found = {}
    for entry in rules:
        rule = entry.get("rule", {})
        parts: dict[str, Any] = {}
        for part in rule.get("expr", []):
            if isinstance(part, Mapping):
                parts.update(part)
        redirect = parts.get("redirect")
        if isinstance(redirect, Mapping) and isinstance(redirect.get("port"), int):
            counter = parts.get("counter")
            packets = counter.get("packets", 0) if isinstance(counter, Mapping) else 0
            found[hooks.get(rule["chain"], "")] = Chain(redirect["port"], packets)
    return found


def _sidecar(name: str, port: int) -> Check:
    """Does a transparent sidecar listen there?"""
    subject = f"{name} sidecar"
    missing = []
    for family, host in _LOOPBACK.items():
        try:
            with socket.socket(family) as probe:
                probe.settimeout(CONNECT_SECONDS)
                probe.connect((host, port))
                if probe.recv(1):
                    raise TimeoutError
        except ConnectionResetError:
            continue
        except TimeoutError:
            advice = "another program has this port: give the sidecar another one with --transparent-inbound/-outbound"
            return Check(False, subject, f"what listens on port {port} is no sidecar with --transparent", advice)
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                continue  # no such family here
            missing.append(_FAMILIES[family])
    if missing:
        advice = "start `skycap proxy --transparent`; until then redirected connections are refused"
        return Check(False, subject, f"nobody listens on port {port} ({', '.join(missing)})", advice)
    return Check(True, subject, f"listens on port {port}, and refuses what was not redirected")


def _call(family: socket.AddressFamily, before: Chain) -> Check:
    """Call an address that exists nowhere."""
    subject = f"a call by {_FAMILIES[family]}"
    failures = []
    for port in PROBE_PORTS:
        failure = ""
        try:
            with socket.socket(family) as probe:
                probe.settimeout(CONNECT_SECONDS)
                probe.connect((NOWHERE[family], port))
        except OSError as error:
            if error.errno in (errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                return Check(True, subject, "there is no route, so nothing to redirect")
            failure = (error.strerror or "no answer").lower()
        if _counted() > before.connections:
            if failure:
                return Check(False, subject, f"is redirected to port {before.port}, and then: {failure}")
            return Check(True, subject, f"is redirected to port {before.port}")
        failures.append(failure)
    advice = "look at `nft list ruleset`: are all ports or networks excluded, or do other rules come first?"
    return Check(False, subject, f"is not redirected: {failures[0] or 'somebody else answered'}", advice)


def _counted() -> int:
    try:
        chain = read_chains(nft.rules()).get("output")
    except InterceptError:
        return 0
    return chain.connections if chain is not None else 0

"""What speaks against a set of flags, each of which is well-formed by itself."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from typing import Any

from proxy.contract.interception import INBOUND_PORT, OUTBOUND_PORT
from proxy.contract.routes import Endpoint


def contradictions(values: Mapping[str, Any], bad: set[str]) -> list[str]:
    """Problems, as lines. bad: fields that were given, but not well, and so have their default in `values`."""
    problems = []
    if not values["workload"] and "workload" not in bad:
        problems.append("--workload is required (or SKYCAP_WORKLOAD)")
    ways_in = {"inbound", "outbound", "transparent", "gateway"}
    if not any(values[way] for way in ways_in) and not bad & ways_in:
        problems.append("give at least one --inbound, --outbound or --gateway listener, or --transparent")
    if values["gateway"] and not values["registry"] and "registry" not in bad:
        problems.append("--gateway needs --registry, which has the preview links")
    if values["routes"] and values["registry"]:
        problems.append("--routes and --registry exclude each other: a table has one source")
    if values["token_file"] and not values["registry"]:
        problems.append("--token-file is for --registry, which is not given")
    if values["routing_key"] and not values["sandbox"]:
        problems.append("--routing-key is for --sandbox, which is not given")
    if values["forwarded"] and not values["inbound"] and not values["transparent"] and not bad & ways_in:
        problems.append("--forwarded is for requests to the application: give --inbound or --transparent")
    if values["inbound_tls"] and not values["inbound"] and "inbound" not in bad:
        problems.append("--inbound-tls is for --inbound listeners, of which there is none")
    problems += _distrust(values, bad)
    if values["peer_keys"] and not values["outbound"] and "outbound" not in bad:
        problems.append("--peer-keys is for calls of processes of this machine: give --outbound")
    listens = [listen for listen, _ in (*values["inbound"], *values["outbound"])]
    listens += values["gateway"]
    listens += [values["admin"]] if values["admin"] else []
    fixed = [str(listen) for listen in listens if listen.port]
    problems += [
        f"{address} is given to more than one listener" for address in sorted({a for a in fixed if fixed.count(a) > 1})
    ]
    for listen, app in values["inbound"]:
        if listen.port == app.port and app.host in (listen.host, _LOOPBACK.get(listen.host)):
            problems.append(f"--inbound {listen}={app}: the application cannot be the listener itself")
    return problems + _unheard(values)


def _distrust(values: Mapping[str, Any], bad: set[str]) -> list[str]:
    """What speaks against TLS to the application."""
    if values["app_tls"] is None:
        return []
    if not values["inbound_tls"]:
        given = "inbound_tls" in bad
        return [] if given else ["--app-tls is for --inbound-tls, without which TLS passes unread to the application"]
    if values["app_tls"].ca is not None:
        return []
    return [
        f"--app-tls needs CA: {app} is not on this machine, where nobody else could answer in its place"
        for _, app in values["inbound"]
        if not _is_here(app)
    ]


_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""A listener on all addresses listens there, too."""


def _unheard(values: Mapping[str, Any]) -> list[str]:
    """What is said about ports that nothing arrives at."""
    problems = []
    if values["transparent"]:
        inbound, outbound = redirected(values)
        if inbound == outbound:
            problems.append(f"--transparent-inbound and --transparent-outbound are both {inbound}")
        if sys.platform != "linux":
            problems.append("--transparent needs Linux, which tells where a connection was redirected from")
        return problems
    problems += [
        f"--transparent-{side} is for --transparent, which is not given"
        for side in ("inbound", "outbound")
        if values[f"transparent_{side}"]
    ]
    listeners = (*values["inbound"], *values["outbound"])
    for port in values["opaque"]:
        targets = [target for listen, target in listeners if listen.port == port]
        if not targets:
            problems.append(f"--opaque {port}: no --inbound or --outbound listener has this port")
        elif None in targets:
            problems.append(f"--opaque {port}: a forward proxy has to read where a request wants to go")
    return problems


def redirected(values: Mapping[str, Any]) -> tuple[int, int]:
    """The ports of the two directions."""
    return values["transparent_inbound"] or INBOUND_PORT, values["transparent_outbound"] or OUTBOUND_PORT


def _is_here(app: Endpoint) -> bool:
    """Only this machine can answer at that address."""
    try:
        return ipaddress.ip_address(app.host).is_loopback
    except ValueError:
        return app.host == "localhost"

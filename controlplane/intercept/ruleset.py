"""The rules that redirect connections to the sidecar, as nftables reads them. Pure: options in, text out.

One table of our own, `inet skycap`, holds everything, so that installing again replaces it, removing it leaves
nothing, and no other program's rules are touched. The text is one transaction: it begins by declaring the table, so
that there is one to delete, deletes it, and declares it anew; `nft -f` does all of that or nothing.

Who must not be redirected, and why:

- loopback, both ways: the application's own business, and how the sidecar reaches the application
- inbound, what is not addressed to this machine: a router's traffic is not the application's
- outbound, the sidecar's user and group: its calls would come back to it for ever
- link-local addresses of IPv6: they mean something else on every interface
- connections that were open before: only the packet that opens one (SYN alone) is looked at, so that installing cuts
  nothing
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.contract.interception import INBOUND_PORT, OUTBOUND_PORT, SIDECAR_ID

TABLE = "inet skycap"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Ports = tuple[tuple[int, int], ...]
"""Ranges, both ends included."""


@dataclass(frozen=True, slots=True)
class Interception:
    """
    inbound_port, outbound_port: where the sidecar serves what is redirected.
    proxy_uid, proxy_gid:        whose calls are not redirected.
    admin_port:                  the sidecar's own pages, which stay reachable; 0 for none.
    include_inbound_ports:       of the application, whose connections are redirected; none means all.
    exclude_inbound_ports, exclude_outbound_ports: whose connections are not.
    exclude_outbound_cidrs:      networks that are called directly.
    direct_ports:                of this machine, each with the application's port that connections to it go to, past
                                 the sidecar: for a probe that only connects, which the sidecar would always accept.
    """

    inbound_port: int = INBOUND_PORT
    outbound_port: int = OUTBOUND_PORT
    proxy_uid: int = SIDECAR_ID
    proxy_gid: int = SIDECAR_ID
    admin_port: int = 0
    include_inbound_ports: Ports = ()
    exclude_inbound_ports: Ports = ()
    exclude_outbound_ports: Ports = ()
    exclude_outbound_cidrs: tuple[Network, ...] = ()
    direct_ports: tuple[tuple[int, int], ...] = ()


def ruleset(options: Interception) -> str:
    """What `nft -f` is given to install the interception."""
    inbound = [
        'iifname "lo" return',
        "fib daddr type != local return",
        "ip6 daddr fe80::/10 return",
        *(f"tcp dport {port} redirect to :{application}" for port, application in options.direct_ports),
        *_ports("!= ", options.include_inbound_ports),
        *_ports("", (*((port, port) for port in (options.admin_port,) if port), *options.exclude_inbound_ports)),
        _redirect(options.inbound_port),
    ]
    outbound = [
        f"meta skuid {options.proxy_uid} return",
        f"meta skgid {options.proxy_gid} return",
        'oifname "lo" return',
        "fib daddr type local return",
        "ip6 daddr fe80::/10 return",
        *_ports("", options.exclude_outbound_ports),
        *_networks(options.exclude_outbound_cidrs),
        _redirect(options.outbound_port),
    ]
    lines = [
        f"table {TABLE}",
        f"delete table {TABLE}",
        f"table {TABLE} {{",
        *_chain("inbound", "type nat hook prerouting priority dstnat; policy accept;", inbound),
        "",
        *_chain("outbound", "type nat hook output priority -100; policy accept;", outbound),
        "}",
    ]
    return "\n".join(lines) + "\n"


REMOVAL = f"table {TABLE}\ndelete table {TABLE}\n"
"""What `nft -f` is given to remove it, whether it is there or not."""


def _chain(name: str, hook: str, rules: Sequence[str]) -> list[str]:
    return [f"\tchain {name} {{", *(f"\t\t{line}" for line in (hook, *rules)), "\t}"]


def _redirect(port: int) -> str:
    return f"tcp flags & (fin | syn | rst | ack) == syn counter redirect to :{port}"


def _ports(operator: str, ranges: Ports) -> list[str]:
    merged = _merged(ranges)
    if not merged:
        return []
    listed = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in merged)
    return [f"tcp dport {operator}{{ {listed} }} return"]


def _merged(ranges: Ports) -> list[tuple[int, int]]:
    """In order and apart: nftables takes no overlap within a set."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _networks(networks: Sequence[Network]) -> list[str]:
    v4 = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    v6 = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    found = (
        ("ip", [str(network) for network in ipaddress.collapse_addresses(v4)]),
        ("ip6", [str(network) for network in ipaddress.collapse_addresses(v6)]),
    )
    return [f"{family} daddr {{ {', '.join(listed)} }} return" for family, listed in found if listed]

"""Who may ask: a page in somebody's browser must not reach into the sidecar of their own machine.

- A page of another origin can send a simple POST, and every browser says so with `origin`; it cannot add a
  header of its own without asking first, which is never answered. So a drain wants such a header and no origin.
- A page whose host name is pointed at 127.0.0.1 after it was loaded (DNS rebinding) counts as the same origin.
  But its requests name that host. So over loopback only addresses and local names are answered.
- Only this machine, which in a pod is the pod, may drain at all.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

DRAIN_HEADER = "skycap-drain"

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(?::[0-9]*)?")


def is_loopback(peer: str) -> bool:
    """The address of a peer, as the socket says it, is of this machine."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def names_this_machine(host: str) -> bool:
    """A `host` header that no public DNS name can produce: an address, `localhost`, a name without a dot."""
    found = _HOST.fullmatch(host)
    if not found:
        return False
    name = found[1].strip("[]").rstrip(".").lower()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(".localhost")
    return True


def refuse_reading(peer: str, host: str | None) -> str:
    """Why a page must not be shown, or empty."""
    if host is not None and is_loopback(peer) and not names_this_machine(host):
        return f"the host {host[:100]!r} is not a name of this machine"
    return ""


def refuse_drain(peer: str, header: Callable[[str], str | None]) -> str:
    """Why a drain must not be started, or empty. header: the value of a field by its name in lower case, or None."""
    if not is_loopback(peer):
        return "only this machine may start a drain"
    if header("origin") is not None or header("sec-fetch-site") is not None:
        return "a web page may not start a drain"
    if header(DRAIN_HEADER) is None:
        return f"the header {DRAIN_HEADER} is missing"
    return ""

"""Which hops are of the tester's requests: none of our own replays, and nothing that a browser asks for by itself.

A browser that opens a page asks for an icon of the site and the like without being told to, and an application that has
none answers 404. That says nothing about a change. Who asks for the same on purpose, from a test, is no browser: every
browser's `user-agent` begins with `Mozilla/`, and a request that has failed was kept with its fields.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.asking.replay import is_replay
from proxy.contract.hops import Hop

BY_ITSELF = (
    "/favicon.ico",
    "/apple-touch-icon",
    "/robots.txt",
    "/.well-known/appspecific/",
    "/.well-known/change-password",
    "/.well-known/traffic-advice",
)
"""Begin the paths for which browsers ask that were told of no such thing: icons (HTML, section 4.6.7.8), their
development tools, their password managers (W3C, A Well-Known URL for Changing Passwords), their prefetching."""

_BROWSER = "Mozilla/"


def of_the_tester(hops: Sequence[Hop]) -> list[Hop]:
    """What a request led to goes with it, also in another trace."""
    others = {hop.id for hop in hops if is_replay(hop.trace) or _by_itself(hop)}
    if not others:
        return list(hops)
    while more := {hop.id for hop in hops if hop.parent in others} - others:
        others |= more
    return [hop for hop in hops if hop.id not in others]


def _by_itself(hop: Hop) -> bool:
    """Only of one that has failed it is known who asked, and only such a one says something wrong about a change."""
    if hop.parent or not hop.failed or hop.request is None or not hop.path.startswith(BY_ITSELF):
        return False
    return any(name.lower() == "user-agent" and value.startswith(_BROWSER) for name, value in hop.request.headers)

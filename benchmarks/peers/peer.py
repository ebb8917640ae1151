"""What every peer is asked to be: a proxy with some hops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.template import Values
from benchmarks.traffic import FORKED, KEY_PREFIX


@dataclass(frozen=True, slots=True)
class Hop:
    """One listener, all addresses being ports of 127.0.0.1.

    target:  where requests go: the application of an inbound listener, the next service of an outbound one.
    shadow:  where requests with a forked key go; 0 where nothing is forked.
    inbound: which side it is to Skycap; to the others a listener is a listener.
    """

    listen: int
    target: int
    shadow: int = 0
    inbound: bool = True


@dataclass(frozen=True, slots=True)
class Site:
    """What one process of a peer is to do.

    folder:   for its configuration and log, of its own.
    admin:    a free port for its own administration listener.
    workload: whom it stands beside.
    keys:     the keys that have a fork of it; peers other than Skycap look for their common prefix only.
    http2:    what both sides speak, with prior knowledge; HTTP/1.1 otherwise. Skycap sees by itself what comes.
    """

    folder: Path
    hops: Sequence[Hop]
    admin: int
    workload: str = "shop/users"
    keys: tuple[str, ...] = FORKED
    http2: bool = False

    def values(self) -> Values:
        """The common values of a configuration template."""
        return {"FOLDER": self.folder, "ADMIN": self.admin, "PREFIX": KEY_PREFIX}

    def sections(self) -> Mapping[str, Sequence[Values]]:
        """Sections of a configuration template: `routed` hops, `plain` ones, and the addresses that they lead to."""
        routed: list[Values] = []
        plain: list[Values] = []
        clusters: list[Values] = []
        for number, hop in enumerate(self.hops):
            values = {"NUMBER": number, "LISTEN": hop.listen, "TARGET": hop.target, "SHADOW": hop.shadow}
            if hop.shadow:
                routed.append(values)
                clusters.append({"NAME": f"baseline_{number}", "TARGET": hop.target})
                clusters.append({"NAME": f"shadow_{number}", "TARGET": hop.shadow})
            else:
                plain.append(values)
                clusters.append({"NAME": f"next_{number}", "TARGET": hop.target})
        return {"routed": routed, "plain": plain, "cluster": clusters}


class Peer(Protocol):
    """A kind of proxy.

    name:    the row in the tables.
    program: what must be installed; empty when our own interpreter is enough.
    http2:   whether it speaks that, on both sides.
    """

    @property
    def name(self) -> str: ...

    @property
    def program(self) -> str: ...

    @property
    def http2(self) -> bool: ...

    def command(self, site: Site, program: Path) -> list[str]:
        """Write the configuration of `site` and return what starts the proxy in the foreground."""
        ...

    def ready_path(self) -> str:
        """Asked on the admin port before the hops are tried; empty when the hops are all there is to ask."""
        ...

    def version(self, program: Path) -> str:
        """For the results."""
        ...

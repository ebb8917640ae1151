"""Who may answer a key, and which failures are our own doing.

A request is excused when somebody who had to answer it was killed while it was on its way, and only for failures that
say so: an error answer of the sidecar or a connection that was cut. An answer from the wrong server or with the wrong
body is never excused, nor is one that did not come in time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.faults.subject import WORKLOAD

APPLICATION, SHADOW_A, SHADOW_B = "application", "shadow-a", "shadow-b"
SERVERS = (APPLICATION, SHADOW_A, SHADOW_B)

_BASELINE = f"{WORKLOAD};baseline"
_UNKNOWN = f"{_BASELINE};key=unknown"
"""The baseline answers a key that no sandbox has at that moment."""
_SANDBOX = re.compile(rf"{re.escape(WORKLOAD)};sandbox=([a-z0-9-]+);rev=([0-9]+)")


class Wrong(Exception):  # noqa: N818 (a finding)
    """An answer that must not be: from the wrong server, or not what was asked for."""


class Failed(Exception):  # noqa: N818 (a finding, unless it is excused)
    """No answer of a server: the sidecar says why, in a code and, where it came along, in words."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.detail = detail


@dataclass(frozen=True)
class Key:
    """A routing key, "" for none, and who may answer it."""

    name: str
    servers: tuple[str, ...]

    @property
    def headers(self) -> dict[str, str]:
        return {"baggage": f"tenant=t,routing-key={self.name}"} if self.name else {}

    @property
    def lines(self) -> list[bytes]:
        return [f"{name}: {value}".encode() for name, value in self.headers.items()]

    def check(self, server: str, served_by: str) -> None:
        """Whether `server` may have answered, and the sidecar tells the truth about it. Raises Wrong."""
        if server not in self.servers:
            raise Wrong(f"key {self.name!r} was answered by {server!r}")
        sandbox = _SANDBOX.fullmatch(served_by)
        said = placed(int(sandbox[2])) if sandbox else APPLICATION
        truthful = (
            served_by in ((_BASELINE, _UNKNOWN) if self.name else ("",)) if sandbox is None else sandbox[1] == self.name
        )
        if said != server or not truthful:
            raise Wrong(f"key {self.name!r} was answered by {server!r}, and `skycap-served-by` says {served_by!r}")


def placed(revision: int) -> str:
    """Where a sandbox of ours is in a revision: they move to and fro."""
    return SHADOW_A if revision % 2 else SHADOW_B


STABLE = "stable"
MOVING = ("moving-0", "moving-1", "moving-2")

KEYS = (
    Key("", (APPLICATION,)),
    Key("nobody", (APPLICATION,)),
    Key(STABLE, (SHADOW_A,)),
    *(Key(name, SERVERS) for name in MOVING),
)


ENDED = "sandbox-ended"
"""What a sidecar refuses a deleted sandbox's key with: the baseline would be a silent stand-in."""


class Outages:
    """Which server was killed when."""

    def __init__(self) -> None:
        self.kills: Counter[str] = Counter()
        self._down: set[str] = set()

    def killed(self, server: str) -> None:
        self.kills[server] += 1
        self._down.add(server)

    def back(self, server: str) -> None:
        self._down.discard(server)

    def now(self) -> dict[str, int]:
        """What `since` compares with."""
        return {name: -1 if name in self._down else self.kills[name] for name in SERVERS}

    def since(self, before: Mapping[str, int], servers: Iterable[str]) -> bool:
        """Whether one of the servers has been away at any time since `before`."""
        return any(before[name] < 0 or self.kills[name] != before[name] for name in servers)


class Tally:
    """What became of everything, by kind of traffic. problems: the first of those that are not excused."""

    LISTED = 40

    def __init__(self) -> None:
        self.good: Counter[str] = Counter()
        self.excused: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        """Because the sandbox of the key had ended."""
        self.wrong = 0
        self.lost = 0
        self.unrepeated = 0
        """Uploads on a kept connection that the other end closed at the same moment. A request that is not
        idempotent must not be sent again (RFC 9110 section 9.2.2), so its client is told."""
        self.problems: list[str] = []

    @property
    def listing(self) -> bool:
        """More problems are listed."""
        return len(self.problems) < self.LISTED

    def note(self, kind: str, key: Key, error: BaseException, known: str = "") -> None:
        """known: what is known of it besides."""
        if isinstance(error, Wrong):
            self.wrong += 1
        else:
            self.lost += 1
        if self.listing:
            detail = getattr(error, "detail", "")
            lines = [f"{kind}, key {key.name!r}: {error!r}", *([detail] if detail else []), *([known] if known else [])]
            self.problems.append("\n          ".join(lines))

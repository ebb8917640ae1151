"""`skycap-served-by`: who answered, from the entry inwards.

A list of structured fields (RFC 9651 section 3.1): one item per hop, a token or a string with the workload, whose
parameters say which copy of it answered:

    shop/frontend;baseline, shop/users;sandbox=agent-42;rev=3, shop/payments;baseline

Several field lines are one list (RFC 9651 section 3.1). Of a malformed field nothing is used (section 4.2): half a
list would hide a hop.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import http_sf

FIELD = "skycap-served-by"

_TRUNCATED = "truncated"
"""The item that stands for those that did not fit."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One workload that took part in the answer.

    sandbox:  whose shadow answered; "" for the baseline.
    revision: of that shadow, None where the sidecar does not say.
    reason:   why the baseline answered although the key might have led elsewhere, for example `unsynced`;
              else "".
    error:    the `skycap-error` that the sidecar answered itself, because no copy did; else "".
    key:      what is the matter with the key, `unknown` or `invalid`; else "".
    conflict: another key that the request named as well, and that lost; else "".
    lost:     a call that the application made meanwhile may have lost the key.
    status:   of its answer where that is 400 or above, else 0.
    stub:     the rule of the key's own that answered, failed or delayed it; "" for none.
    stubbed:  no copy answered, the stub did.
    """

    workload: str
    sandbox: str = ""
    revision: int | None = None
    reason: str = ""
    error: str = ""
    key: str = ""
    conflict: str = ""
    lost: bool = False
    status: int = 0
    stub: str = ""
    stubbed: bool = False

    def __str__(self) -> str:
        """`baseline`, `sandbox agent-42, revision 3`, or `nobody (shadow-unreachable)`."""
        if self.error:
            return f"nobody ({self.error})"
        who = f"sandbox {self.sandbox}" if self.sandbox else f"stub {self.stub}" if self.stubbed else "baseline"
        revision = f", revision {self.revision}" if self.revision is not None else ""
        notes = [self.reason, f"key {self.key}" if self.key else "", "may have lost the key" if self.lost else ""]
        notes += [
            f"stub {self.stub}" if self.stub and not self.stubbed else "",
            f"{self.status}" if self.status else "",
        ]
        noted = ", ".join(filter(None, notes))
        return f"{who}{revision}" + (f" ({noted})" if noted else "")

    def document(self) -> dict[str, object]:
        """The stable JSON shape."""
        return {
            "workload": self.workload,
            "sandbox": self.sandbox,
            "revision": self.revision,
            "reason": self.reason,
            "error": self.error,
            "key": self.key,
            "conflict": self.conflict,
            "lost": self.lost,
            "status": self.status,
            "stub": self.stub,
        }


def parse_served_by(lines: Iterable[str]) -> tuple[list[Hop], bool]:
    """The hops that the field lines name, in their order, and whether there were more than fitted into the field.

    Raises ValueError when the field is malformed. Parameters that are not known here are skipped: a newer sidecar may
    say more.
    """
    items = http_sf.parse(", ".join(lines).encode(), tltype="list")
    if not isinstance(items, list):
        return [], False
    more = [item for item in items if item == (http_sf.Token(_TRUNCATED), {}) or item == http_sf.Token(_TRUNCATED)]
    return [_hop(item) for item in items if item not in more], bool(more)


def _hop(item: object) -> Hop:
    workload, parameters = item if isinstance(item, tuple) else (item, {})
    revision = parameters.get("rev")
    # A boolean is an integer to Python, and is none in a structured field.
    if revision is not None and type(revision) is not int:
        raise ValueError(f"rev={revision} is no number")
    name, sandbox = _text(workload), _text(parameters.get("sandbox", ""))
    error = _text(parameters.get("error", ""))
    baseline, stub = parameters.get("baseline") is True, _text(parameters.get("stub", ""))
    status = parameters.get("status", 0)
    if not (sandbox or error or baseline or stub):
        raise ValueError(f"{name} does not say which copy answered")
    return Hop(
        name,
        sandbox,
        revision,
        _text(parameters.get("reason", "")),
        error,
        _text(parameters.get("key", "")),
        _text(parameters.get("conflict", "")),
        parameters.get("lost") not in (None, 0, False),
        status if type(status) is int else 0,
        stub,
        bool(stub) and not (sandbox or error or baseline),
    )


def _text(value: object) -> str:
    if not isinstance(value, http_sf.Token | str):
        raise ValueError(f"{value} is neither a token nor a string")
    return str(value)

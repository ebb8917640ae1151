"""`skycap-served-by`: who served a keyed request, from the entry inwards.

A structured-field list (RFC 9651 section 3.1) with one item per workload:

    shop/frontend;baseline, shop/users;sandbox=agent-42;rev=3, shop/payments;baseline

An item's value is the workload, its parameters say which copy answered. `reason` stands where the baseline
answered although the request carried a key that might have led elsewhere, `error` where the sidecar itself did.
`key` says what is the matter with the key: `unknown` when no sandbox has it, `invalid` when it cannot be read.
"""

from __future__ import annotations

import re

NAME = b"skycap-served-by"

UNKNOWN_KEY = "unknown"
INVALID_KEY = "invalid"

_TOKEN = re.compile(r"[A-Za-z*][A-Za-z0-9:/!#$%&'*+\-.^_`|~]*+")
_FIRST_ITEM = re.compile(rb"[ \t]*+(?:\"([^\"]*+)\"|([^\";, \t]++))([^,]*+)")


def baseline_item(workload: str, reason: str = "", key: str = "") -> bytes:
    """The baseline answered. reason: a token, `shadow-unreachable`, `unsynced`, ...; key: UNKNOWN_KEY, INVALID_KEY."""
    suffix = "".join(f";{name}={value}" for name, value in (("reason", reason), ("key", key)) if value)
    return f"{_bare_item(workload)};baseline{suffix}".encode()


def sandbox_item(workload: str, sandbox: str, revision: int) -> bytes:
    """The sandbox's shadow answered."""
    return f"{_bare_item(workload)};sandbox={_bare_item(sandbox)};rev={revision}".encode()


def error_item(workload: str, code: str) -> bytes:
    """Nobody answered: the sidecar of this workload did, with an error of its own."""
    return f"{_bare_item(workload)};error={code}".encode()


def names_shadow(value: bytes, workload: str) -> bool:
    """True when the list begins with an item in which a shadow of `workload` speaks for itself."""
    match = _FIRST_ITEM.match(value)
    return match is not None and (match[1] or match[2]) == workload.encode() and b";sandbox=" in match[3]


def _bare_item(text: str) -> str:
    """A token where the text is one (RFC 9651 section 3.3.4), a string otherwise: `42` would be an integer."""
    return text if _TOKEN.fullmatch(text) else f'"{text}"'

"""`skycap-served-by`: who served a keyed request, from the entry inwards.

A structured-field list (RFC 9651 section 3.1) with one item per workload:

    shop/frontend;baseline, shop/users;sandbox=agent-42;rev=3, shop/payments;baseline

An item's value is the workload, its parameters say which copy answered:

    baseline        the shared one            sandbox, rev    a shadow
    reason=TOKEN    why the baseline answered although the request carried a key that might have led elsewhere
    error=CODE      nobody did: the sidecar itself
    key=TOKEN       what is the matter with the key: `unknown` when no sandbox has it, `invalid` when it cannot be read
    conflict=KEY    the request named this key as well, which lost
    status=N        of an answer that is 400 or above
    stub=NAME       a rule of the key's own has answered, failed or delayed it
    lost=1          a call that the application made meanwhile may have lost the key

An item `truncated` at the end says that there were more than fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

NAME: Final = b"skycap-served-by"

UNKNOWN_KEY: Final = "unknown"
INVALID_KEY: Final = "invalid"

MAX_BYTES: Final = 4096
"""Of the whole value: half of what common servers take for a head, and more calls than a person reads."""

OWN_BYTES: Final = 512
"""Of it for the sidecar's own item: a workload of 127 characters, a sandbox and a key of 63, and parameters."""

TRUNCATED: Final = b"truncated"

_TOKEN: Final = re.compile(r"[A-Za-z*][A-Za-z0-9:/!#$%&'*+\-.^_`|~]*+")

_COPY: Final = re.compile(rb";[ ]*+(?:sandbox|rev|baseline|error)(?![a-z0-9_\-.*])")
"""Parameters that say which copy answered; the last one of a name would be in force (RFC 9651 section 3.1.2)."""

_BARE: Final = rb"(?:[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*+|\"(?>(?:[ !#-\[\]-~]|\\[\"\\])*)\"|-?[0-9]{1,15}+)"
_ITEM: Final = re.compile(
    rb"[ \t]*+(%b(?>(?:;[ ]*+[a-z*][a-z0-9_\-.*]*+(?>(?:=%b)?))*))[ \t]*+(?:,|\Z)" % (_BARE, _BARE)
)


def baseline_item(workload: str, reason: str = "", key: str = "") -> bytes:
    """The baseline answered. reason: a token, `shadow-unreachable`, `unsynced`, ...; key: UNKNOWN_KEY, INVALID_KEY."""
    suffix = "".join(f";{name}={value}" for name, value in (("reason", reason), ("key", key)) if value)
    return f"{_bare_item(workload)};baseline{suffix}".encode()


def sandbox_item(workload: str, sandbox: str, revision: int, key: str = "") -> bytes:
    """The sandbox's shadow answered; key: as above."""
    suffix = f";key={key}" if key else ""
    return f"{_bare_item(workload)};sandbox={_bare_item(sandbox)};rev={revision}{suffix}".encode()


def error_item(workload: str, code: str) -> bytes:
    """Nobody answered: the sidecar of this workload did, with an error of its own."""
    return f"{_bare_item(workload)};error={code}".encode()


def stub_item(who: str, name: str, code: str = "") -> bytes:
    """A rule of the key's own stands for a workload, or for a host. code: of the error that it made, "" for none."""
    return f"{_bare_item(who)}{f';error={code}' if code else ''}".encode() + stub(name)


def stub(name: str) -> bytes:
    """The parameter that names the rule which had to do with an answer."""
    return f";stub={_bare_item(name)}".encode()


def status(code: int) -> bytes:
    """The parameter of an answer that is no good one."""
    return b";status=%d" % code


def items(value: bytes) -> Iterator[tuple[str, bytes]]:
    """The items of a list, each with the workload that it is about, as far as it is a list."""
    start = 0
    while start < len(value):
        match = _ITEM.match(value, start)
        if match is None:
            return
        start = match.end()
        bare = match[1].partition(b";")[0].decode("latin-1")
        yield bare.strip('"'), match[1]


LOST_KEY: Final = b";lost=1"


def conflict(key: str) -> bytes:
    """The parameter that names the key which lost."""
    return f";conflict={_bare_item(key)}".encode()


class Served:
    """Who served the calls of a request: the items of their answers, each once, in the order in which they came."""

    __slots__ = ("_items", "_room", "truncated")

    def __init__(self, room: int = MAX_BYTES - OWN_BYTES - len(TRUNCATED) - 2) -> None:
        self._items: dict[bytes, None] = {}
        self._room = room
        self.truncated = False

    def __repr__(self) -> str:
        return f"<Served {self.value.decode('latin-1')}>"

    def add(self, value: bytes) -> None:
        """Add the value of an answer's `skycap-served-by`, as far as it is a list. What does not fit is left out."""
        start = 0
        while start < len(value):
            match = _ITEM.match(value, start)
            if match is None:
                return
            start = match.end()
            item = match[1]
            if item in self._items:
                continue
            size = len(item) + 2
            if item == TRUNCATED or size > self._room:
                self.truncated = True
                return
            self._room -= size
            self._items[item] = None

    @property
    def value(self) -> bytes:
        """The list, b"" when there is nothing in it."""
        return b", ".join([*self._items, TRUNCATED] if self.truncated else self._items)


def speaks_for(value: bytes, item: bytes, workload: str) -> bool:
    """True when a list begins with what stands for the shadow that was dialled: our own `item` of it, with whatever its
    sidecar has to add, or an error of that sidecar."""
    match = _ITEM.match(value)
    if match is None:
        return False
    first = match[1]
    if first.startswith(f"{_bare_item(workload)};error=".encode()):
        return True
    further = first.removeprefix(item)
    return first.startswith(item) and further[:1] in (b"", b";") and _COPY.search(further) is None


def _bare_item(text: str) -> str:
    """A token where the text is one (RFC 9651 section 3.3.4), a string otherwise: `42` would be an integer."""
    return text if _TOKEN.fullmatch(text) else f'"{text}"'

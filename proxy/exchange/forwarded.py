"""The client's address for an application that needs it: `x-forwarded-for` and `forwarded`, where `--forwarded` asks.

Without a sidecar the application sees its client's address on the connection; behind one, it sees the sidecar's. Most
applications do not care, and those that take the address from a field believe whatever stands there. So nothing is
added unless the sidecar is told to.

Both fields are lists, and the address is appended to what the client has sent (RFC 7239 section 4): which entries can
be trusted is for the application to know. If the client has sent one field only, the other begins with the same
addresses (section 7.4), since an application that reads it would take the last hop for the first one.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.exchange.passage import Passage

X_FORWARDED_FOR: Final = b"x-forwarded-for"
FORWARDED: Final = b"forwarded"

_FIELDS: Final = frozenset({X_FORWARDED_FOR, FORWARDED})

_PLAIN_NODE: Final = re.compile(rb"[0-9A-Za-z._-]+")
_FOR: Final = re.compile(rb"(?:^|[;,])[ \t]*+for=(?:\"([^\"\\]*+)\"|([^;,\" \t]++))", re.IGNORECASE)


def append_peer(passage: Passage, peer: bytes) -> None:
    """Add the address of the client's end of the connection to both lists. peer: as text, without a port."""
    head = passage.head
    sent = head.values(X_FORWARDED_FOR), head.values(FORWARDED)
    addresses, forwarded = (b", ".join(filter(None, values)) for values in sent)  # one list: RFC 9110 section 5.3
    if forwarded and not addresses:
        addresses = b", ".join(_address(quoted or token) for quoted, token in _FOR.findall(forwarded))
    elif addresses and not forwarded:
        forwarded = b", ".join(_node(address) for part in addresses.split(b",") if (address := part.strip(b" \t")))
    passage.fields = (
        *passage.fields,
        (X_FORWARDED_FOR, b"%b, %b" % (addresses, peer) if addresses else peer),
        (FORWARDED, b"%b, %b" % (forwarded, _node(peer)) if forwarded else _node(peer)),
    )
    if any(sent):
        passage.drop |= _FIELDS


def _node(address: bytes) -> bytes:
    """RFC 7239 section 6: an address of IPv6 stands in brackets, and what is no token in quotation marks."""
    if _PLAIN_NODE.fullmatch(address):
        return b"for=" + address
    bracketed = b"[%b]" % address if address.count(b":") > 1 and not address.startswith(b"[") else address
    return b'for="%b"' % bracketed.replace(b"\\", b"").replace(b'"', b"")


def _address(node: bytes) -> bytes:
    """Without the brackets and the port of a node."""
    if node.startswith(b"["):
        return node[1:].partition(b"]")[0]
    return node.partition(b":")[0]

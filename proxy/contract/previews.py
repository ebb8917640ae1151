"""Preview links: what a gateway needs to know to turn a link into a sandbox's routing key.

They travel in the route watch (`proxy.contract.watch`), to whoever says `previews=true`:

    event: previews     data: {"put": [LINK, ...], "remove": [HASH, ...]}

All of them come with every connection before its `synced`, which then says `"previews": true`; after it come the
changes. Like `keys` they are no routes: their ids repeat the last one, and nobody acknowledges them.

    LINK: {"hash": ..., "preview": "web", "workload": "shop/frontend", "target": "127.0.0.1:18080",
           "sandbox": "agent-42", "key": "agent-42", "revision": 3, "expires": 1798761600.0, "login": HASH}

A link is known by a token, TOKEN_CHARACTERS of base 32 in lower case: it is a part of a host's name, where case does
not count. Nobody keeps it: what travels and is stored is its hash, and so it is with the second secret that a link with
`login` asks for. Both are 128 random bits, so that a plain SHA-256 is as good as a slow one.

Two forms lead to the same: the host `TOKEN--PREVIEW.DOMAIN`, and the path `/~skycap/TOKEN` of the gateway itself, which
sets a cookie. Paths below `/~skycap/` are the gateway's own in both.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.contract.names import ROUTING_KEY, SANDBOX, WORKLOAD
from proxy.contract.routes import Endpoint, parse_shadow
from proxy.errors import ContractError

PREVIEWS = "previews"
"""The event, the parameter that asks for it, and the word in `synced` that says that all were told."""

LINKS_IN_EVENT = 500
"""At most, in one event: 200 KB."""

MAX_LINKS = 100_000
"""That one gateway keeps: 50 MB."""

TOKEN_CHARACTERS = 26
TOKEN = re.compile(rf"[a-z2-7]{{{TOKEN_CHARACTERS}}}")
HASH = re.compile(r"[0-9a-f]{64}")

MAX_NAME = 63 - TOKEN_CHARACTERS - 2
"""Characters of a preview's name: with the token and two dashes it is one label of a host (RFC 1035 section 2.3.4)."""

OWN_PATH = "/~skycap/"
"""Where the gateway's own pages are, on every host that it serves."""

GATEWAY = "skycap/gateway"
"""What stands as the workload of a gateway, which has none."""

TOKEN_FIELD = "skycap-preview"  # noqa: S105 (the name of a field)
"""By which a gateway tells the registry whose hand-off page is asked for. From outside it is stripped."""


def new_token() -> str:
    """128 bits that nobody guesses."""
    return b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Link:
    """
    hash:     of its token.
    preview:  its name, which is a part of the host's.
    workload, target: where requests enter, and the address at which that is reached.
    sandbox, key, revision: what they are for.
    expires:  seconds since 1970.
    login:    hash of the second secret, "" when none is asked for.
    """

    hash: str
    preview: str
    workload: str
    target: Endpoint
    sandbox: str
    key: str
    revision: int
    expires: float
    login: str = ""


def encode_link(link: Link) -> dict[str, Any]:
    document: dict[str, Any] = {
        "hash": link.hash,
        "preview": link.preview,
        "workload": link.workload,
        "target": str(link.target),
        "sandbox": link.sandbox,
        "key": link.key,
        "revision": link.revision,
        "expires": link.expires,
    }
    return document | ({"login": link.login} if link.login else {})


def decode_link(document: object) -> Link:
    """A link as a registry tells it, which may be newer: unknown fields are ignored. Raises ContractError."""
    if not isinstance(document, Mapping):
        raise ContractError([(PREVIEWS, "a link that is no object")])
    texts = {}
    for name, pattern in _TEXTS.items():
        value = document.get(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ContractError([(f"{PREVIEWS}.{name}", "is missing or does not fit")])
        texts[name] = value
    revision, expires, login = document.get("revision"), document.get("expires"), document.get("login", "")
    if not isinstance(revision, int) or not isinstance(expires, int | float):
        raise ContractError([(PREVIEWS, "a link without `revision` and `expires`")])
    if not isinstance(login, str) or (login and not HASH.fullmatch(login)):
        raise ContractError([(f"{PREVIEWS}.login", "is no hash")])  # without it everybody would be let in
    try:
        target = parse_shadow(texts.pop("target"))
    except ValueError as error:
        raise ContractError([(f"{PREVIEWS}.target", str(error))]) from None
    return Link(target=target, revision=revision, expires=float(expires), login=login, **texts)


_TEXTS = {
    "hash": HASH,
    "preview": re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{MAX_NAME - 2}}}[a-z0-9])?"),
    "workload": WORKLOAD,
    "target": re.compile(r".{1,300}"),
    "sandbox": SANDBOX,
    "key": ROUTING_KEY,
}

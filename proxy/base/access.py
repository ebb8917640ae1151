"""Where the tokens of this machine's registries lie, so that our own programs find them and nobody types one.

    ~/.local/state/skycap/tokens/127.0.0.1:7070/{user,viewer,sidecar}      (XDG Base Directory Specification)

The registry writes them when it begins to listen, for its owner only, and removes them at its end; they are new with
every start. So whoever runs as the registry's user reaches it without a word, and every other user gets 401.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from proxy.base.token import read_token

SIDECAR, VIEWER, USER = "sidecar", "viewer", "user"

_EVERYWHERE = ("0.0.0.0", "::")


def state_home(environ: Mapping[str, str]) -> Path:
    """Where state lives that nobody named a place for."""
    named = environ.get("XDG_STATE_HOME", "")
    base = Path(named) if named.startswith("/") else Path(environ.get("HOME") or "~").expanduser() / ".local/state"
    return base / "skycap"


def token_folder(host: str, port: int, environ: Mapping[str, str]) -> Path:
    """That of the registry which listens on this address, written as it is bound."""
    return state_home(environ) / "tokens" / (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def local_token(url: str, role: str, environ: Mapping[str, str]) -> str:
    """The token for the registry at `url` when that is one of ours on this machine, else ""."""
    try:
        split = urlsplit(url)
        host, port = split.hostname or "", split.port or (443 if split.scheme == "https" else 80)
    except ValueError:
        return ""
    for address in _addresses(host):
        try:
            return read_token(token_folder(address, port, environ) / role)
        except ValueError:
            continue
    return ""


def _addresses(host: str) -> tuple[str, ...]:
    """What a registry may have bound that answers at this name; none for another machine's."""
    if host.lower() == "localhost":
        return ("127.0.0.1", "::1", *_EVERYWHERE)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ()
    return (str(address), *_EVERYWHERE) if address.is_loopback else ()

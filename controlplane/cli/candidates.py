"""What a shell may complete that only the registry knows: names of sandboxes, routing keys, workloads.

Whoever presses Tab wants an answer now or none: a registry that does not answer at once completes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import click

from controlplane.cli.exchange import exchange
from controlplane.rest import DEFAULT_URL
from proxy.base.access import USER, local_token
from proxy.base.token import read_token

TAB_SECONDS = 1.0
"""As long as somebody who has pressed Tab waits without wondering."""


def sandbox_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Of sandboxes that begin so."""
    return _begun(incomplete, (item["metadata"]["name"] for item in _items(context, "sandboxes")))


def routing_keys(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Of sandboxes, which begin so."""
    found = (item["spec"].get("routingKey") or item["metadata"]["name"] for item in _items(context, "sandboxes"))
    return _begun(incomplete, found)


def workload_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Of services that begin so."""
    return _begun(incomplete, (item["workload"] for item in _items(context, "map", "services")))


def _begun(incomplete: str, found: Any) -> list[str]:
    with suppress(KeyError, TypeError, AttributeError):  # whatever answers there is no registry
        return sorted({name for name in found if isinstance(name, str) and name.startswith(incomplete)})
    return []


def _items(context: click.Context, path: str, field: str = "items") -> Any:
    """What the registry lists, that the words before name, or the environment; nothing when it does not answer."""
    url = _said(context, "registry", "SKYCAP_REGISTRY") or DEFAULT_URL
    headers = {"accept": "application/json"}
    token = _token(context, url)
    if token:
        headers["authorization"] = f"Bearer {token}"
    with suppress(OSError, HTTPException, ValueError, KeyError, TypeError):
        return json.loads(exchange("GET", f"{url.rstrip('/')}/v1/{path}", headers, None, TAB_SECONDS).body)[field]
    return ()


def _token(context: click.Context, url: str) -> str:
    with suppress(ValueError):
        file = _said(context, "token_file", "SKYCAP_TOKEN_FILE")
        return read_token(Path(file)) if file else local_token(url, USER, os.environ)
    return ""


def _said(context: click.Context, name: str, variable: str) -> str:
    """The value of an option, as far as the command line has come; options that others use are in `meta` alone."""
    given = context.params.get(name)
    url = getattr(given, "url", given)
    return str(url) if url else os.environ.get(variable, "")


Candidates = Callable[[click.Context, click.Parameter, str], list[str]]

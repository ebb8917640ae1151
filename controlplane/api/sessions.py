"""Signing in to the page: a token once, then a cookie that no script reads and no other site's page sends."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from aiohttp import web

from controlplane.api.access import Access, Role, Visitor

SESSION_SECONDS = 12 * 3600
"""A working day."""

CODE_SECONDS = 60
"""For a code of `skycap page` to be used, once."""

MAX_SESSIONS = 1000
"""The oldest ends for a new one."""


class _Entry(NamedTuple):
    visitor: Visitor
    ends: float


class Sessions:
    """Who is signed in. They end with the registry, as its own tokens do."""

    def __init__(self, access: Access, clock: Callable[[], float] = time.monotonic) -> None:
        self._access = access
        self._clock = clock
        self._sessions: dict[str, _Entry] = {}
        self._codes: dict[str, _Entry] = {}

    def __repr__(self) -> str:
        return f"<Sessions {len(self._sessions)}>"

    def invite(self, role: Role) -> str:
        """A code to sign in with, instead of the token."""
        return _put(self._codes, _Entry(Visitor(role), self._clock() + CODE_SECONDS))

    async def open(self, secret: str) -> tuple[str, Role] | None:
        """A session for a token or a code. None: it is neither, or that of a sidecar, which sees no page."""
        code = self._codes.pop(secret, None)
        known = code.visitor if code is not None and code.ends > self._clock() else None
        visitor = known or await self._access.visitor(secret)
        if visitor is None or visitor.role is Role.SIDECAR:
            return None
        return _put(self._sessions, _Entry(visitor, self._clock() + SESSION_SECONDS)), visitor.role

    def visitor(self, request: web.Request) -> Visitor | None:
        """Whose session a request names."""
        entry = self._sessions.get(request.cookies.get(cookie_name(request), ""))
        return entry.visitor if entry is not None and entry.ends > self._clock() else None

    def close(self, request: web.Request) -> None:
        self._sessions.pop(request.cookies.get(cookie_name(request), ""), None)


def cookie_name(request: web.Request) -> str:
    """Cookies are shared by all ports of a host, and registries are not."""
    return f"skycap-session-{request.url.port}"


def _put(entries: dict[str, _Entry], entry: _Entry) -> str:
    if len(entries) >= MAX_SESSIONS:
        del entries[next(iter(entries))]
    secret = secrets.token_urlsafe(32)
    entries[secret] = entry
    return secret

"""Who may do what: tokens, each with a role.

    sidecar   watch routes, and report what is in force
    viewer    read, without secrets: the values of environment variables are not shown
    user      everything, which includes starting processes

A sidecar is given a token of its own role, so that whoever takes over an application can read routes and start nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from aiohttp import web

from controlplane.api.refused import Refused
from proxy.base import access


class Role(Enum):
    SIDECAR = access.SIDECAR
    VIEWER = access.VIEWER
    USER = access.USER


ROLE = web.RequestKey("role", Role)
"""Whose token a request carries."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whose token it is. namespace: whose workloads it may ask for, "" for any."""

    role: Role
    namespace: str = ""


NAMESPACE = web.RequestKey("namespace", str)
"""Whose workloads the sender of a request may speak of, "" for any."""


def within(request: web.Request, workload: str) -> None:
    """A sidecar of one namespace speaks of no other's workloads. Raises Refused."""
    namespace = request[NAMESPACE]
    if namespace and workload.partition("/")[0] != namespace:
        raise Refused(403, "foreign-namespace", f"A sidecar in {namespace} may not speak of {workload}")


Reviewer = Callable[[str], Awaitable[Visitor | None]]
"""Somebody else who knows tokens; None: not this one."""


class Access:
    """
    tokens: at least that of the user. They differ from each other.
    review: asked about a token that is none of them.
    """

    def __init__(self, tokens: Mapping[Role, str], review: Reviewer | None = None) -> None:
        self._tokens = {role: token.encode() for role, token in tokens.items()}
        self._review = review

    def __repr__(self) -> str:
        return f"<Access {', '.join(role.value for role in self._tokens)}>"

    def role(self, given: bytes) -> Role | None:
        """Whose token it is. All are compared, each in constant time."""
        found = None
        for role, token in self._tokens.items():
            if hmac.compare_digest(given, token):
                found = role
        return found

    async def visitor(self, given: str) -> Visitor | None:
        """Whose token it is, whoever issued it."""
        role = self.role(given.encode("utf-8", "surrogateescape"))
        if role is not None:
            return Visitor(role)
        return await self._review(given) if self._review is not None and given.isascii() else None

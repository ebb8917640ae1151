"""Where no shadow may be, asked of every address at every dial: a name can lead anywhere, and move."""

from __future__ import annotations

import contextlib
import ipaddress

from proxy.contract.addresses import forms, why_no_shadow
from proxy.contract.routes import Endpoint
from proxy.net.addresses import is_local
from proxy.net.resolve import Resolver, UnresolvedError


class ShadowRules:
    """`Forbids` for the endpoints of routes.

    registry: the one that this sidecar uses, or None. Through it a request could start processes: on loopback it may
              ask for no token, and the sidecar is reached by others.
    """

    def __init__(self, resolver: Resolver, registry: Endpoint | None) -> None:
        self._resolver = resolver
        self._registry = registry

    def __repr__(self) -> str:
        return f"<ShadowRules registry={self._registry}>"

    async def __call__(self, address: str, port: int) -> str:
        numeric = ipaddress.ip_address(address.partition("%")[0])
        if why := why_no_shadow(numeric):
            return why
        if self._registry is not None and port == self._registry.port and await self._leads_to_registry(numeric):
            return "is the registry's address, where no shadow may be"
        return ""

    async def _leads_to_registry(self, numeric: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        assert self._registry is not None
        theirs: tuple[str, ...] = ()
        with contextlib.suppress(UnresolvedError):
            theirs = await self._resolver.resolve(self._registry.host)
        here = any(map(is_local, theirs))  # then it may listen on all addresses of this machine
        return any(form in theirs or (here and is_local(form)) for form in map(str, forms(numeric)))

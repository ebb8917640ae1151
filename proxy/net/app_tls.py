"""TLS to an application and to its shadows, and to a registry: what is offered to them, and whom we believe.

With a CA the chain of their certificate is verified, and the name in it where they are known by a name. An address is
known by its chain only: certificates of pods and of loopback seldom name one. Without a CA nothing is verified, which
is for an application on this machine, where the kernel says who listens. A registry is known by what this system
trusts, name or address included, as by the link that watches it (`proxy.feed.link`).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from pathlib import Path
from typing import Final

from proxy.base.problems import ConfigurationError
from proxy.contract.routes import Endpoint
from proxy.net.resolve import is_address

_log = logging.getLogger("skycap.tls")

HTTP1: Final = ("http/1.1",)
HTTP2: Final = ("h2",)
BOTH: Final = ("h2", "http/1.1")

_PLAIN: Final = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}
"""What OpenSSL calls bytes that are no TLS."""


class HandshakeError(OSError):
    """Why there is no TLS with the other end, as a phrase."""


class AppTls:
    """How applications are spoken to by TLS. Raises ConfigurationError when the CA cannot be used.

    ca:     a file of certificates in PEM, read again when it changes; None: nobody is verified.
    system: they are verified by what this system trusts instead.
    """

    def __init__(self, ca: Path | None = None, *, system: bool = False) -> None:
        self._ca = ca
        self._system = system
        self._seen = self._signature()
        self._contexts: dict[tuple[tuple[str, ...], bool], ssl.SSLContext] = {}
        try:
            self._context(HTTP1, named=False)
        except OSError as error:
            raise ConfigurationError([f"--app-tls {ca}: {unusable(error)}"]) from None

    def __repr__(self) -> str:
        by = self._ca or ("this system" if self._system else None)
        return f"<AppTls {f'verified by {by}' if by else 'not verified'}>"

    def context(self, host: str, protocols: tuple[str, ...]) -> ssl.SSLContext:
        """For a connection to `host`, which is offered `protocols` by ALPN."""
        self._refresh()
        return self._context(protocols, named=self._system or (not is_address(host) and host != "localhost"))

    async def connect(
        self, protocol: asyncio.Protocol, address: str, endpoint: Endpoint, protocols: tuple[str, ...]
    ) -> None:
        """Make a connection for `protocol`. Raises OSError. The handshake has no time of its own: it is part of the
        dial, for which nobody waits for ever."""
        context = self.context(endpoint.host, protocols)
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: protocol, address, endpoint.port, ssl=context, server_hostname=endpoint.host
            )
        except OSError as error:
            raise explained(error) from None
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        if protocols == HTTP2 and chosen != HTTP2[0]:
            transport.abort()
            raise HandshakeError("it does not offer HTTP/2 by ALPN, and a request in HTTP/2 is not translated")

    def _context(self, protocols: tuple[str, ...], *, named: bool) -> ssl.SSLContext:
        context = self._contexts.get((protocols, named))
        if context is None:
            context = self._contexts[protocols, named] = self._made(protocols, named=named)
        return context

    def _refresh(self) -> None:
        """Read the CA again if it has changed. What cannot be used is said once, and what was read before stays."""
        signature = self._signature()
        if signature == self._seen:
            return
        self._seen = signature
        try:
            made = {key: self._made(key[0], named=key[1]) for key in self._contexts}
        except OSError as error:
            _log.error("--app-tls %s: %s; those before stay in use", self._ca, unusable(error))
        else:
            self._contexts = made
            _log.info("%s: new certificates are trusted", self._ca)

    def _made(self, protocols: tuple[str, ...], *, named: bool) -> ssl.SSLContext:
        """Raises OSError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = named and (self._system or self._ca is not None)
        context.set_alpn_protocols(list(protocols))
        if self._system:
            context.load_default_certs()
        elif self._ca is not None:
            context.load_verify_locations(self._ca)
        else:
            context.verify_mode = ssl.CERT_NONE
        return context

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            state = self._ca.stat() if self._ca is not None else None
        except OSError:
            return None
        return (state.st_mtime_ns, state.st_size, state.st_ino) if state is not None else None


def unusable(error: OSError) -> str:
    """Why a file of certificates cannot be used, as a phrase."""
    if isinstance(error, ssl.SSLError):
        return f"not certificates in PEM ({error.reason or error})"
    return (error.strerror or str(error)).lower()


def explained(error: OSError) -> OSError:
    """The same, in words, where it is about the handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return HandshakeError(f"its certificate is not trusted ({error.verify_message})")
    if isinstance(error, ssl.SSLError):
        if error.reason in _PLAIN:
            return HandshakeError("it does not speak TLS")
        return HandshakeError(f"the TLS handshake failed ({(error.reason or str(error)).lower().replace('_', ' ')})")
    if isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        how = "reset" if error.errno == errno.ECONNRESET else "ended"
        return HandshakeError(f"the connection was {how} in the TLS handshake")
    return error

"""TLS at an inbound listener: the certificate, which is read again when its files change, and what is offered by ALPN.

HTTP/2 is offered when the application speaks it, because a stream goes to an application that does, and nothing is
translated. Whether it does is asked of it, with the preface that HTTP/2 begins with.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proxy.base.problems import ConfigurationError
from proxy.contract.routes import Endpoint
from proxy.net.app_tls import BOTH, HTTP1, AppTls, HandshakeError, explained
from proxy.wire.h2.frames import HEAD_BYTES, PREFACE, SETTINGS
from proxy.wire.h2.settings import settings_frame

_log = logging.getLogger("skycap.tls")

ASK_SECONDS = 2.0
"""For an answer to a preface, and between two attempts until there is one."""

AGAIN_SECONDS = 30.0
"""Until it is asked again: another version of the application may speak another one."""

HANDSHAKE_SECONDS = 10.0
"""For a client's handshake."""


class Certificate:
    """A certificate chain and its key, in PEM, for the clients of the application at `app`, which speaks TLS where
    `app_tls` says how. Raises ConfigurationError when they cannot be used.

    context: what new connections are accepted with.
    offered: the protocols that clients are offered.
    """

    def __init__(self, chain: Path, key: Path, app: Endpoint, app_tls: AppTls | None = None) -> None:
        self._app = app
        self._app_tls = app_tls
        self._chain = chain
        self._key = key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.offer(HTTP1)
        self._seen = self._signature()
        try:
            self.context.load_cert_chain(chain, key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError([f"--inbound-tls {chain},{key}: {_reason(error)}"]) from None

    def __repr__(self) -> str:
        return f"<Certificate {self._chain} offers={','.join(self.offered)}>"

    def offer(self, protocols: tuple[str, ...]) -> None:
        """What clients are offered from now on."""
        self.offered = protocols
        self.context.set_alpn_protocols(list(protocols))

    def refresh(self) -> None:
        """Read the files again if they have changed. What cannot be used is said once, and the last good pair stays."""
        signature = self._signature()
        if signature == self._seen:
            return
        self._seen = signature
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._chain, self._key)
            self.context.load_cert_chain(self._chain, self._key)
        except (OSError, ssl.SSLError) as error:
            _log.error("%s: %s; the certificate before stays in use", self._chain, _reason(error))
        else:
            _log.info("%s: a new certificate is in use", self._chain)

    def _signature(self) -> tuple[tuple[int, int, int], ...]:
        found = []
        for path in (self._chain, self._key):
            with contextlib.suppress(OSError):
                state = path.stat()
                found.append((state.st_mtime_ns, state.st_size, state.st_ino))
        return tuple(found)

    async def ask(self) -> None:
        """Find out what the application speaks, again and again. Never returns."""
        app, said = self._app, ""
        while True:
            speaks = None
            try:
                speaks = await speaks_http2(app, self._app_tls)
            except HandshakeError as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("%s cannot be asked what it speaks: %s", app, said)
            except OSError:
                pass  # it is not there yet
            if speaks is not None and speaks != (self.offered == BOTH):
                self.offer(BOTH if speaks else HTTP1)
                _log.info("%s speaks HTTP/%s: clients are offered %s", app, 2 if speaks else 1, ", ".join(self.offered))
            await asyncio.sleep(ASK_SECONDS if speaks is None else AGAIN_SECONDS)


async def speaks_http2(app: Endpoint, tls: AppTls | None = None) -> bool:
    """Whether an application speaks HTTP/2: it chooses it by ALPN, or, without TLS, answers its preface as it has to
    (RFC 9113 section 3.4). Raises OSError when it cannot be asked."""
    context = tls.context(app.host, BOTH) if tls is not None else None
    try:
        async with asyncio.timeout(ASK_SECONDS):
            reader, writer = await asyncio.open_connection(app.host, app.port, ssl=context)
    except OSError as error:
        raise (explained(error) if tls is not None else error) from None
    try:
        if context is not None:
            chosen: ssl.SSLObject = writer.get_extra_info("ssl_object")
            return chosen.selected_alpn_protocol() == BOTH[0]
        writer.write(PREFACE + settings_frame(()))
        async with asyncio.timeout(ASK_SECONDS):
            head = await reader.readexactly(HEAD_BYTES)
        return head[3] == SETTINGS
    except (OSError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.transport.abort()


class TlsStream:
    """A connection with TLS, as the port `Stream` has it.

    There is no half of an end in asyncio's TLS: to end it is to close, when all that was written is sent.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.write: Callable[[bytes], None] = transport.write
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.write_eof = transport.close
        self.close = transport.close
        self.abort = transport.abort
        self.is_closing = transport.is_closing
        self.set_protocol = transport.set_protocol
        self._transport = transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """All but the socket, whose bytes nobody may read or write."""
        return None if name == "socket" else self._transport.get_extra_info(name, default)


def _reason(error: OSError | ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not a certificate and its key in PEM ({error.reason or error})"
    return (error.strerror or str(error)).lower()

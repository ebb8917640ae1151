"""Why a connection failed, in words for a person."""

from __future__ import annotations

import os
import ssl
from http.client import HTTPException, IncompleteRead, RemoteDisconnected

_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"}
"""What OpenSSL says when the answer begins with no TLS record: which of them depends on its version."""


def why(error: BaseException) -> str:
    """The system's words: those of aiohttp and asyncio repeat the address instead."""
    error = getattr(error, "os_error", error)  # aiohttp's wrapping, which a command without aiohttp never meets
    if isinstance(error, RemoteDisconnected):  # an OSError without a number
        return "it closed the connection without an answer"
    if isinstance(error, IncompleteRead):
        return "its answer ended too early"
    if isinstance(error, HTTPException):
        return "what answers there does not speak HTTP"
    if isinstance(error, ssl.SSLError):  # an OSError whose number is OpenSSL's and not the system's
        return _tls(error)
    if isinstance(error, OSError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)


def _tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if error.reason in _NO_TLS:
        return "it does not speak TLS, say http:// instead of https://"
    return f"TLS fails: {(error.reason or str(error)).lower().replace('_', ' ')}"

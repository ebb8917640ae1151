"""Why a connection failed, in words for a person."""

from __future__ import annotations

import os

import aiohttp


def why(error: BaseException) -> str:
    """The system's words: those of aiohttp and asyncio repeat the address instead."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, OSError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)

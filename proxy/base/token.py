"""A bearer token in a file: one line, so that it never stands in a process list or an environment."""

from __future__ import annotations

import re
from pathlib import Path

MAX_TOKEN = 4096

_TOKEN = re.compile(r"[!-~]+")
"""Visible ASCII: what may stand in a header field (RFC 9110 section 5.5) without a space."""


def read_token(path: Path, least: int = 1) -> str:
    """The token, of `least` characters or more. Raises ValueError, which names the file and never shows the token."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TOKEN + 3)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    token = data.strip().decode("ascii", "replace")
    if not _TOKEN.fullmatch(token) or len(token) > MAX_TOKEN:
        raise ValueError(f"{path}: must hold one line of visible ASCII, at most {MAX_TOKEN} characters")
    if len(token) < least:
        raise ValueError(f"{path}: the token has {len(token)} characters, at least {least} are needed")
    return token

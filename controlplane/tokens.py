"""The tokens of a registry that nobody named: made at its start, written where our programs look, gone at its end."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from controlplane.api.access import Access, Role
from controlplane.process.private import private_folder
from proxy.base.access import token_folder

TOKEN_BYTES = 32
"""256 bits: not guessed, whatever becomes of computers."""


class Tokens:
    """All tokens of one registry, for as long as it listens.

    named:     by the options; the others are made.
    addresses: (host, port) that are bound.

    Raises OSError when they cannot be written.
    """

    def __init__(
        self, named: Mapping[Role, str], addresses: Iterable[tuple[str, int]], environ: Mapping[str, str]
    ) -> None:
        tokens = {role: named.get(role) or secrets.token_urlsafe(TOKEN_BYTES) for role in Role}
        self.access = Access(tokens)
        self._folders = [token_folder(host, port, environ) for host, port in addresses]
        try:
            for folder in self._folders:
                _write(folder, {role.value: token for role, token in tokens.items() if role not in named})
        except BaseException:
            self.remove()
            raise

    def __repr__(self) -> str:
        return f"<Tokens {', '.join(map(str, self._folders))}>"

    def remove(self) -> None:
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, tokens: Mapping[str, str]) -> None:
    """Each in a file that nobody but the owner has ever been able to open."""
    private_folder(folder)
    folder.chmod(0o700)
    for old in folder.iterdir():
        with suppress(OSError):
            old.unlink()
    for name, token in tokens.items():
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{token}\n")

"""Running `nft`, and saying in one line why it would not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

from controlplane.intercept.ruleset import REMOVAL, TABLE, Interception, ruleset

SECONDS = 20.0
"""Rules are read and written in milliseconds; more means that somebody else holds them."""


PLACES = "/usr/sbin:/sbin"
"""Where it is looked for besides PATH, which of a service may hold neither."""


class InterceptError(Exception):
    """The rules cannot be read or changed. `str()` is one line, `hint` what to do about it, or ""."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def install(options: Interception) -> bool:
    """Put the rules in force. True when they have replaced some. Raises InterceptError, and nothing was changed."""
    replaced = installed()
    _nft(["-f", "-"], ruleset(options))
    return replaced


def remove() -> bool:
    """Take the rules out of force. True when there were some. Raises InterceptError."""
    found = installed()
    _nft(["-f", "-"], REMOVAL)
    return found


def installed() -> bool:
    return f"table {TABLE}" in _nft(["list", "tables"]).splitlines()


def rules() -> list[dict[str, Any]]:
    """The table's content as `libnftables-json(5)` describes it. Raises InterceptError when it is not there."""
    listed: list[dict[str, Any]] = json.loads(_nft(["-j", "list", "table", *TABLE.split()]))["nftables"]
    return listed


def _nft(arguments: list[str], said: str = "") -> str:
    place = shutil.which("nft", path=f"{os.environ.get('PATH', os.defpath)}:{PLACES}")
    if place is None:
        raise InterceptError("nft is not installed", hint="install the package nftables")
    try:
        done = subprocess.run(  # noqa: S603 (the program that was found)
            [place, *arguments], input=said, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise InterceptError(f"nft does not answer for {SECONDS:g} s") from None
    except OSError as error:
        raise InterceptError(f"{place} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        raise _refusal(done.stderr)
    return done.stdout


def _refusal(stderr: str) -> InterceptError:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    first = lines[0] if lines else "it does not say why"
    if "Operation not permitted" in stderr or "you must be root" in stderr:
        return InterceptError(
            "this process may not change how connections go",
            hint="run it as root or with CAP_NET_ADMIN; without it, use --inbound and --outbound of skycap proxy",
        )
    if "Could not process rule" in stderr or "cache initialization failed" in stderr:
        hint = "it needs nf_tables with nat, redirect and fib in the inet family (Linux 5.2 or later)"
        return InterceptError(f"the kernel refuses the rules: {first.removeprefix('/dev/stdin:')}", hint=hint)
    return InterceptError(f"nft refuses: {first}")

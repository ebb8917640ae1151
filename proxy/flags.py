"""One flag of the command line and its variable, and how the text of a value is read.

Every reader takes the text that was given and returns the value, or raises ValueError with a phrase that names the text
and what it should have been.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from proxy.base.listen import Listen, parse_listen
from proxy.contract.routes import Endpoint, parse_endpoint
from proxy.contract.rules import Rule, decode_rules

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def duration(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration like 250ms, 30s, 5m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def inbound_listener(text: str) -> tuple[Listen, Endpoint]:
    listen, equals, app = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not LISTEN=APP, like 0.0.0.0:8080=127.0.0.1:9001")
    return parse_listen(listen), parse_endpoint(app)


def certificate_and_key(text: str) -> tuple[Path, Path]:
    chain, comma, key = text.partition(",")
    if not chain or not comma or not key or "," in key:
        raise ValueError(f"{text!r} is not CERT,KEY, two files in PEM")
    return Path(chain), Path(key)


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whom an application's certificate has to be from; None: anybody."""

    ca: Path | None


def trusted(text: str) -> Trusted | None:
    """A file of certificates, or whether there is TLS without one."""
    with contextlib.suppress(ValueError):
        return Trusted(None) if switch(text) else None
    return Trusted(path_of_file(text))


def outbound_listener(text: str) -> tuple[Listen, Endpoint | None]:
    listen, equals, target = text.partition("=")
    return parse_listen(listen), parse_endpoint(target) if equals else None


def matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return parse


def number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not low <= int(text) <= high:
            raise ValueError(f"{text!r} is not a number from {low} to {high}")
        return int(text)

    return parse


def choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is none of {', '.join(allowed)}")
        return text

    return parse


def switch(text: str) -> bool:
    answer = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text.lower() not in answer:
        raise ValueError(f"{text!r} is neither true nor false")
    return answer[text.lower()]


def url(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and text.isprintable()
    except ValueError:  # of its brackets or its port
        valid = False
    if not valid or " " in text:
        raise ValueError(f"{text!r} is not an http:// or https:// URL")
    return text.rstrip("/")


def existing_file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"{text}: no such file")
    return path


def rules_file(text: str) -> tuple[str, tuple[Rule, ...]]:
    """One event of rules (`proxy.contract.rules`), as a file."""
    path = existing_file(text)
    try:
        return decode_rules(json.loads(path.read_bytes()))
    except OSError as error:
        raise ValueError(f"{text}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None


def path_of_file(text: str) -> Path:
    """Of a file that may come later."""
    if not text:
        raise ValueError("an empty text names no file")
    return Path(text)


@dataclass(frozen=True, slots=True)
class Flag:
    """
    name:    without the dashes; the variable and the field of the settings are made of it.
    metavar: how the help calls the value.
    parse:   reads one value.
    default: the value when nothing is given; `shown` is how the help writes it.
    many:    it may be repeated; a variable is a comma-separated list.
    switch:  it stands alone; its variable says true or false.
    alone:   the value that it has when it stands alone; "" where it needs one.
    """

    name: str
    metavar: str
    parse: Callable[[str], Any]
    help: str
    default: Any = None
    shown: str = ""
    many: bool = False
    switch: bool = False
    alone: str = ""

    @property
    def variable(self) -> str:
        return "SKYCAP_" + self.name.upper().replace("-", "_")

    @property
    def field(self) -> str:
        return self.name.replace("-", "_")

"""Values that several commands take."""

from __future__ import annotations

import re

import click

from controlplane.asking.expected import Expected, parse_expected
from proxy.contract.names import ROUTING_KEY


def checked_key(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """The callback of a routing key."""
    if not ROUTING_KEY.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not 1 to 63 characters of A-Za-z0-9._-")
    return value


def expectations(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> list[Expected]:
    """The callback of the option."""
    try:
        return [parse_expected(value) for value in values]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _since(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,6}[smhd]", value):
        raise click.BadParameter(f"{value!r} is not a number with a unit: 90s, 30m, 4h or 7d")
    return float(int(value[:-1]) * _UNITS[value[-1]])


since_option = click.option(
    "--since", metavar="TIME", callback=_since, help="Only what is not older: 90s, 30m, 4h or 7d."
)
"""Seconds, or None."""

"""Values that several commands take."""

from __future__ import annotations

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

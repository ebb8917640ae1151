"""How a command reaches the registry: `--registry`, `--token-file`, and what becomes of a refusal."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from controlplane.asking.cause import why
from controlplane.cli.failures import CommandError, InvalidError, NotFoundError, UnreachableError
from controlplane.client import DEFAULT_URL, Client, RegistryError

TOKEN_LIMIT = 4096
"""Bytes of a token file: more is some other file."""

_META_NAME = "skycap.registry-token"

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])


_KINDS: dict[int, type[CommandError]] = {
    400: InvalidError, 401: UnreachableError, 403: UnreachableError, 404: NotFoundError,
    409: InvalidError, 413: InvalidError, 422: InvalidError,
}  # fmt: skip
"""What a refusal of the registry means to the caller; a status that is not here is a plain failure."""


class Registry:
    """One registry: `url`, and the bearer `token` that it wants, or ""."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token

    def client(self) -> Client:
        """Must be called where an event loop runs."""
        return Client(self.url, self._token)

    def ask(self, work: Callable[[Client], Awaitable[_T]]) -> _T:
        """What `work` answers when it is given a client. Raises CommandError."""

        async def run() -> _T:
            async with self.client() as client:
                return await work(client)

        try:
            return asyncio.run(run())
        except RegistryError as error:
            raise refusal(error, self.url) from None


def refusal(error: RegistryError, url: str) -> CommandError:
    """The command's failure for what the registry said, or did not say."""
    if error.status == 0:
        cause = f": {why(error.__cause__)}" if error.__cause__ else ""
        start = "start it with `skycap up` or `skycap controlplane`, or say where it is with --registry"
        hint = "" if isinstance(error.__cause__, ssl.SSLError) else start  # something does run there
        return UnreachableError(f"the registry at {url} cannot be reached{cause}", hint=hint)
    kind = _KINDS.get(error.status, CommandError)
    if error.code == "not-a-registry":
        kind = UnreachableError
    # A peer that is no registry may have answered 200: that is the status of no problem.
    document = error.problem.model_dump(exclude_none=True, exclude={"status"} if error.status < 400 else None)
    return kind(*str(error).splitlines(), hint=(error.problem.hint or "").rstrip("."), document=document)


def _registry(context: click.Context, _parameter: click.Parameter, value: str) -> Registry:
    try:
        url = urlsplit(value)
        valid = url.scheme in {"http", "https"} and bool(url.hostname) and url.path in {"", "/"} and not url.query
        valid = valid and url.port != 0  # reading it raises ValueError when it is no number
    except ValueError:
        valid = False
    if not valid:
        raise click.BadParameter(f"{value!r} is not http://HOST:PORT")
    return Registry(value.rstrip("/"), context.meta.get(_META_NAME, ""))


def _token(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is None:
        return
    try:
        with value.open("rb") as file:
            token = file.read(TOKEN_LIMIT + 1).decode("ascii").strip()
    except OSError as error:
        raise click.BadParameter(f"{value} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not token or len(token) > TOKEN_LIMIT or not token.isprintable() or " " in token:
        raise click.BadParameter(f"{value} does not hold one token")
    context.meta[_META_NAME] = token


def registry_options(command: _F) -> _F:
    """Give a command `--registry` and `--token-file`; it is called with a `Registry` as `registry`."""
    token = click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        envvar="SKYCAP_TOKEN_FILE",
        show_envvar=True,
        expose_value=False,
        is_eager=True,  # `--registry` wants to know it
        callback=_token,
        help="A file with the bearer token that the registry wants.",
    )
    registry = click.option(
        "--registry",
        default=DEFAULT_URL,
        envvar="SKYCAP_REGISTRY",
        show_envvar=True,
        callback=_registry,
        metavar="URL",
        help="Where the registry answers.",
    )
    return registry(token(command))

"""How a command reaches the registry: `--registry`, `--token-file`, and what becomes of a refusal."""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable, Mapping
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import click

from controlplane.asking.cause import why
from controlplane.cli.exchange import Reply, exchange
from controlplane.cli.failures import CommandError, InvalidError, NotFoundError, UnreachableError
from controlplane.rest import DEFAULT_URL, MAX_WAIT_SECONDS
from proxy.base.access import USER, local_token
from proxy.base.problems import ConfigurationError
from proxy.base.token import read_token

if TYPE_CHECKING:
    from controlplane.client import Client, RegistryError

ANSWER_SECONDS = 10.0
"""For one answer, beside the time that the registry is asked to wait."""

KUBERNETES = "kubernetes"
"""Instead of a URL: the control plane of a cluster."""

_META_NAME = "skycap.registry-token"

Query = Mapping[str, str | list[str]] | Mapping[str, str]
"""By name; what may be given more than once as a list."""

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])


_KINDS: dict[int, type[CommandError]] = {
    400: InvalidError, 401: UnreachableError, 403: UnreachableError, 404: NotFoundError,
    409: InvalidError, 413: InvalidError, 422: InvalidError,
}  # fmt: skip
"""What a refusal of the registry means to the caller; a status that is not here is a plain failure."""


class Registry:
    """One registry: where it is, and the bearer `token` that it wants; "": that of the registry of our own user here.

    reach: called once, when something is asked: the URL. It raises CommandError or ConfigurationError.

    A command that asks one thing asks it here, one that asks much at once through `client`.
    """

    def __init__(self, place: str, reach: Callable[[], str], token: str) -> None:
        self.place = place
        self._reach = reach
        self._token = token

    @cached_property
    def url(self) -> str:
        """`http://HOST:PORT`."""
        return self._reach()

    @property
    def context(self) -> str | None:
        """Of the kubeconfig, where the registry is that of a cluster: "" for the current one. None on a machine."""
        return context_of(self.place)

    def client(self) -> Client:
        """Must be called where an event loop runs."""
        from controlplane.client import Client  # with it come an HTTP library and the models: half a second

        return Client(self.url, self._token or None)

    def get(self, path: str, read: Callable[[Any], _T], query: Query | None = None) -> _T:
        """What `read` makes of the answer to a GET. Raises CommandError.

        path: `sandboxes/agent-42`, below `/v1/` unless it begins with a slash, each part of it quoted.
        read: may raise KeyError, TypeError, ValueError and AttributeError for what no registry answers.
        """
        return self._ask("GET", path, read, query)

    def put(self, path: str, document: object, read: Callable[[Any], _T], query: Query | None = None) -> _T:
        """The same for a PUT of a document."""
        return self._ask("PUT", path, read, query, document)

    def post(
        self,
        path: str,
        document: object,
        read: Callable[[Any], _T],
        query: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> _T:
        """The same for a question that is a document. seconds: that the answer may take."""
        return self._ask("POST", path, read, query, document, seconds)

    def upload(self, path: str, data: bytes) -> None:
        """A PUT of what is no document."""
        self._ask("PUT", path, lambda answer: answer, None, data)

    def delete(self, path: str, query: Mapping[str, str] | None = None) -> bool:
        """Whether it is gone, after having waited for that as long as the query says. Raises CommandError."""
        return self._ask("DELETE", path, lambda answer: answer is None, query)

    def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[Any], _T],
        query: Query | None,
        body: object = None,
        seconds: float = ANSWER_SECONDS,
    ) -> _T:
        headers = {"accept": "application/json"}
        data = None
        if body is not None:
            raw = isinstance(body, bytes)
            headers["content-type"] = "application/octet-stream" if raw else "application/json"
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        where = path if path.startswith("/") else f"/v1/{path}"
        url = f"{self.url}{where}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        extra = float(str((query or {}).get("wait", "0s"))[:-1])
        try:
            reply = self._signed(method, url, headers, data, seconds + extra)
        except (OSError, HTTPException) as error:
            raise unreachable(self.url, error) from None
        if not 200 <= reply.status < 300:
            raise _refused(reply, self.url)
        try:
            return read(json.loads(reply.body) if reply.body else None)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise _foreign(self.url, "what it answers is not what a registry answers") from None

    def _signed(self, method: str, url: str, headers: dict[str, str], data: bytes | None, seconds: float) -> Reply:
        """With the token of this moment; again when it is another one by the time of the refusal: a registry listens a
        moment before its tokens are written."""
        while True:
            token = self._token or local_token(self.url, USER, os.environ)
            signed = headers | ({"authorization": f"Bearer {token}"} if token else {})
            reply = exchange(method, url, signed, data, seconds)
            if reply.status != 401 or self._token or local_token(self.url, USER, os.environ) == token:
                return reply


def waiting(seconds: float) -> dict[str, str]:
    """The query that asks the registry to wait, at most MAX_WAIT_SECONDS."""
    return {"wait": f"{min(max(seconds, 0.0), MAX_WAIT_SECONDS):.3f}s"}


def segment(text: str) -> str:
    """One part of a path."""
    return quote(text, safe="")


def unreachable(url: str, error: BaseException | None) -> UnreachableError:
    """Nobody answered at `url`, because of `error`."""
    cause = f": {why(error)}" if error else ""
    start = "start it with `skycap up` or `skycap controlplane`, or say where it is with --registry"
    hint = "" if isinstance(error, ssl.SSLError) else start  # something does run there
    return UnreachableError(f"the registry at {url} cannot be reached{cause}", hint=hint)


def refusal(error: RegistryError, url: str) -> CommandError:
    """The command's failure for what a `Client` was told, or was not."""
    if error.status == 0:
        return unreachable(url, error.__cause__)
    # A peer that is no registry may have answered 200: that is the status of no problem.
    document = error.problem.model_dump(exclude_none=True, exclude={"status"} if error.status < 400 else None)
    return _failure(document, error.status)


def _refused(reply: Reply, url: str) -> CommandError:
    document: object = None
    if reply.media == "application/problem+json":
        try:
            document = json.loads(reply.body)
        except ValueError:
            document = None
    if not isinstance(document, dict) or not all(isinstance(document.get(name), str) for name in ("code", "title")):
        said = reply.body[:200].decode("utf-8", "replace").strip()
        return _foreign(url, f"it answered {reply.status}" + (f": {said}" if said else ""))
    return _failure(document, reply.status)


def _failure(document: Mapping[str, Any], status: int) -> CommandError:
    """A problem document as a failure: one line, and one for each field that is wrong."""
    kind = UnreachableError if document["code"] == "not-a-registry" else _KINDS.get(status, CommandError)
    detail = document.get("detail")
    lines = [f"{document['title']}: {detail}" if detail else document["title"]]
    problems = document.get("problems") or ()
    lines += (f"  {item['path']}: {item['message']}" if item["path"] else f"  {item['message']}" for item in problems)
    return kind(*lines, hint=(document.get("hint") or "").rstrip("."), document=document)


def _foreign(url: str, said: str) -> UnreachableError:
    hint = "check the address: something else may listen there"
    document = {
        "type": "urn:skycap:problem:not-a-registry",
        "title": "The answer does not come from a registry",
        "code": "not-a-registry",
        "detail": f"{url}: {said}",
        "hint": hint,
    }
    return UnreachableError(f"the answer of {url} does not come from a registry: {said}", hint=hint, document=document)


def _registry(context: click.Context, _parameter: click.Parameter, value: str | None) -> Registry:
    value = value or found_place(os.environ)
    token = context.meta.get(_META_NAME, "")
    if context_of(value) is not None:
        return Registry(value, lambda: _tunnel(context, value), token)
    try:
        url = urlsplit(value)
        valid = url.scheme in {"http", "https"} and bool(url.hostname) and url.path in {"", "/"} and not url.query
        valid = valid and url.port != 0  # reading it raises ValueError when it is no number
    except ValueError:
        valid = False
    if not valid:
        raise click.BadParameter(f"{value!r} is not http://HOST:PORT")
    url_given = value.rstrip("/")
    return Registry(url_given, lambda: url_given, token)


def found_place(environ: Mapping[str, str]) -> str:
    """Where the registry is that nobody has named: on this machine, or, where none of ours runs and there is a
    kubeconfig, in its cluster."""
    if local_token(DEFAULT_URL, USER, environ):
        return DEFAULT_URL
    named = [Path(part) for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    files = named or [Path(environ.get("HOME") or "/") / ".kube" / "config"]
    return KUBERNETES if any(file.exists() for file in files) else DEFAULT_URL


def context_of(place: str) -> str | None:
    """That of `kubernetes:CONTEXT`, "" of `kubernetes`, None of a URL."""
    kind, _, context = place.partition(":")
    return context if kind == KUBERNETES else None


def _tunnel(context: click.Context, place: str) -> str:
    """Open the way to the control plane of a cluster, until the command ends. Raises UnreachableError."""
    from controlplane.kubernetes.credentials import find
    from controlplane.kubernetes.tunnel import Tunnel  # with it comes an HTTP library

    try:
        opened = Tunnel(find(os.environ, context_of(place) or "", within=False), os.environ)
    except ConfigurationError as error:
        hint = f"or say where the registry is with --registry; without one here, {place} is looked at"
        raise UnreachableError(*error.problems, hint=hint) from None
    context.call_on_close(opened.close)
    return opened.url


def _token(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is None:
        return
    try:
        context.meta[_META_NAME] = read_token(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


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
        help="The bearer token of the registry.  [default: found, if it runs here as the same user]",
    )
    registry = click.option(
        "--registry",
        envvar="SKYCAP_REGISTRY",
        show_envvar=True,
        callback=_registry,
        metavar="URL|kubernetes[:CONTEXT]",
        help="Where the registry answers; `kubernetes`: in the cluster of the kubeconfig, which says who you are too.  "
        f"[default: {DEFAULT_URL}, or the cluster, where there is a kubeconfig and none of yours runs here]",
        show_default=False,
    )
    return registry(token(command))

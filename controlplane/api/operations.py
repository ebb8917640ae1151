"""The row type of the table of operations, and what is read from a request by it.

An operation says everything once: the route, what it takes, what it answers. The server is built from the table
(`controlplane.api.application`) and so is the document that describes it (`controlplane.api.openapi`), so the two
cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel

from controlplane.api.access import ROLE, Role
from controlplane.api.refused import Refused
from controlplane.life.registry import Registry
from controlplane.model.problem import NAME, SIDECAR_ID, WORKLOAD_NAME, FieldProblem, Grammar, anchored, show
from controlplane.rest import MAX_WAIT_SECONDS

REGISTRY = web.AppKey("registry", Registry)

WAIT = Grammar(r"[0-9]{1,2}(?:\.[0-9]{1,3})?s", "a number of seconds below 100, like 30s or 0.5s")
ANY_KEY = Grammar(r"[^\x00-\x1f\x7f]{1,256}", "1 to 256 characters without control characters")
LINES = Grammar(r"(?:[1-9][0-9]{0,3}|10000)", "a whole number from 1 to 10000")

HIDDEN = "(hidden)"
"""In place of a value that a viewer may not see."""

_Model = TypeVar("_Model", bound=BaseModel)

Handler = Callable[[web.Request, "Values"], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation, always text of a grammar.

    Those in the path are taken as they come: what does not fit the grammar names nothing that exists. One that may be
    given more than once (`many`) is read from the request.
    """

    name: str
    where: Literal["path", "query", "header"]
    grammar: Grammar
    description: str
    required: bool = False
    example: str = ""
    many: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One way in which an operation answers.

    model: of the JSON body; None: no body, or one of another media type.
    many:  the body is `{"items": [...]}` of that model.
    """

    description: str
    model: type[BaseModel] | None = None
    many: bool = False
    media_type: str = "application/json"


Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    problems: statuses that it may refuse with, beside those that every operation has.
    lines:    the media type of a body that is no one document, "" for none.
    open:     needs no token.
    lenient:  programs call it that may be newer: parameters that it does not know are ignored.
    sidecars: a sidecar's token is enough.
    asks:     it changes nothing although it is no GET: its question is a document.
    """

    method: Literal["GET", "PUT", "POST", "DELETE"]
    path: str
    name: str
    summary: str
    handler: Handler
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | None = None
    lines: str = ""
    problems: tuple[int, ...] = ()
    open: bool = False
    lenient: bool = False
    sidecars: bool = False
    asks: bool = False

    def permit(self, request: web.Request) -> None:
        """Raises Refused when the role of the request's token does not include this operation."""
        role = request.get(ROLE, Role.USER if self.open else None)
        if role is Role.USER or (role is Role.SIDECAR and self.sidecars) or (role is Role.VIEWER and self.reads):
            return
        may = "watch routes and report" if role is Role.SIDECAR else "read"
        detail = f"this is the token of a {role.value if role else 'stranger'}, who may only {may}"
        raise Refused(403, "forbidden", "The token does not allow this", detail)

    @property
    def reads(self) -> bool:
        """It changes nothing."""
        return self.method == "GET" or self.asks

    @property
    def endless(self) -> bool:
        """It answers with a stream."""
        return any(answer.media_type == "text/event-stream" for answer in self.answers.values())

    def values(self, request: web.Request) -> Values:
        """Path and query by name. Raises Refused with everything that is wrong with the query."""
        known = {parameter.name: parameter for parameter in self.parameters if parameter.where == "query"}
        problems = [
            FieldProblem(path=f"?{show(name)[1:-1]}", message="unknown parameter")
            for name in request.query
            if name not in known and not self.lenient
        ]
        values = dict(request.match_info)
        for name, parameter in known.items():
            given = request.query.getall(name, [])
            if not given:
                if parameter.required:
                    problems.append(FieldProblem(path=f"?{name}", message="is required"))
            elif len(given) > 1 and not parameter.many:
                problems.append(FieldProblem(path=f"?{name}", message="is given more than once"))
            elif bad := [text for text in given if not re.fullmatch(parameter.grammar.pattern, text)]:
                said = f"{show(bad[0])} is not {parameter.grammar.words}"
                problems.append(FieldProblem(path=f"?{name}", message=said))
            else:
                values[name] = given[0]
        if problems:
            raise Refused(400, "bad-query", "The query is malformed", problems=problems)
        return values


_BOUND = f"{MAX_WAIT_SECONDS:g}s at most"

SANDBOX_NAME = Parameter("name", "path", NAME, "of the sandbox, a DNS label", True, "agent-42")
GROUP_NAME = Parameter("name", "path", NAME, "of the route group, a DNS label", True, "checkout-together")
NAMESPACE = Parameter("namespace", "path", NAME, "of the workload, a DNS label", True, "shop")
WORKLOAD = Parameter("name", "path", NAME, "of the workload, a DNS label", True, "users")
SIDECAR = Parameter("id", "path", SIDECAR_ID, SIDECAR_ID.words, True, "shop-users-7f9c")
SETTLED_WAIT = Parameter(
    "wait",
    "query",
    WAIT,
    f"answer when the phase is settled for the revision that is wanted, at the latest after so long. {_BOUND}",
)
GONE_WAIT = Parameter(
    "wait", "query", WAIT, f"answer when the shadows are stopped, at the latest after so long. {_BOUND}"
)
RESTART = Parameter(
    "restart",
    "query",
    Grammar(rf"true|{WORKLOAD_NAME.pattern}", "true, or NAMESPACE/NAME of one fork"),
    "start the forks anew, all of them or one, as a new revision, also when nothing in them has changed",
    example="true",
)
FORK_FILTER = Parameter("workload", "query", WORKLOAD_NAME, "only this workload's", example="shop/users")
LOG_LINES = Parameter("lines", "query", LINES, "the last so many lines of each copy, 100 by default")
EXPLAINED_KEY = Parameter("key", "query", ANY_KEY, "the routing key, as a request carries it", True, "agent-42")
AT_WORKLOAD = Parameter("workload", "query", WORKLOAD_NAME, "the workload whose sidecar is asked", True, "shop/users")
WATCHED = Parameter("workload", "query", WORKLOAD_NAME, "whose routes", True, "shop/users")
WATCHER_ID = Parameter("sidecar", "query", SIDECAR_ID, "who watches: the id under which it reports what it applied")
WITH_PREVIEWS = Parameter(
    "previews", "query", Grammar(r"(?:true|false)", "true or false"), "true: preview links as well, for a gateway"
)
LAST_EVENT_ID = Parameter(
    "Last-Event-ID", "header", Grammar(r".*", "any text"), "the last id that was applied; anything else gets a snapshot"
)


def wait_seconds(values: Values) -> float:
    """How long to wait, at most MAX_WAIT_SECONDS."""
    return min(float(values.get("wait", "0s")[:-1]), MAX_WAIT_SECONDS)


def json_answer(model: BaseModel, status: int = 200) -> web.Response:
    """A model as it is spoken outside: camelCase, without what was not said."""
    text = model.model_dump_json(by_alias=True, exclude_none=True)
    return web.Response(status=status, text=text, content_type="application/json")


def shown(model: _Model, request: web.Request) -> _Model:
    """What the sender may see of it: a viewer sees no value of an environment variable."""
    return _hidden(model) if request[ROLE] is Role.VIEWER else model


def _hidden(value: Any) -> Any:
    """A model without its secrets, which are wherever a field has one of these names."""
    if isinstance(value, tuple):
        return tuple(map(_hidden, value))
    if not isinstance(value, BaseModel):
        return value
    fields = {name: getattr(value, name) for name in type(value).model_fields}
    return value.model_copy(
        update={
            name: _HIDE[name](field) if name in _HIDE and field else _hidden(field) for name, field in fields.items()
        }
    )


_HIDE: Mapping[str, Callable[[Any], Any]] = {
    "env": lambda env: dict.fromkeys(env, HIDDEN),
    "previews": lambda links: tuple(
        {name: link[name] for name in link if name not in ("url", "handoff")} if isinstance(link, dict) else link
        for link in links
    ),
}
"""Values of environment variables, and links, each of which lets whoever has it in."""


def json_items(models: Iterable[BaseModel]) -> web.Response:
    items = ",".join(model.model_dump_json(by_alias=True, exclude_none=True) for model in models)
    return web.Response(text=f'{{"items":[{items}]}}', content_type="application/json")


def pattern(grammar: Grammar) -> dict[str, Any]:
    """The JSON Schema of a parameter."""
    return {"type": "string", "pattern": anchored(grammar)}

"""The sandbox: one model for REST, the command line, MCP and the Kubernetes resource.

A fork has exactly one launcher, and its fields say which:

    command, env        process      a copy of the baseline's process with what differs
    files               process      a copy of the baseline's process that sees other files (`skycap sandbox push`)
    endpoints           static       bring your own; nothing is started
    image, args, patch  kubernetes   a copy of the baseline's pods with what differs; command and env may go with it

Which of them an installation has, it alone knows: `controlplane.life.installation`.

A `Manifest` is what the sender may say, a `Sandbox` what the registry answers. The status is accepted in a `PUT`,
so that an answer can be edited and sent back, and it changes nothing there, as in Kubernetes.

Checks that need the whole document (two forks of one workload, a launcher too many): `controlplane.model.whole`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from controlplane.model.fields import misspelt
from controlplane.model.pod_change import Patch, PodArguments, ValueSources
from controlplane.model.problem import (
    DIGEST,
    KEY,
    LABEL,
    NAME,
    TTL,
    Problems,
    anchored,
)
from controlplane.model.stub import Stub, checked_stubs
from controlplane.model.whole import MAX_FORKS, POD_FIELDS, whole
from controlplane.model.workload import Address, Command, Cwd, Environment, IsNumber, WorkloadName
from proxy.contract.routes import MAX_ENDPOINTS, OnUnavailable, State
from proxy.contract.rules import MAX_RULES

MAX_LABELS = 64

MAX_TTL_SECONDS = 90 * 86400
"""A quarter of a year: a sandbox that lives longer is a baseline."""

Network = IPv4Network | IPv6Network

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def ttl_seconds(text: str) -> int:
    """Seconds of `90s`, `30m`, `4h`, `7d`. The text must be valid."""
    return int(text[:-1]) * _UNIT_SECONDS[text[-1]]


def _checked_ttl(text: str) -> str:
    if ttl_seconds(text) > MAX_TTL_SECONDS:
        raise ValueError(f"{text!r} is longer than {MAX_TTL_SECONDS // 86400}d")
    return text


Name = Annotated[str, StringConstraints(pattern=anchored(NAME), max_length=63)]
Key = Annotated[str, StringConstraints(pattern=anchored(KEY), max_length=63)]
Ttl = Annotated[
    str,
    StringConstraints(pattern=anchored(TTL), max_length=10),
    AfterValidator(_checked_ttl),
]
Label = Annotated[str, StringConstraints(pattern=anchored(LABEL), max_length=63)]
LabelValue = Annotated[str, StringConstraints(max_length=200)]
Digest = Annotated[str, StringConstraints(pattern=anchored(DIGEST))]
Timestamp = Annotated[datetime, WithJsonSchema({"type": "string", "format": "date-time"})]


class Capture(Enum):
    """Whose bodies the hop records keep."""

    NONE = "none"
    ERRORS = "errors"
    ALL = "all"


class Phase(Enum):
    """Where a sandbox is in its life.

    Pending:  a revision that is wanted is still being started, or is not yet in force at every sidecar.
    Ready:    every fork serves the revision that is wanted.
    Degraded: every fork serves, but at least one an older revision than is wanted.
    Failed:   at least one fork serves nothing: its requests fail, or get the baseline if so asked.
    Sleeping: nobody has called it for as long as `idle` says; the next request starts its shadows and waits for them.
    Deleting: its routes are gone, its shadows are being stopped.
    """

    PENDING = "Pending"
    READY = "Ready"
    DEGRADED = "Degraded"
    FAILED = "Failed"
    SLEEPING = "Sleeping"
    DELETING = "Deleting"


SETTLED = frozenset({Phase.READY, Phase.DEGRADED, Phase.FAILED, Phase.SLEEPING})
"""Phases in which the registry has done what it can for the revision that is wanted."""


class Resource(BaseModel):
    """A part of the sandbox: camelCase outside, unknown fields refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_alias=True, validate_by_name=True
    )


class Metadata(Resource):
    """What a person calls it; nothing but the name decides anything."""

    name: Name
    labels: Annotated[dict[Label, LabelValue], Field(max_length=MAX_LABELS)] | None = Field(
        default=None, description="for whoever lists sandboxes, as `team: payments`"
    )
    owner: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None, description="whom to ask about it"
    )
    description: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = Field(
        default=None, description="what is tried in it"
    )


_ABSENT: JsonDict = {"type": "null"}
CHOICES = dict.fromkeys((*POD_FIELDS, "follow_baseline"), "kubernetes") | {"endpoints": "static", "command": "process"}
"""The fields that choose a launcher, the one that decides first first. Where none of them is said, `files` or `env` is,
which may go with command and image as well."""


def _any_of(**types: str) -> JsonDict:
    return {"anyOf": [{"required": [field], "properties": {field: {"type": kind}}} for field, kind in types.items()]}


_POD_FORK: JsonDict = {
    **_any_of(image="string", args="array", valueFrom="array", patch="object"),
    "properties": {"endpoints": _ABSENT},
}
_PROCESS_FORK: JsonDict = {
    **_any_of(command="array", env="object", files="string"),
    "properties": dict.fromkeys((*map(to_camel, POD_FIELDS), "endpoints"), _ABSENT),
}
_STATIC_FORK: JsonDict = {
    "required": ["endpoints"],
    "properties": {
        "endpoints": {"type": "array"},
        **dict.fromkeys(("command", "env", "cwd", *map(to_camel, POD_FIELDS), "files", "build"), _ABSENT),
    },
}
"""For the JSON Schema: what `_launcher` checks. A field that is null counts as left out."""


class Fork(Resource):
    """One workload that the sandbox replaces; what is said of it decides how its shadow is started."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_PROCESS_FORK, _STATIC_FORK, _POD_FORK]})

    workload: WorkloadName = Field(description="that it replaces, NAMESPACE/NAME")
    command: Command | None = Field(
        default=None, description="argument vector of the shadow; `${PORT}` becomes the port it shall listen on"
    )
    env: Environment | None = Field(default=None, description="added to the baseline's environment")
    cwd: Cwd | None = Field(
        default=None,
        description="absolute working directory of the command; absent: that of the baseline. "
        "`skycap sandbox apply` puts in the folder of the file, and reads a relative one from there",
    )
    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = Field(
        default=None, description="of the shadow's containers; an installation without Kubernetes refuses it"
    )
    args: PodArguments | None = Field(
        default=None, description="of the shadow's container, in place of its baseline's; only in a pod"
    )
    value_from: ValueSources | None = Field(
        default=None, description="added to the baseline's environment, with values that the cluster knows"
    )
    patch: Patch | None = Field(
        default=None,
        description="a strategic merge patch of the shadow's pod template, applied after everything else that the "
        "fork changes",
    )
    follow_baseline: bool | None = Field(
        default=None,
        description="true: when the baseline's pods become others, so does the shadow; absent: a condition says so",
    )
    endpoints: Annotated[tuple[Address, ...], Field(min_length=1, max_length=MAX_ENDPOINTS)] | None = Field(
        default=None, description="HOST:PORT each, where a shadow that somebody else runs answers"
    )

    files: Digest | None = Field(
        default=None,
        description="pushed files, by their digest, that are laid over the work folder: `skycap sandbox push` sets it",
    )
    build: Command | None = Field(
        default=None, description="run in the work folder before the command; its output is the error when it fails"
    )
    reachable: bool | None = Field(
        default=None,
        description="false: the control plane cannot reach the endpoints, so they are not dialled; callers still do",
    )

    @property
    def dialled(self) -> bool:
        """The endpoints are dialled before the fork counts as started, and watched afterwards."""
        return self.reachable is not False

    @property
    def launcher(self) -> str:
        """The name of what starts its shadow."""
        chosen = (launcher for field, launcher in CHOICES.items() if getattr(self, field) not in (None, False))
        return next(chosen, CHOICES["command"])


class Preview(Resource):
    """A link that leads a browser into the sandbox. It needs a gateway.

    name:     of the link.
    workload: that the browser enters by.
    """

    name: Name
    workload: WorkloadName


class Spec(Resource):
    routing_key: Key | None = Field(default=None, description="by default the sandbox's name")
    ttl: Ttl | None = Field(default=None, description="counted from the last update; absent: the registry's default")
    idle: Ttl | None = Field(
        default=None,
        description="without a request for so long, its shadows are stopped until the next request, which waits for "
        "them; absent: never",
    )
    on_unavailable: OnUnavailable = Field(
        default=OnUnavailable.ERROR,
        description="whether its requests get 503 or the baseline when its shadow cannot be reached",
    )
    capture: Capture = Field(default=Capture.ERRORS, description="whose bodies the hop records keep")
    forks: Annotated[tuple[Fork, ...], Field(min_length=1, max_length=MAX_FORKS)] = Field(
        description="the workloads that it replaces"
    )
    previews: Annotated[tuple[Preview, ...], Field(max_length=MAX_FORKS)] | None = Field(
        default=None, description="links for reviewers; an installation without a gateway refuses them"
    )
    stubs: Annotated[tuple[Stub, ...], Field(max_length=MAX_RULES), AfterValidator(checked_stubs)] | None = Field(
        default=None, description="what its requests get somewhere, instead of what they would"
    )


class Reported(BaseModel):
    """A part of the status: fields that a newer registry adds must not break an older reader."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, alias_generator=to_camel, validate_by_alias=True, validate_by_name=True
    )


class Condition(Reported):
    """As Kubernetes has them. `status` is True, False or Unknown."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str = ""
    last_transition_time: Timestamp


class AlsoForkedBy(Reported):
    """Another sandbox that replaces the same workload, for the requests with its own key."""

    sandbox: str
    owner: str | None = None


class ForkStatus(Reported):
    """What answers for one fork now.

    state:     that of the route: ready, pending or failed.
    revision:  the one that serves when ready, else the one that is wanted.
    message:   why it does not serve what is wanted, with the last lines of its output; else empty.
    digest:    of what serves: its program, arguments, folder and the files that they name; absent where nothing was
               started. Another digest is another build, also of the same command.
    built:     when the newest of these files was written.
    started:   when what serves was started.
    also_forked_by: some of the other sandboxes that fork the workload; absent where none does.
    ports:     of a copy of a whole pod, which answers on every port of its baseline: those that have another number
               there; absent: it answers on those of `endpoints` only.
    """

    workload: str
    state: State
    revision: Annotated[int, IsNumber]
    endpoints: tuple[str, ...] = ()
    message: str = ""
    digest: str | None = None
    built: Timestamp | None = None
    started: Timestamp | None = None
    also_forked_by: tuple[AlsoForkedBy, ...] | None = None
    ports: dict[str, Annotated[int, IsNumber]] | None = None


class Status(Reported):
    """What the registry says about a sandbox. All times are UTC.

    revision: of the sandbox; a fork that an update did not touch keeps its own, older one.
    """

    phase: Phase
    revision: Annotated[int, IsNumber]
    created: Timestamp
    updated: Timestamp
    expires: Timestamp
    conditions: tuple[Condition, ...] = ()
    forks: tuple[ForkStatus, ...] = ()
    previews: tuple[dict[str, Any], ...] = ()


class Document(Resource):
    """What a manifest and an answer have in common."""

    api_version: Literal["skycap.dev/v1alpha1"]
    kind: Literal["Sandbox"]
    metadata: Metadata
    spec: Spec


class Manifest(Document):
    """A sandbox as it is sent."""

    status: dict[str, Any] | None = Field(
        default=None, description="that of an answer, sent back with it: ignored, whatever it says"
    )


class Sandbox(Document):
    """A sandbox as it is answered."""

    status: Status | None = None

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def routing_key(self) -> str:
        return self.spec.routing_key or self.metadata.name

    def document(self) -> dict[str, Any]:
        """The JSON form, without what was not said."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def parse_sandbox(document: object, name: str | None = None) -> Sandbox:
    """A sandbox from its JSON or YAML form, already parsed. Raises DocumentError with every problem.

    name: what the request's path says it is called; a document that says something else is refused.
    """
    problems = Problems()
    sandbox: Sandbox | None = None
    try:
        manifest = Manifest.model_validate(document, by_alias=True, by_name=False)
        sandbox = Sandbox(
            api_version=manifest.api_version, kind=manifest.kind, metadata=manifest.metadata, spec=manifest.spec
        )
    except ValidationError as error:
        problems.found(error, partial(misspelt, Manifest))
    if isinstance(document, Mapping):
        problems.add(whole(document, name))
    if problems or sandbox is None:
        raise problems.error()
    return sandbox

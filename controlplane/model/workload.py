"""A workload as its baseline runs, which is what a process fork starts from.

`skycap up` registers one definition per service (`PUT /v1/workloads/NAMESPACE/NAME`). A fork that names only a
command and an environment inherits everything else: the working directory, the upstreams and how readiness is
seen. That is why a definition holds no local ports but the baseline's own: every copy gets free ones.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from controlplane.model.problem import (
    ABSOLUTE_PATH,
    ENV_NAME,
    NAME,
    SCHEME,
    WORKLOAD_NAME,
    anchored,
    invalid,
    refused,
    show,
)
from proxy.contract.routes import parse_shadow

MAX_ARGUMENTS = 256
MAX_VARIABLES = 256
MAX_UPSTREAMS = 128
MAX_TEXT = 8192
"""Characters of one argument or one environment value. Linux takes 128 KiB; what is longer belongs in a file."""


def _endpoint(text: str) -> str:
    parse_shadow(text)
    return text


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character, which no process can be given")
    return text


def _number(value: object) -> object:
    """JSON has numbers, true and texts, and they are not the same."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number, not {show(value)}")
    return value


IsNumber = BeforeValidator(_number)
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT), AfterValidator(_no_nul)]
WorkloadName = Annotated[str, StringConstraints(pattern=anchored(WORKLOAD_NAME), max_length=127)]
Label = Annotated[str, StringConstraints(pattern=anchored(NAME), max_length=63)]
Address = Annotated[
    str,
    StringConstraints(max_length=300),
    AfterValidator(_endpoint),
    Field(json_schema_extra={"pattern": r"^.+:[0-9]{1,5}$"}),
]
"""HOST:PORT; `proxy.contract.routes.parse_shadow` says what is legal."""


def _has_program(command: tuple[str, ...]) -> tuple[str, ...]:
    """An argument may be empty, a program's name may not."""
    if command and not command[0]:
        raise ValueError("names no program: its first argument is empty")
    return command


Arguments = Annotated[tuple[Text, ...], Field(max_length=MAX_ARGUMENTS), AfterValidator(_has_program)]
Command = Annotated[Arguments, Field(min_length=1)]


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{show(path)} is not absolute: the registry stands in a folder of its own")
    return path


def _absolute_or_none(path: str) -> str:
    return _absolute(path) if path else path


Cwd = Annotated[
    str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_no_nul), AfterValidator(_absolute)
]
"""A working directory of a command."""
LogPath = Annotated[str, StringConstraints(max_length=4096), AfterValidator(_no_nul), AfterValidator(_absolute_or_none)]
Scheme = Annotated[str, StringConstraints(pattern=anchored(SCHEME), max_length=32)]
VariableName = Annotated[str, StringConstraints(pattern=anchored(ENV_NAME), max_length=256)]
Environment = Annotated[dict[VariableName, Text], Field(max_length=MAX_VARIABLES)]


class Strict(BaseModel):
    """A document in which an unknown field is an error that names the path."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Upstream(Strict):
    """A workload that this one calls. Each copy gets its own local port, told to it in environment variables.

    name:     how the application knows it; the variable is the name in upper case with `_URL` behind it,
              `PAYMENTS_URL=http://127.0.0.1:41233`, and so are `_HOST` and `_PORT`.
    workload: which workload answers.
    address:  where the inbound side of that workload's sidecar listens, HOST:PORT.
    scheme:   of the URL, `redis` or `postgresql`; `none`: the variable is HOST:PORT.
    """

    name: Label
    workload: WorkloadName
    address: Address
    scheme: Scheme = "http"


class Readiness(Strict):
    """When a copy counts as started: `path` answers 2xx or 3xx, or, without a path, the port accepts.

    path:    that a GET of which tells it; absent: the port accepts.
    timeout: seconds until a start counts as failed.
    """

    path: str | None = Field(default=None, max_length=1024, pattern=anchored(ABSOLUTE_PATH))
    timeout: Annotated[float, Field(gt=0, le=600), IsNumber] = 30.0


class Workload(Strict):
    """The baseline of one workload.

    address: where the inbound side of its sidecar listens: what callers use.
    command: argument vector of the application; `${PORT}` in an argument becomes the port it shall listen on,
             which the environment variable PORT says as well, and so for the variables of its upstreams. Empty:
             this baseline was not started by us, and only static forks can replace it.
    cwd:     absolute working directory of the command.
    log:     absolute path of the file in which each line of its output stands behind its time (RFC 3339, UTC,
             milliseconds, a space); empty: nobody here has its output.
    """

    workload: WorkloadName
    address: Address
    command: Arguments = ()
    cwd: Annotated[str, StringConstraints(max_length=4096), AfterValidator(_no_nul)] = ""
    log: LogPath = ""
    env: Environment = Field(default_factory=dict)
    upstreams: Annotated[tuple[Upstream, ...], Field(max_length=MAX_UPSTREAMS)] = ()
    readiness: Readiness = Readiness()


def parse_workload(document: object, name: str | None = None) -> Workload:
    """A definition from its JSON form, already parsed. Raises DocumentError with every problem.

    name: what the request's path says it is called; a document that says something else is refused.
    """
    try:
        workload = Workload.model_validate(document)
    except ValidationError as error:
        raise refused(error) from None
    if name is not None and workload.workload != name:
        raise invalid("workload", f"{workload.workload!r} is not {name!r}, as the path says")
    return workload

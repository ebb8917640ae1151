"""Arguments that several tools take, each with what a model must know of it."""

from __future__ import annotations

import shlex
from typing import Annotated

from pydantic import Field

from controlplane.mcp.answer import ToolError
from controlplane.model.problem import AGO, KEY, NAME, WORKLOAD_NAME, FieldProblem, anchored
from controlplane.rest import MAX_WAIT_SECONDS

SandboxName = Annotated[
    str, Field(pattern=anchored(NAME), max_length=63, description="name of a sandbox, such as fix-currency")
]
WorkloadArgument = Annotated[
    str,
    Field(
        pattern=anchored(WORKLOAD_NAME), max_length=127, description="a service as NAMESPACE/NAME, such as shop/users"
    ),
]
RoutingKey = Annotated[
    str,
    Field(pattern=anchored(KEY), max_length=63, description="routing key of a sandbox: by default the sandbox's name"),
]
Since = Annotated[
    str, Field(pattern=anchored(AGO), description="how far back to look: 30s, 10m, 2h. Default: since the last update")
]
WaitSeconds = Annotated[
    float, Field(ge=0, le=600, description=f"how long to wait at most; asked in pieces of {MAX_WAIT_SECONDS:g} s")
]
CommandArgument = str | list[str]
"""A command, as a shell reads it or as its arguments."""


def vector(command: CommandArgument | None, path: str) -> tuple[str, ...] | None:
    """The arguments of a command. path: of the tool's argument. Raises ToolError."""
    if not isinstance(command, str):
        return None if command is None else tuple(command)
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        problem = FieldProblem(path=path, message=str(error).lower())
        raise ToolError("invalid-arguments", "a command cannot be read", [problem]) from None


Full = Annotated[bool, Field(description="true: all of it, however long; else the answer stays below 8 KiB")]

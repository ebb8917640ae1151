"""A workload as its baseline runs, which is what a process fork starts from.

`skycap up` registers one definition per service (`PUT /v1/workloads/NAMESPACE/NAME`). A fork that names only a
command and an environment inherits everything else: the working directory, the upstreams and how readiness is
seen. That is why a definition holds no local ports but the baseline's own: every copy gets free ones.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from proxy.contract.names import DNS_LABEL, WORKLOAD

WorkloadName = Annotated[str, StringConstraints(pattern=rf"^{WORKLOAD.pattern}$", max_length=127)]
Label = Annotated[str, StringConstraints(pattern=rf"^{DNS_LABEL}$", max_length=63)]
Address = Annotated[str, StringConstraints(min_length=3, max_length=300)]
"""HOST:PORT; `proxy.contract.routes.parse_endpoint` says what is legal."""


class Strict(BaseModel):
    """A document in which an unknown field is an error that names the path."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Upstream(Strict):
    """A workload that this one calls. Each copy gets its own local port, told to it in an environment variable.

    name:     how the application knows it; the variable is the name in upper case with `_URL` behind it,
              `PAYMENTS_URL=http://127.0.0.1:41233`.
    workload: which workload answers.
    address:  where the inbound side of that workload's sidecar listens, HOST:PORT.
    """

    name: Label
    workload: WorkloadName
    address: Address


class Readiness(Strict):
    """When a copy counts as started: `path` answers 2xx or 3xx, or, without a path, the port accepts."""

    path: str | None = Field(default=None, max_length=1024, pattern=r"^/")
    timeout: float = Field(default=30.0, gt=0, le=600)
    """Seconds until a start counts as failed."""


class Workload(Strict):
    """The baseline of one workload.

    address: where the inbound side of its sidecar listens: what callers use.
    command: argument vector of the application; `${PORT}` in an argument becomes the port it shall listen on,
             which the environment variable PORT says as well. Empty: this baseline was not started by us, and
             only static forks can replace it.
    cwd:     absolute working directory of the command.
    """

    workload: WorkloadName
    address: Address
    command: tuple[str, ...] = ()
    cwd: str = ""
    env: dict[str, str] = Field(default_factory=dict)
    upstreams: tuple[Upstream, ...] = ()
    readiness: Readiness = Readiness()

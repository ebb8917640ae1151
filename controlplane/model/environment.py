"""The environment file: the services of one machine, for `skycap up`. Pure: no I/O.

    apiVersion: skycap.dev/v1alpha1
    kind: Environment
    metadata: {name: shop}
    spec:
      services:
      - name: frontend
        command: [python, frontend.py]
        port: 18080
        upstreams: [{name: users}]
        readiness: {path: /health}
      - name: users
        command: [python, users.py, --port, "${PORT}"]
        upstreams: [{name: db, workload: shop/db, address: 127.0.0.1:5432, scheme: postgresql}]
        env: {LOG_LEVEL: debug, DB_URL: "postgresql://app@${DB_HOST}:${DB_PORT}/shop"}

Every port that is left out becomes a free one. Checks that need the whole document run on the raw document, beside
those of the single fields: otherwise one misspelt field would hide all the rest.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from controlplane.model.fields import misspelt
from controlplane.model.problem import FieldProblem, Problems, show
from controlplane.model.variables import RESERVED
from controlplane.model.workload import (
    MAX_UPSTREAMS,
    Address,
    Command,
    Environment,
    Label,
    Readiness,
    Scheme,
    Strict,
    Text,
    WorkloadName,
)
from proxy.contract.routes import parse_endpoint

MAX_SERVICES = 200
"""Each is two processes; a machine that runs more of them is a cluster."""

DEFAULT_LISTEN = "127.0.0.1:7070"

REGISTRY = "registry"
"""The process that every environment has; no service may be called so."""

GATEWAY = f"{REGISTRY}/gateway"
"""The one that serves its preview links."""


def split_listen(text: str) -> tuple[str, int]:
    """(host, port) of a loopback address HOST:PORT; port 0 stands for a free one. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    free = bool(colon) and port == "0"
    endpoint = parse_endpoint(f"{host}:1" if free else text)
    host = "127.0.0.1" if endpoint.host == "localhost" else endpoint.host
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(f"{text!r} is not on the loopback interface: an environment belongs to one machine")
    return host, 0 if free else endpoint.port


def _checked_listen(text: str) -> str:
    split_listen(text)
    return text


Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Listen = Annotated[str, StringConstraints(max_length=300), AfterValidator(_checked_listen)]


class UpstreamSpec(Strict):
    """A workload that the service calls: `name` is another service of the file, or says workload and address.

    name:   how the service knows it; PAYMENTS_URL says where `payments` is.
    workload: of one outside of the file, NAMESPACE/NAME.
    address: where one outside of the file answers, HOST:PORT: the inbound side of its sidecar.
    port:   where the service's own sidecar listens for calls to it, absent: anywhere. A fixed one is for the baseline
            only: each shadow has a sidecar and a port of its own, and finds it in NAME_URL.
    scheme: of the variable NAME_URL; `none` makes it HOST:PORT.
    """

    name: Label
    port: Port | None = None
    workload: WorkloadName | None = None
    address: Address | None = None
    scheme: Scheme = "http"


class ServiceSpec(Strict):
    """One service: an application, and the sidecar that stands beside it.

    name:     of the service, and of its workload behind the namespace.
    command:  argument vector; `${PORT}`, `${NAME_URL}`, `${NAME_HOST}` and `${NAME_PORT}` become what the variables of
              that name say: the port it shall listen on, and where it reaches its upstream NAME.
    env:      may name the same, and set those of an upstream: `redis://:secret@${CACHE_HOST}:${CACHE_PORT}/0`.
    port:     the one that callers use: the sidecar's inbound side.
    app_port: the one that the application listens on.
    cwd:      relative to the folder of the file.
    upstreams: what it calls.
    readiness: when it counts as started.
    """

    name: Label
    command: Command
    port: Port | None = None
    app_port: Port | None = Field(default=None, alias="appPort")
    env: Environment = Field(default_factory=dict)
    cwd: Text = "."
    upstreams: Annotated[tuple[UpstreamSpec, ...], Field(max_length=MAX_UPSTREAMS)] = ()
    readiness: Readiness = Readiness()


class RegistrySpec(Strict):
    """listen: where the registry answers, HOST:PORT on the loopback interface; port 0 is a free one."""

    listen: Listen = DEFAULT_LISTEN


class GatewaySpec(Strict):
    """port: where preview links are served, beside the registry; absent: anywhere."""

    port: Port | None = None


class EnvironmentSpec(Strict):
    """namespace: of all services' workloads; the environment's name when it is left out.
    registry:  the process that owns the sandboxes.
    gateway:   the process that serves preview links.
    services:  what runs.
    """

    namespace: Label | None = None
    registry: RegistrySpec = RegistrySpec()
    gateway: GatewaySpec = GatewaySpec()
    services: Annotated[tuple[ServiceSpec, ...], Field(min_length=1, max_length=MAX_SERVICES)]


class EnvironmentMetadata(Strict):
    """name: of the environment, and of the folder of its state."""

    name: Label


class EnvironmentFile(Strict):
    """A whole environment file."""

    api_version: Literal["skycap.dev/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["Environment"]
    metadata: EnvironmentMetadata
    spec: EnvironmentSpec

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.spec.namespace or self.metadata.name

    def workload(self, service: str) -> str:
        return f"{self.namespace}/{service}"


def parse_environment(document: object) -> EnvironmentFile:
    """An environment from its YAML form, already parsed. Raises DocumentError with every problem."""
    problems = Problems()
    environment: EnvironmentFile | None = None
    try:
        environment = EnvironmentFile.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as error:
        problems.found(error, partial(misspelt, EnvironmentFile), _with_hint)
    problems.add(_whole(document))
    if problems or environment is None:
        raise problems.error()
    return environment


def _with_hint(problem: FieldProblem) -> FieldProblem:
    if ".env." in problem.path and problem.message.startswith("must be text"):
        return FieldProblem(path=problem.path, message=f"{problem.message}: put it in quotes")
    return problem


def _whole(document: object) -> Iterator[FieldProblem]:
    """The checks that concern more than one field. Whatever has the wrong type was reported already."""
    spec = _object(_object(document).get("spec"))
    services = [(f"spec.services[{index}]", item) for index, item in enumerate(_objects(spec.get("services")))]
    names = [item["name"] for _, item in services if isinstance(item.get("name"), str)]
    yield from _repeated([(f"{path}.name", item.get("name")) for path, item in services])
    yield from _repeated_ports(spec, services)
    for path, service in services:
        if service.get("name") == REGISTRY:
            yield FieldProblem(path=f"{path}.name", message=f"{REGISTRY!r} is what skycap calls its own registry")
        upstreams = [
            (f"{path}.upstreams[{index}]", item) for index, item in enumerate(_objects(service.get("upstreams")))
        ]
        yield from _repeated([(f"{where}.name", item.get("name")) for where, item in upstreams])
        for where, upstream in upstreams:
            yield from _upstream(upstream, where, names)
        for name, meaning in RESERVED.items():
            if name in _object(service.get("env")):
                message = f"is set by skycap: it is {meaning}"
                yield FieldProblem(path=f"{path}.env.{name}", message=message)


def _upstream(upstream: Mapping[str, Any], path: str, services: Sequence[str]) -> Iterator[FieldProblem]:
    name = upstream.get("name")
    outside = [field for field in ("workload", "address") if upstream.get(field) is not None]
    if not isinstance(name, str):
        return
    if name in services and outside:
        message = f"{show(name)} is a service of this file: leave out {' and '.join(outside)}, or choose another name"
        yield FieldProblem(path=f"{path}.name", message=message)
    elif name not in services and not outside:
        near = difflib.get_close_matches(name, services, n=1)
        message = f"no service of this file is called {show(name)}"
        message += f" (did you mean {near[0]!r}?)" if near else ""
        yield FieldProblem(path=f"{path}.name", message=f"{message}; one outside of it needs workload and address")
    elif len(outside) == 1:
        missing = "address" if outside == ["workload"] else "workload"
        message = f"is required: {show(name)} is no service of this file"
        yield FieldProblem(path=f"{path}.{missing}", message=message)


def _repeated_ports(
    spec: Mapping[str, Any], services: Sequence[tuple[str, Mapping[str, Any]]]
) -> Iterator[FieldProblem]:
    """All listeners share the loopback interface, so each port can have one."""
    ports: list[tuple[str, object]] = []
    registry = _object(spec.get("registry", {}))
    with suppress(ValueError):  # a problem of the field itself
        ports.append(("spec.gateway.port", _object(spec.get("gateway")).get("port")))
        ports.append(("spec.registry.listen", split_listen(str(registry.get("listen", DEFAULT_LISTEN)))[1] or None))
    for path, service in services:
        ports += [(f"{path}.{field}", service.get(field)) for field in ("port", "appPort")]
        ports += [
            (f"{path}.upstreams[{index}].port", upstream.get("port"))
            for index, upstream in enumerate(_objects(service.get("upstreams")))
        ]
    return _repeated(ports)


def _repeated(values: Sequence[tuple[str, object]]) -> Iterator[FieldProblem]:
    """A problem for each (path, value) whose value stood before. None never does."""
    first: dict[object, str] = {}
    for path, value in values:
        if isinstance(value, str | int) and first.setdefault(value, path) != path:
            yield FieldProblem(path=path, message=f"repeats {show(value)} of {first[value]}")


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _objects(value: object) -> list[Mapping[str, Any]]:
    """The list's items, an empty object for each that is none: indices stay what they are."""
    return [_object(item) for item in value] if isinstance(value, list | tuple) else []

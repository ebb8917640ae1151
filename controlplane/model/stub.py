"""Stubs and faults of a sandbox's own key: what its requests get somewhere, instead of what they would.

    {name: no-stock, workload: shop/catalog, match: {path: "/items/*"}, respond: {status: 404, body: "{}"}}
    {name: slow-bank, host: api.bank.example, fault: {delay: 2s}}

At the inbound side of a workload's sidecars; for a host that has none, at the outbound side of whoever calls it. They
concern requests with the sandbox's key, and no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from controlplane.model.problem import NAME, anchored, show
from controlplane.model.workload import IsNumber, WorkloadName
from proxy.contract import rules
from proxy.contract.rules import Rule

_DELAY = re.compile(r"([1-9][0-9]{0,5})(ms|s)")
_OURS = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade", "trailer"})


def _milliseconds(text: str) -> int:
    found = _DELAY.fullmatch(text)
    assert found is not None
    return int(found[1]) * (1000 if found[2] == "s" else 1)


def _delay(text: str) -> str:
    if not _DELAY.fullmatch(text):
        raise ValueError(f"{show(text)} is not a time like 250ms or 2s")
    if _milliseconds(text) > rules.MAX_DELAY_MS:
        raise ValueError(f"{text} is longer than {rules.MAX_DELAY_MS // 1000}s")
    return text


def _method(text: str) -> str:
    if not rules.METHOD.fullmatch(text):
        raise ValueError(f"{show(text)} is no method, which is written like GET: no request can match it")
    return text


def _path(text: str) -> str:
    if "?" in text:
        raise ValueError(f"{show(text)} has a query, which is not compared: no request can match it")
    if not rules.PATH.fullmatch(text):
        raise ValueError(f"{show(text)} is no path that begins with /: no request can match it")
    return text


def _host(text: str) -> str:
    host = text.lower()
    if not rules.HOST.fullmatch(host):
        raise ValueError(f"{show(text)} is not HOST or HOST:PORT, without scheme and path")
    if host.endswith(":443"):
        raise ValueError(f"{text} is reached by TLS, which no sidecar reads: no request can match it")
    return host.removesuffix(":80")


def _fields(fields: dict[str, str]) -> dict[str, str]:
    for name, value in fields.items():
        if not rules.FIELD_NAME.fullmatch(name):
            raise ValueError(f"{show(name)} is no name of a header")
        if not rules.FIELD_VALUE.fullmatch(value):
            raise ValueError(f"{name}: {show(value)} cannot be the value of a header")
    return fields


def _sent(fields: dict[str, str]) -> dict[str, str]:
    for name in fields:
        if name.lower() in _OURS or name.lower().startswith("skycap-"):
            raise ValueError(f"{name} is the sidecar's to say")
    return fields


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_alias=True, validate_by_name=True
    )


Delay = Annotated[str, AfterValidator(_delay)]
Fields = Annotated[dict[str, str], Field(max_length=rules.MAX_HEADERS), AfterValidator(_fields)]
Status = Annotated[int, Field(ge=200, le=599), IsNumber]
Percent = Annotated[int, Field(ge=1, le=100), IsNumber]


class StubMatch(_Part):
    """Which requests; all of what is said has to match."""

    method: Annotated[str, AfterValidator(_method)] | None = Field(default=None, description="as `POST`")
    path: Annotated[str, AfterValidator(_path)] | None = Field(
        default=None, description="of the URL, without its query; `*` stands for anything, as in `/items/*`"
    )
    headers: Fields | None = Field(default=None, description="with the value that they must have, `*` for any")


class StubAnswer(_Part):
    status: Status = Field(default=200, description="of the answer")
    headers: Annotated[Fields, AfterValidator(_sent)] | None = Field(default=None, description="of the answer")
    body: Annotated[str, StringConstraints(max_length=rules.MAX_BODY)] | None = Field(
        default=None, description="of the answer; without a content-type it is JSON when it looks like it, else text"
    )
    delay: Delay | None = Field(default=None, description="before it, as `250ms` or `2s`")


class StubFault(_Part):
    """One of delay and status."""

    delay: Delay | None = Field(default=None, description="before the request goes on, as `250ms` or `2s`")
    status: Annotated[int, Field(ge=400, le=599), IsNumber] | None = Field(
        default=None, description="of an error in place of an answer"
    )
    percent: Percent | None = Field(default=None, description="of the requests that match; absent: all")

    @model_validator(mode="after")
    def _one(self) -> StubFault:
        if (self.delay is None) == (self.status is None):
            raise ValueError("say either delay or status")
        return self


class Stub(_Part):
    """One rule. The first that matches, and is not spent, is applied."""

    name: Annotated[str, StringConstraints(pattern=anchored(NAME), max_length=63)] = Field(
        description="what `skycap-served-by` and hops call it"
    )
    workload: WorkloadName | None = Field(default=None, description="whose requests, NAMESPACE/NAME")
    host: Annotated[str, AfterValidator(_host)] | None = Field(
        default=None, description="or calls to this HOST or HOST:PORT, which has no sidecar"
    )
    match: StubMatch | None = Field(default=None, description="which requests; absent: all")
    respond: StubAnswer | None = Field(default=None, description="answer in its place")
    fault: Literal["reset", "timeout"] | StubFault | None = Field(
        default=None, description="`reset` the connection, `timeout` without an answer, or a delay or a status"
    )
    times: Annotated[int, Field(ge=1, le=1_000_000), IsNumber] | None = Field(
        default=None, description="how often, at each sidecar; absent: without end"
    )

    @model_validator(mode="after")
    def _whole(self) -> Stub:
        if (self.workload is None) == (self.host is None):
            raise ValueError(f"stub {self.name}: say either workload or host")
        if (self.respond is None) == (self.fault is None):
            raise ValueError(f"stub {self.name}: say either respond or fault")
        return self

    @property
    def place(self) -> str:
        return self.workload or self.host or ""

    def rule(self) -> Rule:
        """As the sidecars are told it."""
        match, answer, fault = self.match or StubMatch(), self.respond, self.fault
        of = fault if isinstance(fault, StubFault) else StubFault(status=503)
        effect = rules.RESPOND if answer else fault if isinstance(fault, str) else None
        delay = (answer.delay if answer else of.delay) or ""
        return Rule(
            name=self.name,
            effect=effect or (rules.DELAY if of.delay else rules.STATUS),
            workload=self.workload or "",
            host=self.host or "",
            method=match.method or "",
            path=match.path or "",
            headers=tuple((name.lower(), value) for name, value in (match.headers or {}).items()),
            status=answer.status if answer else of.status or 503,
            fields=tuple((name.lower(), value) for name, value in ((answer and answer.headers) or {}).items()),
            body=(answer and answer.body) or "",
            delay_ms=_milliseconds(delay) if delay else 0,
            percent=of.percent or 100,
            times=self.times or 0,
        )

    def told(self) -> str:
        """For a person."""
        rule = self.rule()
        does = {
            rules.RESPOND: f"answers {rule.status}",
            rules.STATUS: f"fails with {rule.status}",
            rules.RESET: "resets the connection",
            rules.TIMEOUT: "leaves it without an answer",
            rules.DELAY: "lets it wait",
        }[rule.effect]
        after = f" after {rule.delay_ms} ms" if rule.delay_ms else ""
        often = f", {rule.percent} % of them" if rule.percent < 100 else ""
        times = f", {rule.times} times" if rule.times else ""
        which = f"{rule.method or 'any method'} {rule.path or 'any path'}"
        return f"{self.name}: {which}: {does}{after}{often}{times}"


def checked_stubs(stubs: tuple[Stub, ...]) -> tuple[Stub, ...]:
    """Raises ValueError for one that can never be applied."""
    before: list[Stub] = []
    for stub in stubs:
        for other in before:
            if other.name == stub.name:
                raise ValueError(f"stub {stub.name} stands twice: each has a name of its own")
            if _takes_all_of(other, stub):
                raise ValueError(f"stub {stub.name} can never match: {other.name} before it takes all of its requests")
        before.append(stub)
    return stubs


def _takes_all_of(first: Stub, second: Stub) -> bool:
    if first.place != second.place or first.times is not None or first.rule().percent < 100:
        return False
    wide, narrow = first.match or StubMatch(), second.match or StubMatch()
    method = wide.method is None or wide.method == narrow.method
    path = wide.path in (None, "/*", narrow.path)
    return method and path and (wide.headers or {}).items() <= (narrow.headers or {}).items()


def rules_of(stubs: Iterable[Stub] | None) -> tuple[Rule, ...]:
    """All of a sandbox, as its sidecars are told them."""
    return tuple(stub.rule() for stub in stubs or ())


def rules_of_hosts(stubs: Iterable[Stub] | None) -> tuple[Rule, ...]:
    """Those that the sidecar of a shadow applies from its first call on: it is started with them."""
    return tuple(rule for rule in rules_of(stubs) if rule.host)

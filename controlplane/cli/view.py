"""What a command shows of the registry's answers, read from their JSON.

The models in `controlplane.model` say the same with all their checks, and take longer to import than a command may
run; the registry has checked already. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from controlplane.cli.output import Output, Row
from controlplane.terminal import Text
from proxy.base.text import one_line, printable

PENDING, READY, DEGRADED, FAILED, SLEEPING = "Pending", "Ready", "Degraded", "Failed", "Sleeping"
KNOWN = "WorkloadsKnown"
SETTLED = frozenset({READY, DEGRADED, FAILED, SLEEPING})

_PHASE_STYLES = {
    READY: "green",
    PENDING: "yellow",
    DEGRADED: "red",
    FAILED: "bold red",
    SLEEPING: "cyan",
    "Deleting": "dim",
}


class Fork(NamedTuple):
    workload: str
    state: str
    revision: int
    endpoints: list[str]
    message: str
    digest: str = ""
    built: datetime | None = None
    others: Sequence[str] = ()


class Condition(NamedTuple):
    type: str
    status: str
    message: str


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One sandbox as it is told.

    document: all that the registry said.
    phase:    Pending where it has not said anything yet.
    expires:  None likewise.
    """

    document: dict[str, Any]
    name: str
    key: str
    labels: dict[str, str]
    owner: str
    description: str
    workloads: list[str]
    phase: str
    revision: int
    expires: datetime | None
    forks: list[Fork]
    conditions: list[Condition]

    def reason(self) -> str:
        """Why it is not Ready, in one line, "" when it is or nothing is known."""
        told = [item.message for item in self.conditions if item.type == READY and item.status != "True"]
        return one_line(told[0].partition("\n")[0]) if told else ""

    def unknown(self) -> str:
        """Which of its workloads nobody knows, in one line; "" when all are known."""
        told = [item.message for item in self.conditions if item.type == KNOWN and item.status == "False"]
        return one_line(told[0]) if told else ""

    def label_text(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in sorted(self.labels.items()))

    def styled_phase(self) -> Text:
        return Text(self.phase, _PHASE_STYLES.get(self.phase, ""))

    def show(self, output: Output) -> None:
        revision = f", revision {self.revision}, expires {left(self.expires)}" if self.expires else ""
        output.say(Text(f"sandbox {self.name} is ").append(self.styled_phase()).append(f"{revision}, key {self.key}"))
        for told, text in (("owner", self.owner), ("description", self.description), ("labels", self.label_text())):
            if text:
                output.say(f"{told}: {printable(text)}")
        if self.forks:
            started = any(fork.digest for fork in self.forks)
            columns = ["fork", "state", "revision", *(["build"] if started else []), "endpoints"]
            output.table(columns, [_row(fork, started=started) for fork in self.forks])
        for fork in self.forks:
            if fork.message:
                output.say(f"{fork.workload}: {printable(fork.message)}", "red")
        for line in self._remarks():
            output.say(line, "yellow")

    def _remarks(self) -> Iterator[str]:
        """What is not as it should be and no fork has said, and who else is at work."""
        for fork in self.forks:
            if fork.others:
                yield f"{fork.workload} is also forked by {', '.join(fork.others)}: each serves its own routing key"
        for item in self.conditions:
            told = item.type != READY or self.phase in {PENDING, SLEEPING}
            if told and item.status != "True" and item.message:
                yield f"{item.type} is {item.status}: {printable(item.message)}"


def read_sandbox(document: Any) -> Sandbox:
    """Raises KeyError, TypeError, ValueError or AttributeError for what is no sandbox."""
    metadata, spec, status = document["metadata"], document["spec"], document.get("status") or {}
    name = metadata["name"]
    return Sandbox(
        document=document,
        name=name,
        key=spec.get("routingKey") or name,
        labels=dict(metadata.get("labels") or {}),
        owner=metadata.get("owner") or "",
        description=metadata.get("description") or "",
        workloads=[fork["workload"] for fork in spec["forks"]],
        phase=status.get("phase", PENDING),
        revision=status.get("revision", 0),
        expires=_moment(status.get("expires")),
        forks=[
            Fork(
                item["workload"],
                item["state"],
                item["revision"],
                list(item.get("endpoints", ())),
                item.get("message", ""),
                item.get("digest") or "",
                _moment(item.get("built")),
                tuple(map(_other, item.get("alsoForkedBy", ()))),
            )
            for item in status.get("forks", ())
        ],
        conditions=[
            Condition(item["type"], item["status"], item.get("message", "")) for item in status.get("conditions", ())
        ],
    )


def _other(item: Any) -> str:
    """`agent-7 (ada)`."""
    owner = item.get("owner")
    return printable(f"{item['sandbox']} ({owner})" if owner else item["sandbox"])


def left(moment: datetime) -> str:
    """`in 3h 59m`, rounded down; two units say enough."""
    seconds = int((moment - datetime.now(UTC)).total_seconds())
    return f"in {_span(seconds)}" if seconds > 0 else "now"


def ago(moment: datetime) -> str:
    """`3h 59m ago`."""
    seconds = int((datetime.now(UTC) - moment).total_seconds())
    return f"{_span(seconds)} ago" if seconds > 0 else "now"


def _span(seconds: int) -> str:
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{name}")
    return " ".join(parts[:2])


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _row(fork: Fork, *, started: bool) -> Row:
    good = fork.state == "ready" and not fork.message
    style = "green" if good else "yellow" if fork.state == "pending" else "red"
    written = f", written {ago(fork.built)}" if fork.built else ""
    build = [f"{fork.digest}{written}" if fork.digest else "-"] if started else []
    return [fork.workload, Text(fork.state, style), str(fork.revision), *build, ", ".join(fork.endpoints)]

"""What a command reads of a sandbox is what the model writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.cli.view import SETTLED, Condition, Fork, left, read_sandbox
from controlplane.model.observed import Copy, Setback
from controlplane.model.record import created
from controlplane.model.sandbox import SETTLED as SETTLED_PHASES
from controlplane.model.sandbox import Sandbox, parse_sandbox

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)

DOCUMENT = {
    "apiVersion": "skycap.dev/v1alpha1",
    "kind": "Sandbox",
    "metadata": {"name": "a"},
    "spec": {"forks": [{"workload": "b/c", "command": ["d"]}, {"workload": "b/e", "endpoints": ["127.0.0.1:9"]}]},
}


def told(sandbox: Sandbox) -> dict[str, object]:
    return sandbox.document()


def test_every_field_of_an_answer() -> None:
    record = created("a", parse_sandbox(DOCUMENT).spec, NOW, 3600)
    fork = record.forks[0].fork
    step = record.started(Copy(revision=1, fork=fork, endpoints=("127.0.0.1:1",), handle={}), NOW)
    assert step is not None
    step = step.not_started("b/e", Setback(revision=1, message="no", log="why"), NOW)
    assert step is not None
    found = read_sandbox(told(step.sandbox()))
    assert (found.name, found.key, found.phase, found.revision) == ("a", "a", "Failed", 1)
    assert found.expires == NOW + timedelta(hours=1)
    assert found.workloads == ["b/c", "b/e"]
    assert found.forks == [
        Fork("b/c", "ready", 1, ["127.0.0.1:1"], ""),
        Fork("b/e", "failed", 1, [], "revision 1: no\nwhy"),
    ]
    assert found.conditions[0] == Condition("Ready", "False", "b/e revision 1: no\nwhy")
    assert found.reason() == "b/e revision 1: no"


def test_what_is_not_settled_says_what_it_waits_for() -> None:
    found = read_sandbox(told(created("a", parse_sandbox(DOCUMENT).spec, NOW, 3600).sandbox()))
    assert found.reason() == "b/c: revision 1 is being started; b/e: revision 1 is being started"


def test_a_sandbox_of_which_nothing_is_said() -> None:
    found = read_sandbox(told(parse_sandbox(DOCUMENT)))
    assert (found.phase, found.revision, found.expires, found.forks, found.reason()) == ("Pending", 0, None, [], "")


def test_the_settled_phases_are_those_of_the_model() -> None:
    assert {phase.value for phase in SETTLED_PHASES} == SETTLED


@pytest.mark.parametrize("document", [None, [], {}, {"metadata": {}}, {"metadata": {"name": "a"}, "spec": []}, "text"])
def test_what_is_no_sandbox(document: object) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        read_sandbox(document)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "now"), (59, "in 5\\ds"), (3600, "in 59m 5\\ds"), (86400 * 3, "in 2d 23h")],
)
def test_what_is_left(seconds: int, said: str) -> None:
    import re

    assert re.fullmatch(said, left(datetime.now(UTC) + timedelta(seconds=seconds)))

from __future__ import annotations

from typing import Any

import pytest

from controlplane.model.problem import DocumentError
from controlplane.model.sandbox import (
    Capture,
    Sandbox,
    parse_sandbox,
    ttl_seconds,
)
from controlplane.model.whole import MAX_FORKS
from controlplane.model.workload import MAX_ARGUMENTS, MAX_TEXT, MAX_VARIABLES
from proxy.contract.routes import MAX_ENDPOINTS, OnUnavailable
from tests.controlplane.sandboxes import USERS, document, fork


def problems(given: object, name: str | None = None) -> dict[str, str]:
    """path -> message of everything that is wrong."""
    with pytest.raises(DocumentError) as raised:
        parse_sandbox(given, name)
    return {item.path: item.message for item in raised.value.problems}


def process(**fields: Any) -> dict[str, Any]:
    return {"workload": USERS, "command": ["python", "users.py"]} | fields


def test_the_defaults() -> None:
    sandbox = parse_sandbox(document())
    assert sandbox.name == sandbox.routing_key == "agent-42"
    assert sandbox.spec.on_unavailable is OnUnavailable.ERROR
    assert sandbox.spec.capture is Capture.ERRORS
    assert sandbox.spec.ttl is None
    assert sandbox.spec.forks[0].launcher == "static"


def test_everything_that_can_be_said() -> None:
    given = document(
        "a",
        process(env={"FEATURE_X": "1", "EMPTY": ""}),
        fork("shop/cart", endpoints=["[::1]:80", "cart.internal:8080"]),
        routingKey="Team.A_1",
        ttl="30m",
        onUnavailable="baseline",
        capture="all",
    )
    sandbox = parse_sandbox(given, "a")
    assert sandbox.routing_key == "Team.A_1"
    assert [item.launcher for item in sandbox.spec.forks] == ["process", "static"]
    assert sandbox.document() == given


def test_the_written_form_reads_back_as_the_same_sandbox() -> None:
    sandbox = parse_sandbox(document("a", process(env={"A": "1"}), fork("shop/cart"), ttl="4h"))
    assert parse_sandbox(sandbox.document()) == sandbox
    assert Sandbox.model_validate_json(sandbox.model_dump_json(by_alias=True)) == sandbox


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("4h", 14400), ("7d", 604800)])
def test_ttls(text: str, seconds: int) -> None:
    assert ttl_seconds(text) == seconds
    assert parse_sandbox(document(ttl=text)).spec.ttl == text


@pytest.mark.parametrize(
    "text", ["", "4", "h", "0s", "-1h", "+4h", "1.5h", "4 h", "4H", "4h\n", "٤h", "1h30m", "1" * 12 + "s"]
)
def test_what_is_no_ttl(text: str) -> None:
    assert "spec.ttl" in problems(document(ttl=text))


def test_a_ttl_has_a_limit() -> None:
    assert problems(document(ttl="91d")) == {"spec.ttl": "'91d' is longer than 90d"}
    parse_sandbox(document(ttl="90d"))


def test_every_problem_at_once_each_with_its_path() -> None:
    given: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Sandbx",
        "metadata": {"name": "A_b", "label": {}},
        "extra": 1,
        "spec": {
            "routingKey": "a b",
            "routing_key": "x",
            "ttl": "4x",
            "capture": "some",
            "onUnavailable": "panic",
            "previews": [{"name": "web", "workload": "shop/frontend"}],
            "forks": [
                {"workload": "shop", "endpoints": ["127.0.0.1:80", "169.254.169.254:80", "nowhere"]},
                {"workload": "shop/a", "comand": ["x"]},
                {"workload": "shop/b", "command": ["x"], "endpoints": ["127.0.0.1:80"]},
                {"workload": "shop/c", "image": "users:1"},
                {"workload": "shop/c", "endpoints": ["127.0.0.1:80"], "env": {"A": "1"}},
                {"workload": "shop/d", "command": [], "env": {"A B": "1", "C": 2}},
                "shop/e",
            ],
        },
    }
    found = problems(given, "other")
    assert found == {
        "apiVersion": "'v1' is not 'skycap.dev/v1alpha1'",
        "kind": "'Sandbx' is not 'Sandbox'",
        "metadata.name": "'A_b' is not a DNS label (1 to 63 characters of a-z, 0-9 and -, none of them - at an end)",
        "metadata.label": "unknown field (did you mean 'labels'?)",
        "extra": "unknown field",
        "spec.routingKey": "'a b' is not 1 to 63 characters of A-Za-z0-9._-",
        "spec.routing_key": "unknown field (did you mean 'routingKey'?)",
        "spec.ttl": "'4x' is not a number with a unit: 90s, 30m, 4h or 7d",
        "spec.capture": "'some' is none of 'none', 'errors' or 'all'",
        "spec.onUnavailable": "'panic' is none of 'error' or 'baseline'",
        "spec.forks[0].workload": "'shop' is not NAMESPACE/NAME, each a DNS label",
        "spec.forks[0].endpoints[1]": "'169.254.169.254:80' is link-local, where no shadow may be",
        "spec.forks[0].endpoints[2]": "'nowhere' is not HOST:PORT with a port from 1 to 65535",
        "spec.forks[1].comand": "unknown field (did you mean 'command'?)",
        "spec.forks[1]": "says nothing that could start a shadow: give command, env, image or endpoints",
        "spec.forks[2]": "has both command and endpoints: say one, it decides how the shadow is started",
        "spec.forks[4].workload": "repeats spec.forks[3]: one fork per workload",
        "spec.forks[4]": "has both env and endpoints: say one, it decides how the shadow is started",
        "spec.forks[5].command": "must have at least 1 of them",
        "spec.forks[5].env['A B']": "'A B' is not the name of an environment variable",
        "spec.forks[5].env.C": "must be text, not a number",
        "spec.forks[6]": "must be an object, not text",
    }


@pytest.mark.parametrize("given", [None, 1, "x", [], [document()]])
def test_what_is_no_object(given: object) -> None:
    assert list(problems(given)) == [""]


@pytest.mark.parametrize(
    ("broken", "path"),
    [
        ({}, "spec"),
        ({"spec": None}, "spec"),
        ({"spec": {}}, "spec.forks"),
        ({"spec": {"forks": []}}, "spec.forks"),
        ({"spec": {"forks": {}}}, "spec.forks"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {}}, "metadata.name"),
        ({"metadata": {"name": None}}, "metadata.name"),
    ],
)
def test_parts_that_are_missing_or_of_the_wrong_kind(broken: dict[str, Any], path: str) -> None:
    whole = document() if "spec" not in broken and broken else {**document(), "spec": None}
    assert path in problems({**whole, **broken})


def test_the_name_must_be_the_one_of_the_path() -> None:
    assert problems(document("b"), "a") == {"metadata.name": "'b' is not 'a', as the path says"}
    parse_sandbox(document("a"), "a")


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a.b", "a_b", "a" * 64, "a\n", "ä"])
def test_names_are_dns_labels(name: str) -> None:
    assert "metadata.name" in problems(document(name))


@pytest.mark.parametrize("key", ["", "a b", "a/b", "a" * 64, "a\n", "ä", "a,b"])
def test_what_is_no_routing_key(key: str) -> None:
    assert "spec.routingKey" in problems(document(routingKey=key))


def test_limits() -> None:
    many = [fork(f"shop/s{index}") for index in range(MAX_FORKS)]
    parse_sandbox(document("a", *many))
    assert problems(document("a", *many, fork("shop/more"))) == {"spec.forks": f"has more than {MAX_FORKS} entries"}
    too_many = ["127.0.0.1:80"] * (MAX_ENDPOINTS + 1)
    assert problems(document("a", fork(endpoints=too_many))) == {
        "spec.forks[0].endpoints": f"has more than {MAX_ENDPOINTS} entries"
    }
    wordy = process(command=["x"] * (MAX_ARGUMENTS + 1))
    assert problems(document("a", wordy)) == {"spec.forks[0].command": f"has more than {MAX_ARGUMENTS} entries"}
    long = process(command=["x" * (MAX_TEXT + 1)])
    assert problems(document("a", long)) == {"spec.forks[0].command[0]": f"has more than {MAX_TEXT} characters"}
    crowded = process(env={f"V{index}": "" for index in range(MAX_VARIABLES + 1)})
    assert problems(document("a", crowded)) == {"spec.forks[0].env": f"has more than {MAX_VARIABLES} entries"}


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_no_process_can_be_given(text: str) -> None:
    found = problems(document("a", process(command=[text], env={"A": text})))
    assert list(found) == ["spec.forks[0].command[0]", "spec.forks[0].env.A"]


@pytest.mark.parametrize(
    ("fields", "launcher"),
    [
        ({"command": ["x"], "env": {"A": "1"}}, "process"),
        ({"endpoints": ["127.0.0.1:80"]}, "static"),
        ({"image": "users:1"}, "kubernetes"),
        ({"image": "users:1", "command": ["x"], "env": {"A": "1"}}, "kubernetes"),
    ],
)
def test_its_fields_choose_the_launcher(fields: dict[str, Any], launcher: str) -> None:
    made = parse_sandbox(document("a", {"workload": "shop/users", **fields}))
    assert made.spec.forks[0].launcher == launcher


def test_only_endpoints_can_be_out_of_reach() -> None:
    assert not parse_sandbox(document("a", fork(reachable=False))).spec.forks[0].dialled
    assert problems(document("a", process(reachable=False))) == {
        "spec.forks[0].reachable": "needs endpoints: a shadow that we start is always reached"
    }


def test_an_image_and_endpoints_cannot_both_say_who_answers() -> None:
    assert problems(document("a", fork(image="users:1"))) == {
        "spec.forks[0]": "has both image and endpoints: say one, it decides how the shadow is started"
    }


def test_no_previews_are_no_problem() -> None:
    parse_sandbox(document(previews=[]))


@pytest.mark.parametrize("status", [None, {}, {"phase": "Ready", "revision": False, "new": [1]}])
def test_a_status_that_comes_back_changes_nothing(status: object) -> None:
    assert parse_sandbox(document() | {"status": status}) == parse_sandbox(document())


def test_a_status_is_an_object() -> None:
    assert problems(document() | {"status": "Ready"}) == {"status": "must be an object, not text"}

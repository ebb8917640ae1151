"""The commands that talk to a registry, against a real one, with a real sidecar that watches it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from controlplane.cli.sandbox import behind
from proxy.base.programs import program
from tests.controlplane.cli.conftest import Origin, Skycap, authorized, end

WAIT_SECONDS = 20

SANDBOX = """
apiVersion: skycap.dev/v1alpha1
kind: Sandbox
metadata: {name: NAME}
spec:
  routingKey: key-of-NAME
  ttl: 1h
  forks:
  - {workload: shop/users, endpoints: ["127.0.0.1:9102"], reachable: false}
"""


FORK = 'BASELINE, command: ["true"]CWD'


@pytest.fixture
def sidecar(registry: str) -> Iterator[str]:
    """A sidecar of shop/users that watches the registry and is in sync; its inbound HOST:PORT."""
    with socket.socket() as inbound, socket.socket() as admin:
        inbound.bind(("127.0.0.1", 0))
        admin.bind(("127.0.0.1", 0))
        ports = [item.getsockname()[1] for item in (inbound, admin)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SKYCAP_")}
    command = [*program("proxy"), "--workload", "shop/users", "--registry", registry]
    command += ["--inbound", f"127.0.0.1:{ports[0]}=127.0.0.1:9", "--admin", f"127.0.0.1:{ports[1]}"]
    process = subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while not any(
            item["inSync"]
            for item in requests.get(f"{registry}/v1/sidecars", headers=authorized(registry), timeout=5).json()["items"]
        ):
            assert time.monotonic() < deadline, "the sidecar did not get into sync"
            assert process.poll() is None
        yield f"127.0.0.1:{ports[0]}"
    finally:
        end(process)


@pytest.fixture
def applied(registry: str, name: str, skycap: Skycap, tmp_path: Path) -> str:
    """The name of a sandbox with one static fork of shop/users."""
    file = tmp_path / "sandbox.yaml"
    file.write_text(SANDBOX.replace("NAME", name))
    ended = skycap("sandbox", "apply", "-f", str(file), "--registry", registry)
    assert ended.code == 0, ended.err
    return name


def test_apply_from_a_file_then_wait_and_get(registry: str, applied: str, skycap: Skycap) -> None:
    users = {"workload": "shop/users", "address": "127.0.0.1:9"}
    place = f"{registry}/v1/workloads/shop/users"
    requests.put(place, json=users, headers=authorized(registry), timeout=5).raise_for_status()
    waited = skycap("sandbox", "wait", applied, "--registry", registry)
    assert (waited.code, waited.err) == (0, "")
    lines = skycap("sandbox", "get", applied, "--registry", registry).out.splitlines()
    assert re.fullmatch(
        rf"sandbox {applied} is Ready, revision 1, expires in 59m \d+s, key key-of-{applied}", lines[0]
    )  # fmt: skip
    assert [line.split() for line in lines[1:3]] == [
        ["FORK", "STATE", "REVISION", "ENDPOINTS"],
        ["shop/users", "ready", "1", "127.0.0.1:9102"],
    ]
    unseen = "nobody dials the endpoints of shop/users, as its fork asks (`reachable: false`)"
    assert lines[3:] == [
        "RoutesInForce is Unknown: no sidecar was connected when the routes changed: shop/users",
        f"EndpointsReachable is Unknown: {unseen}",
    ]
    requests.delete(place, headers=authorized(registry), timeout=5).raise_for_status()


def test_a_fork_of_a_workload_that_nobody_knows_is_told_by_every_view(
    registry: str, baseline: str, name: str, skycap: Skycap
) -> None:
    """Ready, and no request ever gets there: green must not be what is seen."""
    told = "nobody knows shop/bassed (did you mean shop/based?): no baseline and no sidecar, so no request is led there"
    at = ("--registry", registry)
    with socket.create_server(("127.0.0.1", 0)) as shadow:
        endpoint = f"127.0.0.1:{shadow.getsockname()[1]}"
        applied = skycap("sandbox", "apply", name, "--fork", "shop/bassed", "--endpoint", endpoint, *at)
        assert f"WorkloadsKnown is False: {told}" in applied.out
        waited = skycap("sandbox", "wait", name, "--timeout", "20", *at)
        assert waited.code == 6
        assert f"sandbox {name} is Ready" in waited.out
        assert waited.err == f"skycap: {told} (correct spec.forks, or start its baseline or a sidecar of it)\n"
        assert f"WorkloadsKnown is False: {told}" in skycap("sandbox", "get", name, *at).out
        assert f"{name}: {told}" in "".join(skycap("sandbox", "list", *at)[1:])
        document = json.loads(skycap("sandbox", "get", name, "-o", "json", *at).out)
        found = {one["type"]: one for one in document["status"]["conditions"]}
        assert (found["WorkloadsKnown"]["status"], found["WorkloadsKnown"]["message"]) == ("False", told)
        checked = skycap("doctor", *at)
        assert checked.code == 1
        assert f"WRONG sandbox {name}: Ready, and {told}" in checked.out


def test_a_fork_where_nothing_listens_is_not_ready_until_something_does(
    registry: str, baseline: str, name: str, skycap: Skycap
) -> None:
    at = ("--registry", registry)
    with socket.socket() as shadow:
        shadow.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{shadow.getsockname()[1]}"
        skycap("sandbox", "apply", name, "--fork", baseline, "--endpoint", endpoint, *at)
        waited = skycap("sandbox", "wait", name, "--timeout", "30", *at)
        assert waited.code == 1
        assert f"nothing accepts connections at {endpoint}; it is dialled again in 1 s" in waited.out
        assert f"sandbox {name}: Failed: {baseline}: revision 1: nothing accepts" in skycap("doctor", *at).out
        shadow.listen()
        deadline = time.monotonic() + WAIT_SECONDS
        while json.loads(skycap("sandbox", "get", name, "-o", "json", *at).out)["status"]["phase"] != "Ready":
            assert time.monotonic() < deadline, "it was not noticed that something listens now"


def test_an_endpoint_that_the_registry_cannot_reach_says_so(
    registry: str, baseline: str, name: str, skycap: Skycap
) -> None:
    at = ("--registry", registry)
    skycap("sandbox", "apply", name, "--fork", baseline, "--endpoint", "192.0.2.1:9", "--no-dial", *at)
    waited = skycap("sandbox", "wait", name, "--timeout", "20", *at)
    assert waited.code == 0
    assert f"EndpointsReachable is Unknown: nobody dials the endpoints of {baseline}" in waited.out
    assert f"ok    sandbox {name}: Ready; nobody dials the endpoints of {baseline}" in skycap("doctor", *at).out


def test_apply_from_standard_input_and_json(
    registry: str, name: str, skycap: Skycap, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "in.yaml"
    file.write_text(SANDBOX.replace("NAME", name))
    monkeypatch.setenv("SKYCAP_REGISTRY", registry)
    with file.open() as standard_input:
        monkeypatch.setattr(sys, "stdin", standard_input)
        document = json.loads(skycap("sandbox", "apply", "-f", "-", "-o", "json").out)
    assert (document["kind"], document["metadata"]["name"]) == ("Sandbox", name)
    assert document["status"]["revision"] == 1
    assert json.loads(skycap("sandbox", "get", name, "-o", "json").out)["spec"] == document["spec"]


def test_apply_by_flags_with_endpoints(registry: str, name: str, skycap: Skycap) -> None:
    ended = skycap(
        "sandbox", "apply", name, "--fork", "shop/users", "--endpoint", "127.0.0.1:9102", "--endpoint", "[::1]:9102",
        "--registry", registry, "-o", "json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    fork = {"workload": "shop/users", "endpoints": ["127.0.0.1:9102", "[::1]:9102"]}
    assert json.loads(ended.out)["spec"]["forks"] == [fork]


def test_apply_by_flags_with_a_command(registry: str, baseline: str, name: str, skycap: Skycap) -> None:
    ended = skycap(
        "sandbox", "apply", name, "--fork", baseline, "--command", "python 'a b.py' --port ${PORT}",
        "--env", "A=1", "--env", "B=x=y", "--registry", registry, "-o", "json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    [fork] = json.loads(ended.out)["spec"]["forks"]
    assert fork["command"] == ["python", "a b.py", "--port", "${PORT}"]
    assert fork["env"] == {"A": "1", "B": "x=y"}


def test_a_command_runs_where_its_author_stands(
    registry: str, baseline: str, name: str, skycap: Skycap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(*more: str) -> tuple[str, str]:
        arguments = ("sandbox", "apply", name, "--fork", baseline, "--command", "true", "--registry", registry)
        ended = skycap(*arguments, "-o", "json", *more)
        assert ended.code == 0, ended.err
        return json.loads(ended.out)["spec"]["forks"][0]["cwd"], skycap(*arguments, *more).err

    worktree = tmp_path / "worktree"
    worktree.mkdir()
    monkeypatch.chdir(worktree)
    assert apply() == (str(worktree), f"skycap: {baseline} runs in {worktree}\n")
    assert apply("--cwd", "..")[0] == str(worktree / "..")
    ended = skycap("sandbox", "apply", name, "--fork", baseline, "--command", "true", "--cwd", "nowhere")
    assert (ended.code, ended.err) == (
        2,
        "skycap: Invalid value for --cwd: there is no folder nowhere (see skycap sandbox apply --help)\n",
    )


def test_a_command_in_a_file_runs_beside_the_file(
    registry: str, baseline: str, name: str, skycap: Skycap, tmp_path: Path
) -> None:
    text = SANDBOX.replace("NAME", name).replace('shop/users, endpoints: ["127.0.0.1:9102"], reachable: false', FORK)
    file = tmp_path / "sandbox.yaml"
    for said, cwd in (("", tmp_path), (", cwd: sub", tmp_path / "sub"), (", cwd: /srv", Path("/srv"))):
        file.write_text(text.replace("CWD", said).replace("BASELINE", baseline))
        ended = skycap("sandbox", "apply", "-f", str(file), "--registry", registry, "-o", "json")
        assert ended.code == 0, ended.err
        assert json.loads(ended.out)["spec"]["forks"][0]["cwd"] == str(cwd)


def test_what_flags_say_of_a_sandbox(registry: str, applied: str, skycap: Skycap, tmp_path: Path) -> None:
    file = tmp_path / "sandbox.yaml"
    said = ("--ttl", "2h", "--on-unavailable", "baseline", "--label", "team=payments", "--owner", "ada")
    arguments = ("sandbox", "apply", "-f", str(file), "--registry", registry, *said, "--description", "a\x1b[2Jtier")
    document = json.loads(skycap(*arguments, "-o", "json").out)
    assert (document["spec"]["ttl"], document["spec"]["onUnavailable"]) == ("2h", "baseline")
    assert document["metadata"]["labels"] == {"team": "payments"}
    shown = skycap("sandbox", "get", applied, "--registry", registry).out.splitlines()
    assert shown[1:4] == ["owner: ada", "description: a\\x1b[2Jtier", "labels: team=payments"]

    def listed(*more: str) -> str:
        return skycap("sandbox", "list", "--registry", registry, *more).out

    assert applied in listed("--label", "team=payments", "--owner", "ada")
    assert applied not in listed("--owner", "grace")
    assert listed("--label", "team=orders") == "there are no sandboxes of that kind\n"
    assert "OWNER" in listed()


def test_restart_makes_a_new_revision_of_the_same(
    registry: str, applied: str, sidecar: str, skycap: Skycap, tmp_path: Path
) -> None:
    def revision(*arguments: str) -> int:
        ended = skycap(*arguments, "--registry", registry, "-o", "json")
        assert ended.code == 0, ended.err
        document = json.loads(ended.out)
        assert document["spec"]["ttl"] == "1h"
        number: int = document["status"]["revision"]
        return number

    file = str(tmp_path / "sandbox.yaml")
    assert revision("sandbox", "apply", "-f", file) == 1
    assert revision("sandbox", "restart", applied) == 2
    assert revision("sandbox", "apply", "-f", file, "--restart", "--wait") == 3
    assert revision("sandbox", "restart", applied, "--workload", "shop/users") == 4
    ended = skycap("sandbox", "restart", applied, "--workload", "shop/typo", "--registry", registry)
    assert (ended.code, "'shop/typo' is no fork of this sandbox" in ended.err) == (2, True)


def test_apply_and_wait_in_one(registry: str, baseline: str, name: str, skycap: Skycap) -> None:
    arguments = ("sandbox", "apply", name, "--fork", baseline, "--command", "false", "--registry", registry)
    ended = skycap(*arguments, "--wait")
    assert ended.code == 1
    assert f"sandbox {name} is Failed" in ended.out
    assert f"skycap: sandbox {name} is Failed (skycap sandbox logs {name})\n" in ended.err


def test_a_fork_that_cannot_start_is_told_by_wait(registry: str, baseline: str, name: str, skycap: Skycap) -> None:
    skycap("sandbox", "apply", name, "--fork", baseline, "--command", "false", "--registry", registry)
    ended = skycap("sandbox", "wait", name, "--registry", registry, "--timeout", "20")
    assert ended.code == 1
    assert ended.err == f"skycap: sandbox {name} is Failed (skycap sandbox logs {name})\n"
    assert f"sandbox {name} is Failed" in ended.out
    assert "shop/based: " in ended.out


def test_every_problem_of_a_file_is_one_line(registry: str, skycap: Skycap, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(SANDBOX.replace("NAME", "Bad_Name").replace("ttl: 1h", "ttl: soon\n  colour: red"))
    ended = skycap("sandbox", "apply", "-f", str(file), "--registry", registry)
    assert (ended.code, ended.out) == (2, "")
    assert all(line.startswith("skycap: ") for line in ended.err.splitlines())
    for path in ("metadata.name", "spec.ttl", "spec.colour"):
        assert f"skycap: {file}: {path}: " in ended.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "bad.yaml:2:1: did not find expected node content, while parsing a flow node\n"),
        ("a: b\n---\nc: d\n", "holds 2 documents: one sandbox per file"),
        ("", "holds 0 documents"),
        ("- a\n", "holds no sandbox: it must be an object"),
        ("a: 2026-01-01\n", "bad.yaml:1:4: '2026-01-01' is not the same to all readers of YAML"),
        ("a: &a [*a]\n", "bad.yaml:1:8: *a stands inside of what it stands for"),
        ("[" * 600, "is nested too deeply"),
        ("\x00", "bad.yaml:1: is not text: "),
    ],
)
def test_a_file_that_is_no_sandbox(skycap: Skycap, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    ended = skycap("sandbox", "apply", "-f", str(file))
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert said in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say either -f FILE, or NAME with --fork"),
        (("a", "-f", "x.yaml"), "say either -f FILE, or NAME with --fork"),
        (("a",), "say NAME, --fork and one of --command, --image and --endpoint"),
        (("a", "--fork", "b/c", "--command", "d", "--no-dial"), "--no-dial is for --endpoint, which is not given"),
        (("a", "--fork", "b/c"), "say NAME, --fork and one of --command, --image and --endpoint"),
        (("a", "--fork", "b/c", "--command", "d", "--endpoint", "e:1"), "one of --command, --image and --endpoint"),
        (("a", "--fork", "b/c", "--command", "'"), "no closing quotation"),
        (("a", "--fork", "b/c", "--command", "d", "--env", "E"), "'E' is not NAME=VALUE"),
        (("-f", "/nowhere"), "/nowhere: cannot be read: No such file or directory"),
        (("-f", "/"), "/: cannot be read: Is a directory"),
        (("-f", "x", "--registry", "localhost:7070"), "'localhost:7070' is not http://HOST:PORT"),
        (("-f", "x", "--registry", "http://h/p"), "'http://h/p' is not http://HOST:PORT"),
        (("-f", "x", "--registry", "http://h:99999"), "'http://h:99999' is not http://HOST:PORT"),
        (("-f", "x", "--registry", "http://[::1"), "'http://[::1' is not http://HOST:PORT"),
        (("-f", "x", "--token-file", "/nowhere"), "/nowhere: No such file or directory"),
    ],
)
def test_apply_used_wrongly(skycap: Skycap, arguments: tuple[str, ...], said: str) -> None:
    ended = skycap("sandbox", "apply", *arguments)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert said in ended.err


def test_list(registry: str, applied: str, skycap: Skycap) -> None:
    rows = [line.split() for line in skycap("sandbox", "list", "--registry", registry).out.splitlines()]
    assert rows[0] == ["NAME", "KEY", "PHASE", "REVISION", "FORKS", "EXPIRES"]
    [row] = [row for row in rows if row[0] == applied]
    assert row[1] == f"key-of-{applied}"
    assert row[3:5] == ["1", "shop/users"]
    items = json.loads(skycap("sandbox", "list", "--registry", registry, "-o", "json").out)["items"]
    assert applied in [item["metadata"]["name"] for item in items]


def test_a_list_of_many_agents_is_narrowed_and_told_in_one_line_each(registry: str, name: str, skycap: Skycap) -> None:
    at = ("--registry", registry)
    told = "tries a price with\nthree decimals, which the catalogue does not know of yet"
    skycap("sandbox", "apply", name, "--fork", "shop/prices", "--endpoint", "192.0.2.1:9", "--no-dial", *at,
           "--owner", "ada", "--description", told, "--label", "team=payments", "--label", "ticket=SHOP-7")  # fmt: skip
    wanted = ["--owner", "ada", "--description", "THREE decimals"]
    wanted += ["--label", "team=payments", "--label", "ticket=SHOP-7"]
    header, row = skycap("sandbox", "list", *wanted, "--workload", "shop/prices", *at).out.splitlines()
    assert header.split() == ["NAME", "OWNER", "PHASE", "REVISION", "FORKS", "EXPIRES", "LABELS", "DESCRIPTION"]
    assert row.split()[:2] == [name, "ada"]
    assert row.endswith("team=payments, ticket=SHOP-7  tries a price with\\nthree decimals, which the catalogue d...")
    for other in (("--owner", "bob"), ("--label", "team=x"), ("--description", "four"), ("--workload", "shop/price")):
        assert skycap("sandbox", "list", *wanted, *other, *at).out == "there are no sandboxes of that kind\n"
    wrong = skycap("sandbox", "list", "--workload", "prices", *at)
    assert (wrong.code, "?workload: 'prices' is not NAMESPACE/NAME" in wrong.err) == (2, True)


def test_two_that_fork_the_same_workload_are_told_of_each_other(registry: str, name: str, skycap: Skycap) -> None:
    at = ("--registry", registry)
    fork = ("--fork", f"shop/{name[:50].rstrip('-')}", "--endpoint", "192.0.2.1:9", "--no-dial")
    alone = skycap("sandbox", "apply", name, *fork, "--owner", "ada", *at)
    assert "also forked" not in alone.out
    other = f"other-{name[:50]}".rstrip("-")
    try:
        both = skycap("sandbox", "apply", other, *fork, *at)
        assert f"{fork[1]} is also forked by {name} (ada): each serves its own routing key" in both.out
        assert f"is also forked by {other}: each serves" in skycap("sandbox", "get", name, *at).out
    finally:
        skycap("sandbox", "delete", other, *at)
    assert "also forked" not in skycap("sandbox", "get", name, *at).out


def test_delete(registry: str, applied: str, skycap: Skycap) -> None:
    ended = skycap("sandbox", "delete", applied, "--registry", registry, "-o", "json")
    assert (ended.code, json.loads(ended.out)) == (0, {"name": applied, "deleted": True})
    for command in ("get", "delete", "wait", "logs"):
        ended = skycap("sandbox", command, applied, "--registry", registry)
        assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1), command
        assert applied in ended.err


def test_logs(registry: str, baseline: str, name: str, skycap: Skycap) -> None:
    script = "import sys; print('hello\\x1b[1m'); sys.exit(3)"
    command = f'{sys.executable} -c "{script}"'
    skycap("sandbox", "apply", name, "--fork", baseline, "--command", command, "--registry", registry)
    assert skycap("sandbox", "wait", name, "--registry", registry).code == 1
    lines = skycap("sandbox", "logs", name, "--registry", registry).out.splitlines()
    assert lines[:2] == ["== shop/based, revision 1, ended", "hello\\x1b[1m"]
    [item] = json.loads(skycap("sandbox", "logs", name, "--registry", registry, "-o", "json").out)["items"]
    assert (item["workload"], item["revision"], item["log"].splitlines()[0]) == ("shop/based", 1, "hello\x1b[1m")


def test_explain(registry: str, applied: str, sidecar: str, skycap: Skycap) -> None:
    assert skycap("sandbox", "wait", applied, "--registry", registry).code == 0
    ended = skycap("explain", f"key-of-{applied}", "shop/users", "--registry", registry)
    assert ended.code == 0
    assert ended.out.startswith(f"shadow: revision 1 of sandbox '{applied}' serves shop/users at 127.0.0.1:9102\n")
    assert "in force" in ended.out
    document = json.loads(skycap("explain", "nobodys", "shop/users", "--registry", registry, "-o", "json").out)
    assert (document["decision"], document["inForce"]) == ("baseline", True)


def test_explain_of_a_workload_that_nobody_knows(registry: str, applied: str, skycap: Skycap) -> None:
    ended = skycap("explain", f"key-of-{applied}", "shop/user", "--registry", registry)
    assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
    assert ended.err.startswith("skycap: nobody knows a workload 'shop/user' (did you mean 'shop/users'?): ")
    assert "(known are: shop/users" in ended.err
    document = json.loads(skycap("explain", "k", "shop/user", "--registry", registry, "-o", "json").err)
    assert (document["code"], document["exitCode"]) == ("not-found", 3)


def test_a_refusal_in_json_is_the_registrys_own(registry: str, name: str, skycap: Skycap) -> None:
    ended = skycap("sandbox", "get", name, "--registry", registry, "-o", "json")
    document = json.loads(ended.err)
    assert (ended.code, ended.out) == (3, "")
    assert (document["status"], document["code"], document["exitCode"]) == (404, "not-found", 3)


@pytest.fixture
def definitions(registry: str) -> Iterator[Callable[..., None]]:
    """Register a baseline: put(workload, address, **fields). It is forgotten afterwards."""
    put: list[str] = []

    def register(workload: str, address: str, **fields: object) -> None:
        document: Any = {"workload": workload, "address": address, **fields}
        requests.put(
            f"{registry}/v1/workloads/{workload}", headers=authorized(registry), json=document, timeout=5
        ).raise_for_status()
        put.append(workload)

    yield register
    for workload in put:
        requests.delete(f"{registry}/v1/workloads/{workload}", headers=authorized(registry), timeout=5)


def test_doctor_of_what_is_whole(
    registry: str, sidecar: str, origin: Origin, definitions: Callable[..., None], skycap: Skycap
) -> None:
    definitions("shop/users", origin.url.removeprefix("http://"), readiness={"path": "/health"})
    good = skycap("doctor", "--registry", registry)
    assert good.err == ""
    assert good.out.splitlines()[0] == f"ok    registry: {registry} answers"
    assert "ok    shop/users: the application behind 127.0.0.1:" in good.out
    assert "ok    shop/users: its sidecar is in sync" in good.out
    assert ("GET", "/health") in [(method, path) for method, path, _, _ in origin.asked]
    assert all(name.lower() != "baggage" for _, _, fields, _ in origin.asked for name, _ in fields)


def test_doctor_looks_behind_the_sidecar(
    registry: str, sidecar: str, definitions: Callable[..., None], skycap: Skycap
) -> None:
    """The fixture's sidecar stands in front of a port where nobody listens."""
    definitions("shop/users", sidecar)
    ended = skycap("doctor", "--registry", registry)
    assert ended.code == 1
    assert (
        f"WRONG shop/users: {sidecar} accepts connections and closes them: the application behind it does not answer; "
        "see what the application wrote, and that it listens where its sidecar expects it\n"
    ) in ended.out


def test_doctor_with_a_path_tells_the_sidecar_from_the_application(
    registry: str, sidecar: str, definitions: Callable[..., None], skycap: Skycap
) -> None:
    definitions("shop/users", sidecar, readiness={"path": "/health"})
    assert (
        f"WRONG shop/users: the sidecar at {sidecar} answers, and the application behind it does not: app-unreachable; "
    ) in skycap("doctor", "--registry", registry).out


def test_doctor_says_nothing_to_what_may_not_speak_http(
    registry: str, definitions: Callable[..., None], skycap: Skycap
) -> None:
    """A request is an attack to Redis, which closes the connection and warns in its log."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as redis, socket.create_server(("127.0.0.1", 0)) as smtp:

        def listen(listener: socket.socket, greeting: bytes) -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(greeting)
                connection.settimeout(20)
                with suppress(OSError):
                    heard.append(connection.recv(100))

        threads = [threading.Thread(target=listen, args=each) for each in ((redis, b""), (smtp, b"220 hello\r\n"))]
        for thread in threads:
            thread.start()
        at, greets = (f"127.0.0.1:{each.getsockname()[1]}" for each in (redis, smtp))
        definitions("infra/redis", at)
        definitions("infra/smtp", greets)
        out = skycap("doctor", "--registry", registry).out
        for thread in threads:
            thread.join()
    assert b"".join(heard) == b""
    assert f"ok    infra/redis: {at} accepts connections; without a readiness path" in out
    assert f"ok    infra/smtp: the application behind {greets} speaks first" in out


def test_doctor_asks_whether_the_application_is_ready(
    registry: str, origin: Origin, definitions: Callable[..., None], skycap: Skycap
) -> None:
    origin.status = 503
    definitions("shop/sick", origin.url.removeprefix("http://"), readiness={"path": "/health"})
    assert "answers GET /health with 503; see what" in skycap("doctor", "--registry", registry).out


def test_doctor_dials(registry: str, definitions: Callable[..., None], skycap: Skycap) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        definitions("shop/dead", address)
        bad = skycap("doctor", "--registry", registry)
        document = json.loads(skycap("doctor", "--registry", registry, "-o", "json").out)
    assert bad.code == 1
    assert f"WRONG shop/dead: {address} cannot be reached: Connection refused; its sidecar does not" in bad.out
    assert "WRONG shop/dead: no sidecar is connected" in bad.out
    assert document["ok"] is False
    dead = [check for check in document["checks"] if check["subject"] == "shop/dead"]
    assert [check["ok"] for check in dead] == [False, False]
    assert all(check["advice"] for check in dead)


def test_doctor_tells_of_a_sandbox_that_failed(registry: str, baseline: str, name: str, skycap: Skycap) -> None:
    skycap("sandbox", "apply", name, "--fork", baseline, "--command", "false", "--registry", registry)
    skycap("sandbox", "wait", name, "--registry", registry)
    ended = skycap("doctor", "--registry", registry)
    assert ended.code == 1
    [line] = [line for line in ended.out.splitlines() if f"sandbox {name}:" in line]
    assert line.startswith(f"WRONG sandbox {name}: Failed: {baseline}: ")
    assert line.endswith(f"; see `skycap sandbox logs {name}`, then apply it again, or delete it")


@pytest.mark.parametrize("command", [("sandbox", "list", "--registry"), ("request", "k")])
def test_https_where_http_is_spoken(skycap: Skycap, origin: Origin, command: tuple[str, ...]) -> None:
    url = origin.url.replace("http://", "https://")
    ended = skycap(*command, url)
    assert (ended.code, ended.out) == (5, "")
    assert ended.err.endswith(f"{url} cannot be reached: it does not speak TLS, say http:// instead of https://\n")


def test_no_registry(skycap: Skycap) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ended = skycap("sandbox", "list", "--registry", url)
        checked = skycap("doctor", "--registry", url)
    assert (ended.code, ended.out) == (5, "")
    assert ended.err == (
        f"skycap: the registry at {url} cannot be reached: Connection refused (start it with `skycap up` or "
        "`skycap controlplane`, or say where it is with --registry)\n"
    )
    assert checked.code == 1
    assert checked.out.startswith(f"WRONG registry: the registry at {url} cannot be reached: Connection refused; ")


def test_something_else_where_the_registry_should_be(skycap: Skycap, origin: Origin) -> None:
    ended = skycap("sandbox", "list", "--registry", origin.url)
    assert (ended.code, ended.out, ended.err.count("\n")) == (5, "", 1)
    assert "does not come from a registry" in ended.err
    document = json.loads(skycap("sandbox", "list", "--registry", origin.url, "-o", "json").err)
    assert (document["code"], document["exitCode"], "status" in document) == ("not-a-registry", 5, False)


def test_the_token_goes_to_the_registry(skycap: Skycap, origin: Origin, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123\n")
    origin.body = b'{"items": []}'
    ended = skycap("sandbox", "list", "--registry", origin.url, "--token-file", str(token))
    assert (ended.code, ended.out) == (0, "there are no sandboxes\n")
    fields = {name.lower(): value for name, value in origin.asked[0][2]}
    assert fields["authorization"] == "Bearer 0123456789abcdef0123"
    token.write_text("two words")
    assert "must hold one line of visible ASCII" in skycap("sandbox", "list", "--token-file", str(token)).err


@pytest.mark.parametrize(
    ("before", "now", "come"),
    [
        ([], ["a"], ["a"]),
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], ["a", "b", "c"], ["c"]),
        (["a", "b", "c"], ["b", "c", "d", "e"], ["d", "e"]),
        (["a", "b"], ["x", "y"], ["x", "y"]),
    ],
)
def test_what_has_come_since(before: list[str], now: list[str], come: list[str]) -> None:
    assert behind(before, now) == come


def test_following_ends_with_the_sandbox(registry: str, baseline: str, name: str, skycap: Skycap) -> None:
    command = f'{sys.executable} -c "print(1)"'
    skycap("sandbox", "apply", name, "--fork", baseline, "--command", command, "--registry", registry)
    skycap("sandbox", "wait", name, "--registry", registry)
    place = f"{registry}/v1/sandboxes/{name}?wait=0s"
    deleting = threading.Timer(1.0, lambda: requests.delete(place, headers=authorized(registry), timeout=20))
    deleting.start()
    ended = skycap("sandbox", "logs", name, "--follow", "--registry", registry)
    deleting.join()
    assert (ended.code, ended.out.splitlines()[1]) == (3, "1")

"""`skycap sandbox history|changes|rollback|extend` against a real registry."""

from __future__ import annotations

import json
import re
import socket

from tests.controlplane.cli.conftest import Skycap


def apply(skycap: Skycap, registry: str, name: str, *more: str) -> None:
    ended = skycap("sandbox", "apply", name, *more, "--registry", registry)
    assert ended.code == 0, ended.err


def test_going_back_to_what_served_before(registry: str, baseline: str, name: str, skycap: Skycap) -> None:
    at = ("--registry", registry)
    with socket.create_server(("127.0.0.1", 0)) as good:
        endpoint = f"127.0.0.1:{good.getsockname()[1]}"
        apply(skycap, registry, name, "--fork", baseline, "--endpoint", endpoint, "--wait", "--owner", "ada")
        apply(
            skycap, registry, name, "--fork", baseline, "--command", "/no/such/program --help", "--ttl", "2h",
            "--owner", "ada",
        )  # fmt: skip
        assert skycap("sandbox", "wait", name, *at).code == 1

        listed = skycap("sandbox", "history", name, *at)
        header, newest, oldest = listed.out.splitlines()
        assert header.split() == ["REVISION", "APPLIED", "SERVED", "CHANGED"]
        assert newest.startswith("2 (current)")
        changed = ", ".join(f"forks[{baseline}].{field}" for field in ("endpoints", "command", "cwd")) + " and 1 more"
        assert newest.endswith(f"not yet  {changed}")
        assert re.fullmatch(r"1 +\d+s ago +yes +-|1 +now +yes +-", oldest)

        told = skycap("sandbox", "changes", name, *at).out
        assert told.startswith("revision 1 to 2\n")
        assert f"spec.forks[{baseline}].command\n  + /no/such/program --help\n" in told
        assert f"spec.forks[{baseline}].endpoints\n  - {endpoint}\n" in told
        assert "spec.ttl\n  + 2h\n" in told
        assert skycap("sandbox", "changes", name, "--from", "2", "--to", "2", *at).out == (
            "revision 2 to 2: the same spec\n"
        )

        back = skycap("sandbox", "rollback", name, "--wait", *at)
        assert (back.code, f"sandbox {name} is Ready, revision 3" in back.out) == (0, True), back
        assert "owner: ada" in back.out
        again = skycap("sandbox", "rollback", name, "--to", "3", *at)
        assert again.code == 2
        assert "revision: 3 has the same spec as the current revision 3: nothing to go back to" in again.err
        document = json.loads(skycap("sandbox", "history", name, "-o", "json", *at).out)
        assert [(item["revision"], item["served"]) for item in document["items"]] == [(3, True), (2, False), (1, True)]


def test_living_longer(registry: str, baseline: str, name: str, skycap: Skycap) -> None:
    at = ("--registry", registry)
    apply(skycap, registry, name, "--fork", baseline, "--endpoint", "192.0.2.1:9", "--no-dial", "--ttl", "1h")
    said = skycap("sandbox", "extend", name, "2h", *at)
    assert (said.code, re.fullmatch(rf"sandbox {name} expires in 2h 59m\n", said.out) is not None) == (0, True)
    wrong = skycap("sandbox", "extend", name, "tomorrow", *at)
    assert wrong.code == 2
    assert "ttl: 'tomorrow' is not a number with a unit: 90s, 30m, 4h or 7d" in wrong.err
    for command in (("extend", "nobody", "2h"), ("history", "nobody"), ("changes", "nobody"), ("rollback", "nobody")):
        assert skycap("sandbox", *command, *at).code == 3

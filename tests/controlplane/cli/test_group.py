"""`skycap group` against a real registry."""

from __future__ import annotations

import json

from tests.controlplane.cli.conftest import Skycap


def test_two_sandboxes_under_one_key(registry: str, name: str, skycap: Skycap) -> None:
    at = ("--registry", registry)
    second = f"x{name}"[:60].rstrip("-")
    for sandbox, workload, port in ((name, "shop/one", 1), (second, "shop/two", 2)):
        fork = ("--fork", workload, "--endpoint", f"192.0.2.1:{port}", "--no-dial")
        assert skycap("sandbox", "apply", sandbox, *fork, *at).code == 0
    assert skycap("group", "list", *at).out == "there are no route groups\n"
    made = skycap("group", "apply", "together", name, second, "--key", "both", "--owner", "ada", *at)
    assert (made.code, made.err) == (0, "")
    first, owner, header, *rows = made.out.splitlines()
    assert (first, owner) == ("route group together is Ready, key both", "owner: ada")
    assert header.split() == ["SANDBOX", "PHASE", "FORK", "ROUTE"]
    assert [(row.split()[0], row.split()[2]) for row in rows] == [(name, "shop/one"), (second, "shop/two")]
    assert skycap("explain", "both", "shop/two", *at).out.count(second)
    seen = skycap("group", "traffic", "together", *at)
    assert (seen.code, seen.out) == (0, "no request with its key was seen yet, or none that matches\n")
    judged = skycap("group", "feedback", "together", *at)
    assert (judged.code, judged.out.count("no request with the key 'both' was seen")) == (1, 2)
    nobody = skycap("group", "traffic", "other", *at)
    assert (nobody.code, "there is no route group 'other'" in nobody.err) == (3, True)

    fork = ("--fork", "shop/one", "--endpoint", "192.0.2.1:3", "--no-dial")
    assert skycap("sandbox", "apply", second, *fork, *at).code == 0
    told = skycap("group", "get", "together", *at).out
    assert f"{name} and {second} both fork shop/one, and nobody can say which is meant" in told
    refused = skycap("group", "apply", "other", name, second, *at)
    assert (refused.code, "spec.members: " in refused.err) == (2, True)
    listed = json.loads(skycap("group", "list", "-o", "json", *at).out)["items"]
    assert [item["metadata"]["name"] for item in listed] == ["together"]

    assert skycap("group", "delete", "together", *at).out == "route group together is deleted\n"
    assert skycap("group", "get", "together", *at).code == 3
    skycap("sandbox", "delete", second, *at)

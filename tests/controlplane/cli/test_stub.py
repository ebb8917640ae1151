"""`skycap sandbox stub`, against a real registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.controlplane.cli.conftest import Skycap


@pytest.fixture
def own(registry: str, name: str, monkeypatch: pytest.MonkeyPatch, skycap: Skycap) -> str:
    """A sandbox that forks shop/users."""
    monkeypatch.setenv("SKYCAP_REGISTRY", registry)
    made = skycap("sandbox", "apply", name, "--fork", "shop/users", "--endpoint", "127.0.0.1:9102", "--no-dial")
    assert made.code == 0, made.err
    return name


def test_a_stub_is_set_shown_replaced_and_ended(own: str, skycap: Skycap, tmp_path: Path) -> None:
    (tmp_path / "body").write_text("sold out")
    first = skycap(
        "sandbox", "stub", "set", own, "no-stock", "--workload", "shop/users", "--method", "GET", "--path", "/items/*",
        "--when", "x-tenant=blue", "--respond", "404", "--body", f"@{tmp_path}/body", "--header", "x-a=b",
        "--delay", "250ms", "--times", "2", "-o", "json",
    )  # fmt: skip
    assert first.code == 0, first.err
    assert json.loads(first.out)["items"] == [
        {
            "name": "no-stock",
            "workload": "shop/users",
            "match": {"method": "GET", "path": "/items/*", "headers": {"x-tenant": "blue"}},
            "respond": {"status": 404, "headers": {"x-a": "b"}, "body": "sold out", "delay": "250ms"},
            "times": 2,
        }
    ]
    second = skycap(
        "sandbox", "stub", "set", own, "bank", "--host", "api.bank.example", "--delay", "2s", "--percent", "50"
    )
    assert second.out.splitlines()[1:] == [
        "no-stock  shop/users        GET /items/* x-tenant=blue  answers 404 after 250ms  2",
        "bank      api.bank.example  all                         waits 2s, 50 %",
    ]
    replaced = skycap("sandbox", "stub", "set", own, "no-stock", "--workload", "shop/users", "--fail", "503")
    assert "fails with 503" in replaced.out.splitlines()[1]
    assert "before that, stub no-stock: any method any path: fails with 503" in skycap("explain", own, "shop/users").out
    assert skycap("sandbox", "stub", "clear", own, "no-stock").out.splitlines()[1].startswith("bank ")
    assert skycap("sandbox", "stub", "set", own, "bank", "--host", "h", "--reset").out.splitlines()[1].endswith("reset")
    assert skycap("sandbox", "stub", "clear", own).out == "there are no stubs\n"
    assert skycap("sandbox", "stub", "list", own).out == "there are no stubs\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("set", "NAME", "a", "--workload", "shop/userss", "--reset"), 2, "nobody knows a workload shop/userss"),
        (("set", "NAME", "a", "--workload", "shop/users"), 2, "say one of --respond"),
        (("set", "NAME", "a", "--workload", "shop/users", "--reset", "--no-answer"), 2, "say one of --respond"),
        (("set", "NAME", "a", "--workload", "shop/users", "--reset", "--body", "x"), 2, "are for --respond"),
        (("set", "NAME", "a", "--workload", "shop/users", "--reset", "--percent", "5"), 2, "--percent is for"),
        (("set", "NAME", "a", "--workload", "shop/users", "--fail", "500", "--delay", "1s"), 2, "--delay stands alone"),
        (("set", "NAME", "a", "--reset"), 2, "stub a: say either workload or host"),
        (
            ("set", "NAME", "a", "--workload", "shop/users", "--respond", "200", "--body", "@nothing"),
            2,
            "nothing: No such",
        ),
        (("clear", "NAME", "a"), 3, "has no stub 'a' (its stubs: none)"),
        (("list", "nobody"), 3, "no sandbox 'nobody'"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(
    own: str, skycap: Skycap, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = skycap("sandbox", "stub", *(own if word == "NAME" else word for word in arguments))
    assert ended.code == code
    assert said in ended.err
    assert skycap("sandbox", "stub", "list", own).out == "there are no stubs\n"

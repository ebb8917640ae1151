"""The play looks at what came back: whatever is not as it has to be is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane.asking.answer import Answer
from controlplane.asking.served_by import Hop
from controlplane.cli.output import Output
from controlplane.demo.play import CURRENCIES, LOYALTY, TREE, Asked, Scene, _baseline, _paid, _refused
from controlplane.demo.report import Report
from controlplane.demo.stage import elsewhere, shop
from controlplane.demo.story import Story

WORDS = {"service": "payments", "error": "ada's currency must be one of EUR, not ['CHF']"}
RECEIPT = {"charged": "10.80 EUR", "tier": "gold"}


def hops(sandbox: str, revision: int, *failed: str) -> tuple[Hop, ...]:
    names = dict.fromkeys(name for name, _ in TREE)
    return tuple(
        Hop("shop/users", sandbox, revision)
        if name == "users"
        else Hop(f"shop/{name}", status=400 if name in failed else 0)
        for name in names
    )


FAILED = ("frontend", "orders", "payments")


def answer(status: int = 200, body: Any = None, **said: Any) -> Answer:
    fields: dict[str, Any] = {
        "status": status, "reason": "", "headers": (), "hops": hops(LOYALTY, 1), "malformed": "", "error": "",
        "body": json.dumps(body).encode() if body is not None else b"", "cut": False, "charset": "utf-8",
        "seconds": 0.01,
    }  # fmt: skip
    return Answer(**{**fields, **said})


paid = _paid(LOYALTY, 1, "10.80 EUR", "gold")


def test_what_has_to_be_is_no_problem() -> None:
    assert paid(answer(200, RECEIPT)) == []
    assert _refused(answer(400, WORDS, hops=hops(CURRENCIES, 1, *FAILED))) == []
    assert _baseline(answer(200, {"charged": "12.00 EUR", "tier": "standard"}, hops=())) == []


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (answer(502, RECEIPT), "status 502, not 200"),
        (answer(200, {**RECEIPT, "charged": "12.00 EUR"}), "charged is '12.00 EUR', not '10.80 EUR'"),
        (answer(200, {**RECEIPT, "tier": "standard"}), "tier is 'standard', not 'gold'"),
        (answer(200, []), "charged is None"),
        (answer(200, RECEIPT, hops=()), "skycap-served-by names nobody, not shop/frontend (baseline), "),
        (
            answer(200, RECEIPT, hops=hops(LOYALTY, 2)),
            "names shop/frontend (baseline), shop/users (sandbox loyalty, rev",
        ),
        (answer(200, RECEIPT, hops=hops(CURRENCIES, 1)), "sandbox currencies"),
        (answer(200, RECEIPT, hops=hops(LOYALTY, 1)[:-1]), "skycap-served-by names"),
        (answer(200, RECEIPT, hops=(), malformed="it is malformed"), "it is malformed"),
    ],
)
def test_a_payment_that_is_not_as_it_has_to_be(got: Answer, said: str) -> None:
    assert said in "\n".join(paid(got))


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (answer(200, RECEIPT, hops=hops(CURRENCIES, 1)), "status 200, not 400"),
        (answer(400, WORDS, error="bad-request", hops=hops(CURRENCIES, 1)), "a sidecar answered (bad-request)"),
        (answer(400, {**WORDS, "service": "users"}, hops=hops(CURRENCIES, 1)), "not the words of payments"),
        (answer(400, {"service": "payments"}, hops=hops(CURRENCIES, 1)), "not the words of payments"),
        (answer(400, WORDS), "sandbox loyalty"),
    ],
)
def test_a_refusal_that_is_not_as_it_has_to_be(got: Answer, said: str) -> None:
    assert said in "\n".join(_refused(got))


def test_an_answer_without_a_key_has_nothing_added() -> None:
    body = {"charged": "12.00 EUR", "tier": "standard"}
    got = _baseline(answer(200, body, headers=(("Skycap-Served-By", "shop/frontend;baseline"),)))
    assert got == ["Skycap-Served-By was added to an answer without a key"]


def test_the_report_fails_with_one_step(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(Output("text"), printing=True)
    report.add(Scene("the first", (), 0.25))
    report.add(Scene("the second", ("this\x1b[0m", "that"), 1.5))
    assert capsys.readouterr().out.splitlines() == [
        f"ok      {'the first':66}   0.25 s",
        f"FAILED  {'the second':66}   1.50 s",
        "        this\\x1b[0m",
        "        that",
    ]
    assert report.document() == {
        "ok": False,
        "steps": [
            {"step": "the first", "ok": True, "problems": [], "seconds": 0.25},
            {"step": "the second", "ok": False, "problems": ["this\x1b[0m", "that"], "seconds": 1.5},
        ],
    }
    assert not report.good


def test_the_story_says_what_is_not_as_it_should_be(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story(Output("text"))
    short = answer(200, RECEIPT, hops=hops(LOYALTY, 1)[:3])
    story.tell(Asked("t", ("one hop is missing",), 0.1, LOYALTY, short))
    story.told()
    text = capsys.readouterr().out
    assert "NOT AS IT SHOULD BE: t: one hop is missing" in text
    missing = [line.split()[0] for line in text.splitlines() if line.split()[1:2] == ["?"]]
    assert missing == ["orders", "payments", "rates"]  # frontend, users and catalog are named


def test_two_shops_can_run_side_by_side() -> None:
    file = shop(well_known=False)
    assert file.spec.registry.listen.endswith(":0")
    assert [service.port for service in file.spec.services] == [None] * 6
    assert elsewhere("http://127.0.0.1:7070") == ""
    assert elsewhere("http://127.0.0.1:7071") == "http://127.0.0.1:7071"

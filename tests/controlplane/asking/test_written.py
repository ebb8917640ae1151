"""Feedback as text: short, and complete where it matters."""

from __future__ import annotations

from typing import Any

from controlplane.asking.written import MAX_LINES, markdown
from tests.controlplane.asking.test_feedback import SHADOW, Chain, answer, feedback


def written(*chains: Chain, **evidence: Any) -> str:
    return markdown(feedback(*chains, **evidence).model_dump(mode="json", by_alias=True, exclude_none=True))


def test_a_failure_in_full() -> None:
    chain = (
        Chain()
        .entry("shop/front", 500, path="/checkout")
        .call("shop/front", "shop/users", 500, response=answer({"error": "boom"}), **SHADOW)
    )
    text = written(chain, output={("shop/users", 3): ["Traceback", "boom"]})
    assert (
        text
        == """\
# agent-42 revision 3: failing

shop/users (revision 3) answered GET / with 500: boom

## 1. answered

- GET /checkout -> 500 in 10 ms, shop/front (baseline)
- GET / -> 500 in 10 ms, shop/users (revision 3)

The answer was:
    {"error": "boom"}

shop/users (revision 3) printed:
    Traceback
    boom

Example: `skycap trace t`

## Routing
- requests that came in with the key: 1
- shop/users: 1 by the shadow

## Next
- push_files {"name": "agent-42", "workload": "shop/users"}: the fault is in your shop/users: mend it and push the \
change, the key stays the same
- `skycap trace t`: the whole way of one such request, with times and who served it
"""
    )


def test_it_is_never_long() -> None:
    chains = [
        Chain(f"t{number}").entry("shop/front", 500, path=f"/p{number}x", response=answer("line\n" * 500))
        for number in range(20)
    ]
    text = written(*chains, output={("shop/front", 0): ["x" * 1000] * 30})
    assert text.count("\n") <= MAX_LINES
    assert max(map(len, text.splitlines())) < 3_000
    assert "7 more kinds of failure" in text


def test_lost_keys_and_what_is_not_known() -> None:
    chain = Chain().entry("shop/front", 200).call("shop/front", "shop/users", 200, **SHADOW).back()
    chain.out("shop/front", "catalog:80", 500, lost=True, path="/list")
    text = written(chain)
    assert "- shop/front may lose the key calling catalog:80 (GET /list): forward `baggage`" in text
    assert "- not known: catalog:80 has no sidecar" in text

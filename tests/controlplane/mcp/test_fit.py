"""Documents and texts made small: what is cut says so, and the newest lines stay."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.mcp.fit import clip, fit, size


def test_what_fits_stays_as_it_is() -> None:
    document = {"body": "x" * 100}
    assert fit(document, 200) == (document, False)


@pytest.mark.parametrize("room", [300, 1000, 5000])
def test_long_texts_and_lists_are_cut(room: int) -> None:
    document: dict[str, Any] = {
        "body": "b" * 20_000,
        "log": "old " * 5_000 + "the newest",
        "items": [{"name": f"n{number}", "text": "t" * 50} for number in range(200)],
        "status": 500,
    }
    small, cut = fit(document, room)
    assert cut
    assert size(small) <= room
    assert small["status"] == 500
    assert small["items"][0]["name"] == "n0"
    assert small["log"].endswith("the newest")
    assert "characters more)" in small["body"]


def test_lines_are_cut_at_their_beginning() -> None:
    small, _ = fit({"lines": [f"line {number} {'.' * 100}" for number in range(100)]}, 2_000)
    assert small["lines"][-1].startswith("line 99 ")


def test_a_text_is_clipped_in_bytes() -> None:
    assert clip("short", 100) == "short"
    head, tail = clip("ä" * 1_000, 200), clip("first" + "ä" * 1_000 + "last", 200, newest_last=True)
    assert len(head.encode()) <= 200
    assert head.startswith("ä")
    assert tail.endswith("last")
    assert "bytes more" in tail

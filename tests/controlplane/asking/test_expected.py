from __future__ import annotations

import pytest

from controlplane.asking.expected import Expected, parse_expected
from controlplane.asking.served_by import Hop

SHADOW = Hop("shop/users", "agent-42", 3)
BASELINE = Hop("shop/users")
OTHER = Hop("shop/cart")


@pytest.mark.parametrize(
    ("text", "hops", "said"),
    [
        ("shop/users", [OTHER, SHADOW, SHADOW], ""),
        ("shop/users@3", [SHADOW], ""),
        (
            "shop/users@4", [SHADOW],
            "shop/users was served by sandbox agent-42, revision 3, not by revision 4 of a shadow",
        ),
        ("shop/users", [SHADOW, BASELINE], "shop/users was served by baseline, not by a shadow"),
        (
            "shop/users", [Hop("shop/users", error="shadow-unreachable")],
            "shop/users was served by nobody (shadow-unreachable), not by a shadow",
        ),
        ("shop/users", [OTHER], "shop/users took no part, so a shadow of it served nothing"),
        ("shop/users@2", [], "shop/users took no part, so revision 2 of a shadow of it served nothing"),
    ],
)  # fmt: skip
def test_what_is_missing(text: str, hops: list[Hop], said: str) -> None:
    expected = parse_expected(text)
    assert expected.unmet(hops) == said
    assert str(expected) == text


@pytest.mark.parametrize(
    "text", ["users", "shop/users@", "shop/users@0", "shop/users@x", "shop/users@3@4", "Shop/users"]
)
def test_what_is_no_expectation(text: str) -> None:
    with pytest.raises(ValueError, match="is not NAMESPACE/NAME or NAMESPACE/NAME@REVISION"):
        parse_expected(text)


def test_an_expectation_without_a_revision() -> None:
    assert parse_expected("a/b") == Expected("a/b")

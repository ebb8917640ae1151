"""Templates of configuration files."""

from __future__ import annotations

import pytest

from benchmarks.template import render


def test_placeholders_are_filled_and_other_signs_stay() -> None:
    assert render("a $x @PORT@;\n# @NAME@", {"PORT": 80, "NAME": "n"}) == "a $x 80;\n# n\n"


def test_a_section_appears_once_for_each_item_with_common_values_too() -> None:
    text = "begin\n  # each hop\n  listen @PORT@ @COMMON@\n  # end\nafter"
    rendered = render(text, {"COMMON": "c"}, {"hop": [{"PORT": 1}, {"PORT": 2}]})
    assert rendered == "begin\n  listen 1 c\n  listen 2 c\nafter\n"


def test_a_section_without_items_vanishes() -> None:
    assert render("a\n# each hop\nlisten @PORT@\n# end\nb", {}) == "a\nb\n"


def test_a_placeholder_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="PORT"):
        render("listen @PORT@", {})


@pytest.mark.parametrize("text", ["# each hop\nx", "x\n# end", "# each hop\n# each other\n# end\n# end"])
def test_sections_must_open_close_and_not_nest(text: str) -> None:
    with pytest.raises(ValueError, match="section"):
        render(text, {}, {"hop": [{}]})

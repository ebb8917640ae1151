"""How long a file was when: which part of it came in a window of time."""

from __future__ import annotations

from math import inf
from pathlib import Path

from controlplane.model.copy_log import Window
from controlplane.process.logfile import MARKS, Marks, size, tail


def test_a_window_is_what_came_between_two_looks() -> None:
    marks = Marks()
    for now, length in ((0.0, 0), (1.0, 10), (2.0, 10), (3.0, 10), (4.0, 30), (5.0, 40)):
        marks.note(now, length)
    assert marks.span(Window(0.5, 0.9)) == (0, 10)
    assert marks.span(Window(1.5, 3.5)) == (10, 30)
    assert marks.span(Window(3.0, inf)) == (10, None)
    assert marks.span(Window(5.0, 9.0)) == (40, None)
    assert marks.span(Window()) == (0, None)
    marks.clear()
    assert marks.span(Window(4.0, 4.5)) == (0, None), "of what nobody knows any more rather too much is told"


def test_they_are_bounded() -> None:
    marks = Marks()
    for number in range(MARKS * 3):
        marks.note(float(number), number)
    assert len(marks._marks) == MARKS


def test_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    assert size(path) == 0
    path.write_text("one\ntwo\nthree\n")
    assert (size(path), tail(path, 9, 4), tail(path, 9, 0, 8), tail(path, 1, 0, 8)) == (
        14,
        "two\nthree",
        "one\ntwo",
        "two",
    )
    assert tail(path, 9, 99) == ""

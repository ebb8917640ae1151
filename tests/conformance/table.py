"""The corpus as a table: cases, what becomes of them, and how many differences stand explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.conformance.corpus import Case, End, Forward
from tests.conformance.differences import Reviewed

COLUMNS = ("theme", "cases", "accepted", "normalised", "opaque", "refused", "cut", "panel", "haproxy", "nginx")


def row(name: str, cases: Sequence[Case], reviewed: Mapping[tuple[str, str], Reviewed]) -> tuple[str, ...]:
    """One line: counts of cases by what happens to the worst part of them."""
    ids = {case.id for case in cases}

    def count(forward: Forward) -> int:
        return sum(case.verdict.forward is forward and case.verdict.end in _GOOD for case in cases)

    numbers = (
        len(cases),
        count(Forward.SAME),
        count(Forward.GIVEN),
        count(Forward.OPAQUE),
        sum(case.verdict.end is End.REFUSE for case in cases),
        sum(case.verdict.end is End.CUT for case in cases),
        sum(bool(case.objections) for case in cases),
        sum(peer == "haproxy" and case in ids for peer, case in reviewed),
        sum(peer == "nginx" and case in ids for peer, case in reviewed),
    )
    return (name, *map(str, numbers))


_GOOD = (End.NOTHING, End.DROP)


def table(cases: Sequence[Case], reviewed: Mapping[tuple[str, str], Reviewed]) -> str:
    """Markdown. The last three columns count explained disagreements: of panel members, of HAProxy, of nginx."""
    themes = list(dict.fromkeys(case.theme for case in cases))
    rows = [row(theme, [case for case in cases if case.theme == theme], reviewed) for theme in themes]
    rows.append(row("**all**", cases, reviewed))
    widths = [max(len(line[index]) for line in [COLUMNS, *rows]) for index in range(len(COLUMNS))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        padded = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        return f"| {first.ljust(widths[0])} | {' | '.join(padded)} |"

    rule = "|".join(["-" * (widths[0] + 2), *["-" * (width + 1) + ":" for width in widths[1:]]])
    return "\n".join([line(COLUMNS), f"|{rule}|", *map(line, rows)])

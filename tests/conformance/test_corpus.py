"""The corpus itself: every case is readable, says one thing, and says it in bytes that mean what it claims."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.conformance.corpus import CORPUS, ORIGIN, Case, CorpusError, End, Forward, Kind, load_corpus, load_theme
from tests.conformance.differences import load_reviewed
from tests.conformance.judge import own_answer_of
from tests.conformance.messages import Message
from tests.conformance.panel import MEMBERS, disagreements
from tests.conformance.play import expected_requests
from tests.conformance.table import table

CASES = load_corpus()
AUTHORITY = b"127.0.0.1:8080"

forwarded = [case for case in CASES if case.verdict.forward in (Forward.SAME, Forward.GIVEN)]


def test_there_are_several_hundred_cases_of_every_kind() -> None:
    kinds = Counter(case.kind for case in CASES)
    assert len(CASES) >= 350
    assert min(kinds[kind] for kind in Kind) >= 40
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.http")), ids=lambda path: path.stem)
def test_a_theme_reads_well(path: Path) -> None:
    cases = load_theme(path)
    assert cases
    for case in cases:
        assert re.fullmatch(r"[0-9]{4} [0-9A-Z]+(\.[0-9]+)*", case.rfc), f"{case.id}: {case.rfc}"
        assert case.why.endswith((".", "?")), case.id
    twins = [data for data, count in Counter(map(_bytes, cases)).items() if count > 1]
    assert twins == []


def _bytes(case: Case) -> tuple[object, ...]:
    return case.kind, case.client, case.origin, case.idle, case.half_close, case.origin_close


def _goes_on(case: Case) -> tuple[list[Message], bytes, list[bytes] | None]:
    """The messages that a case wants forwarded, their bytes, and the methods they answer."""
    if case.kind is Kind.RESPONSE:
        methods = [expected_requests(case, AUTHORITY)[0].method]
        data = case.expected if case.verdict.forward is Forward.GIVEN else case.origin
        messages = own_answer_of(data, methods[0])
        return messages, data[: sum(message.size for message in messages)], methods
    messages = expected_requests(case, AUTHORITY)
    data = case.fill(case.expected or case.client, AUTHORITY)
    return messages, data[: sum(message.size for message in messages)], None


def test_what_goes_on_is_as_much_as_the_verdict_counts() -> None:
    for case in forwarded:
        messages, data, _ = _goes_on(case)
        if case.kind is Kind.RESPONSE:
            assert messages, case.id
            continue
        assert len(messages) == case.verdict.count, case.id
        if case.verdict.forward is Forward.GIVEN or case.verdict.end is End.NOTHING:
            assert data == case.fill(case.expected or case.client, AUTHORITY), f"{case.id}: bytes are left over"


def test_every_parser_agrees_with_what_the_corpus_wants_forwarded() -> None:
    """Before any proxy: the verdicts themselves must not ask for something that two parsers read differently."""
    found, needless = [], []
    for case in forwarded:
        messages, data, methods = _goes_on(case)
        different = disagreements(messages, data, methods)
        found += [
            f"{case.id}: {member} {difference.text}"
            for member, difference in different.items()
            if difference.framing or member not in case.objections
        ]
        needless += [f"{case.id}: {member}" for member in case.objections if member not in MEMBERS]
    assert found == []
    assert needless == []


def test_the_origin_is_named_only_where_a_proxy_is_asked() -> None:
    assert all(case.sides == ("forward",) or case.name == "http10-missing" for case in CASES if ORIGIN in _all(case))


def _all(case: Case) -> bytes:
    return case.client + case.origin + case.expected + case.idle


def test_the_readme_shows_the_table_as_it_is() -> None:
    """`python -m tests.conformance table` prints it."""
    assert table(CASES, load_reviewed().differences) in (CORPUS / "README.md").read_text()


def test_differences_are_listed_for_cases_that_exist() -> None:
    known = {case.id for case in CASES if "inbound" in case.sides}
    assert [case for _, case in load_reviewed().differences if case not in known] == []


GOOD = "== one\nrfc: 9112 3\nwhy: It is.\nverdict: accept\n> GET / HTTP/1.1\\r\\n\n> Host: shop\\r\\n\n> \\r\\n\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD.replace("rfc: 9112 3\n", ""), "t.http:1: one has no rfc"),
        (GOOD.replace("accept", "maybe"), "t.http:1: one: 'maybe' is no verdict"),
        (GOOD.replace("/ HTTP", "\\q HTTP"), "t.http:5: \\q is no escape"),
        (GOOD.replace("/ HTTP", "\\{nobody} HTTP"), "t.http:5: \\{nobody} is no escape"),
        (GOOD.replace("shop\\r\\n", "shop "), "t.http:6: ends in white space; write \\s"),
        (GOOD + GOOD, "t.http:8: 'one' is no name of its own in this file"),
        ("> GET", "t.http:1: bytes before the first case"),
        (GOOD + "sides: left\n", "t.http:1: one: side 'left'"),
        (GOOD + "after: never\n", "t.http:1: one: after 'never'"),
        (GOOD + "= GET\n", "t.http:1: one: `normalised` and `=` lines belong together"),
        (GOOD.replace("rfc:", "kind: response\nrfc:"), "t.http:1: one: no answer of the origin"),
        (GOOD + "colour: red\n", "t.http:8: 'colour: red' is neither bytes nor one of"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "t.http"
    path.write_text(text)
    with pytest.raises(CorpusError) as caught:
        load_theme(path)
    assert str(caught.value).startswith(complaint)


def test_escapes_mean_exact_bytes(tmp_path: Path) -> None:
    path = tmp_path / "t.http"
    path.write_text(GOOD.replace("shop\\r\\n", r"\r\n\t\0\s\\\x80\(ab\x00)*3;\{origin}"))
    assert load_theme(path)[0].client.split(b"Host: ")[1] == b"\r\n\t\0 \\\x80ab\0ab\0ab\0" + ORIGIN + b"\r\n"

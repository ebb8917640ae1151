"""A report as Markdown, for a pull request. It is written from the JSON document, as feedback is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

DIFF_LINES = 200
"""Of all files together; a pull request has the whole diff anyway."""

_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~])")


def markdown(report: dict[str, Any]) -> str:
    """The whole, as `GET /v1/sandboxes/NAME/report` answered it."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: dict[str, Any]) -> Iterator[str]:
    verdict = report["verdict"]
    yield f"## Sandbox `{_code(report['sandbox'])}`, revision {report['revision']}: {verdict}"
    yield ""
    if report.get("description"):
        yield _plain(report["description"])
        yield ""
    yield f"{_plain(report['summary'])}"
    if report.get("note"):
        yield ""
        yield f"**What to look at:** {_plain(report['note'])}"
    yield ""
    yield "### What changed"
    yield ""
    yield from _changes(report.get("changes", []))
    yield "### Evidence"
    yield ""
    evidence = report.get("evidence", [])
    if not evidence:
        yield "Nothing was run against it, or nobody has told."
    else:
        yield "| | what was run | revision | outcome |"
        yield "|---|---|---|---|"
    for shown in evidence:
        word = "passed" if shown["passed"] else "**failed**"
        title, sentence = _cell(shown["title"]), _cell(shown.get("sentence", ""))
        yield f"| {word} | {title} | {shown['revision']} | {sentence} |"
    yield ""
    if report.get("sample"):
        yield from _sample(report["sample"])
    links = [link for link in report.get("previews", []) if link.get("url")]
    if links:
        yield "### Try it"
        yield ""
        for link in links:
            about = f"[what changed, and room for a review]({link['handoff']})"
            yield f"- {_plain(link['workload'])}: <{link['url']}> ({about})"
        yield ""
    reviews = report.get("reviews", [])
    if reviews:
        yield "### Reviews"
        yield ""
        for review in reviews:
            who = _plain(review.get("author") or "somebody")
            yield f"- {who}, on revision {review['revision']}, {review['verdict']}: {_plain(review['text'])}"
        yield ""


def _changes(changes: list[dict[str, Any]]) -> Iterator[str]:
    room = DIFF_LINES
    for change in changes:
        said = "; ".join(_plain(each) if "`" not in each else each for each in change.get("differences", []))
        yield f"- `{_code(change['workload'])}`{': ' + said if said else ''}"
        if change.get("message"):
            yield f"  - does not serve what is wanted: {_plain(change['message'])}"
        files = change.get("files", [])
        for file in files:
            yield f"  - {file['change']}: `{_code(file['path'])}`"
        for file in files:
            lines = (file.get("diff") or "").splitlines()
            if not lines:
                continue
            shown = lines[:room]
            room -= len(shown)
            fence = "`" * (max((len(run) for run in re.findall("`+", "\n".join(shown))), default=2) + 1)
            yield ""
            yield f"{fence}diff"
            yield from shown
            if len(shown) < len(lines):
                yield f"... {len(lines) - len(shown)} more lines"
            yield fence
            yield ""
    yield ""


def _sample(sample: dict[str, Any]) -> Iterator[str]:
    yield "### A request through it"
    yield ""
    yield "```"
    for hop in sample["hops"]:
        if hop["side"] == "outbound":
            continue
        who = f"revision {hop['revision']} of {hop['sandbox']}" if hop.get("sandbox") else "baseline"
        status = hop.get("status") or hop.get("error") or "no answer"
        indent = "  " * (hop["depth"] // 2)
        asked = f"{hop.get('method')} {hop.get('path')} -> {status}, {hop.get('durationMs', 0):.0f} ms"
        yield f"{indent}{hop['workload']} ({who}): {asked}"
    yield "```"
    yield ""


def _plain(text: str) -> str:
    """Foreign words as words: they mark nothing up."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    return text.replace("`", "'")


def _cell(text: str) -> str:
    return _plain(text)

"""Feedback as Markdown, for a person and for a model alike: under MAX_LINES lines, whatever happened.

It is written from the JSON document, so that the command line need not import the models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MAX_LINES = 100

FAILURES = 3
"""Written in full; the others are counted."""

REVIEWS = 5
OUTPUT_LINES = 8
BODY_LINES = 12


def markdown(feedback: dict[str, Any]) -> str:
    """The whole, as `GET /v1/sandboxes/NAME/feedback` answered it."""
    lines = [line for part in _parts(feedback) for line in part.splitlines() or [""]]
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 1], "... the rest is in the JSON form"]
    return "\n".join(lines) + "\n"


def _parts(feedback: dict[str, Any]) -> Iterator[str]:
    yield f"# {feedback['sandbox']} revision {feedback['revision']}: {feedback['verdict']}"
    yield ""
    yield feedback["summary"]
    found = feedback.get("failures", [])
    for number, failure in enumerate(found[:FAILURES], 1):
        yield ""
        times = f", {failure['count']} times" if failure["count"] > 1 else ""
        said = "" if number == 1 and feedback["summary"].startswith(failure["sentence"]) else f": {failure['sentence']}"
        yield f"## {number}. {failure['kind']}{times}{said}"
        yield from _failure(failure)
    if len(found) > FAILURES:
        yield ""
        others = "; ".join(item["sentence"] for item in found[FAILURES:])
        yield f"{len(found) - FAILURES} more kinds of failure: {others}"
    yield ""
    yield "## Routing"
    yield f"- requests that came in with the key: {feedback['routing']['requests']}"
    for fork in feedback["routing"].get("forks", []):
        elsewhere = "".join(f", {count} {reason}" for reason, count in fork.get("elsewhere", {}).items())
        yield f"- {fork['workload']}: {fork['shadow']} by the shadow{elsewhere}"
    for lost in feedback.get("lostKeys", []):
        yield f"- {lost['workload']} may lose the key calling {lost['calling']} ({lost['example']}): {lost['todo']}"
    if feedback.get("nextActions"):
        yield ""
        yield "## Next"
        for action in feedback["nextActions"]:
            how = f"`{action['command']}`" if action.get("command") else f"{action['tool']} {_arguments(action)}"
            yield f"- {how}: {action['why']}"
    for said in feedback.get("unknown", []):
        yield f"- not known: {said}"
    if feedback.get("reviews"):
        yield ""
        yield "## Reviews"
        for review in feedback["reviews"][-REVIEWS:]:
            who, words = review.get("author") or "somebody", " ".join(review["text"].split())
            yield f"- {who} on revision {review['revision']}, {review['verdict']}: {words}"


def _failure(failure: dict[str, Any]) -> Iterator[str]:
    if failure.get("chain"):
        yield ""
        for step in failure["chain"]:
            status = step["status"] or "none"
            where = f"{step['workload']} ({step['copy']})"
            yield f"- {step['method']} {step['path']} -> {status} in {step['durationMs']:.0f} ms, {where}"
    for title, message in (("request", failure.get("request")), ("answer", failure.get("response"))):
        if message and message.get("body"):
            yield ""
            yield f"The {title} was:"
            yield _quoted(message["body"], BODY_LINES)
    for printed in failure.get("output", []):
        yield ""
        yield f"{printed['workload']} ({printed['copy']}) printed:"
        yield _quoted("\n".join(printed["lines"][-OUTPUT_LINES:]), OUTPUT_LINES)
    if failure.get("example"):
        yield ""
        yield f"Example: `skycap trace {failure['example']}`"


def _quoted(text: str, limit: int) -> str:
    lines = text.splitlines()
    shown = lines[:limit] + (["..."] if len(lines) > limit else [])
    return "\n".join(f"    {line[:300]}" for line in shown)


def _arguments(action: dict[str, Any]) -> str:
    return json.dumps(action.get("arguments", {}))

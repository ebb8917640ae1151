"""A failure in one sentence: who, what was asked, how it ended, in its own words, and what others made of it."""

from __future__ import annotations

import json
from typing import Any

from controlplane.asking.compare import in_words
from controlplane.asking.printed import telling
from controlplane.model.feedback import Failure, Kind
from controlplane.model.hop import Message

QUOTED = 200
"""Characters of an answer's own words in a sentence."""

_LEFT = frozenset({"client-lost", "client-ended"})
"""Errors of a hop whose client did not wait for its answer."""

NO_SIDECAR = "no sidecar"
"""The `copy` of a step that only its caller's sidecar saw."""


def sentence(failure: Failure) -> str:
    """From everything that is known of the failure by now."""
    said = words(failure.response)
    quote = f": {said}" if said else ""
    return f"{_happened(failure, quote)}{_became(failure)}{_printed(failure)}"


def _happened(failure: Failure, quote: str) -> str:
    kind, caller = failure.kind, failure.called_by
    who = f"{failure.workload} ({failure.copy_})"
    asked = f"{failure.method} {failure.path}"
    seconds = failure.chain[-1].duration_ms / 1000 if failure.chain else 0.0
    peer = failure.chain[-1].workload if failure.chain and failure.chain[-1].copy_ == NO_SIDECAR else ""
    if kind is Kind.CONTRACT_BREAK:
        suspect = failure.suspect
        assert suspect is not None
        differs = in_words(suspect.differs)
        return (
            f"{failure.workload} failed ({failure.status}) right after your {suspect.workload} revision "
            f"{suspect.revision} answered {suspect.request} with {suspect.status}{differs and f' {differs}'}{quote}"
        )
    if kind is Kind.TIMED_OUT:
        by = f"{caller} did not wait longer" if failure.error in _LEFT else "the sidecar waited no longer"
        return f"{who} had not answered {asked} after {seconds:.1f} s, and {by}"
    if kind is Kind.CRASHED:
        return f"{who} ended its connection in the middle of {asked}"
    if kind is Kind.UNREACHABLE and peer:
        why = quote.rpartition(": ")[2]
        return f"{failure.workload} called {asked} at {peer}, where nobody accepts connections{why and f': {why}'}"
    if kind is Kind.UNREACHABLE:
        return f"{who} does not accept connections, so {asked} reached nobody{quote}"
    if kind is Kind.REFUSED:
        return f"the sidecar of {failure.workload} answered {asked} itself: {failure.error}{quote}"
    if kind is Kind.UNSEEN:
        return f"{peer or 'somebody'}, which has no sidecar, answered {asked} of {caller} with {failure.status}{quote}"
    return f"{who} answered {asked} with {failure.status}{quote}"


def _became(failure: Failure) -> str:
    """What the callers made of it, where that is another status."""
    before = failure.status
    told = []
    for step in reversed(failure.chain[:-1]):
        if step.status != before:
            told.append(f"{step.workload} ({step.copy_}) made {step.status or 'no answer at all'} of it")
        before = step.status
    return f"; {', '.join(told)}" if told else ""


def _printed(failure: Failure) -> str:
    """What the origin printed of it; where it printed nothing that looks like an error, what its callers did."""
    said = words(failure.response)
    for printed in failure.output:
        line = telling(printed.lines)
        if line and (not said or line not in said):
            return f"; {printed.workload} printed: {line}"
    return ""


def words(message: Message | None) -> str:
    """What an answer says of itself, in one line."""
    if message is None or message.body is None:
        return ""
    try:
        document = json.loads(message.body)
    except (ValueError, RecursionError):
        document = None
    line = " ".join((_told(document) or message.body).split())
    return line if len(line) <= QUOTED else line[: QUOTED - 3] + "..."


def _told(document: Any) -> str:
    """The words of an error document: RFC 9457, or what most frameworks send."""
    if not isinstance(document, dict):
        return ""
    for name in ("detail", "message", "error", "errors", "title"):
        value = document.get(name)
        if isinstance(value, dict):
            return _told(value) or json.dumps(value)
        if value:
            return value if isinstance(value, str) else json.dumps(value)
    return ""

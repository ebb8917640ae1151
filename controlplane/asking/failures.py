"""Where failures began, how, and in which words: from the trees of hops, grouped by origin.

The origin of a failure is the deepest hop that failed while everything that it called succeeded. How it failed is told
by that hop alone, except where it called a shadow that answered well right before: then the two may not agree on what
the answer says, and the shadow is the suspect.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from controlplane.hops.tree import Node, grow, origins, unseen
from controlplane.model.feedback import Failure, Kind, Step, Suspect
from controlplane.model.hop import Message
from proxy.contract.hops import INBOUND, OUTBOUND, Captured, Hop

QUOTED = 200
"""Characters of an answer's own words in a sentence."""

REDIRECTS = 10
"""Of one request by one entry, after which browsers and HTTP clients give up (curl: 50, requests: 30, Go: 10)."""

_TIMES = frozenset({"app-timeout", "client-lost"})
_CRASHES = frozenset({"upstream-reset", "cut", "bad-response"})
_NOBODY = frozenset({"app-unreachable", "shadow-unreachable"})

_CHOKED = frozenset({400, 409, 422})
"""Statuses with which a service that does not like what it was told by another refuses its own caller. The other ones
below 500 are about who asks, or what for."""

_NUMBERS = re.compile(r"(?<=/)(?:[0-9]+|[0-9a-fA-F-]{32,36})(?=/|$)")


def failures(hops: Iterable[Hop], sandbox: str) -> list[Failure]:
    """The failures among some hops, those that happened most first.

    sandbox: whose hops they are: its shadows are the ones to suspect.
    """
    grouped: dict[tuple[object, ...], list[list[Node]]] = {}
    tops = grow(hops)
    for way in origins(tops):
        grouped.setdefault(_group(way), []).append(way)
    found = [_failure(ways[-1], len(ways), sandbox) for ways in grouped.values()]
    return sorted([*found, *_redirects(tops)], key=lambda failure: -failure.count)


def copy_of(hop: Hop) -> str:
    return f"revision {hop.revision}" if hop.sandbox else "baseline"


def _group(way: Sequence[Node]) -> tuple[object, ...]:
    hop = way[-1].hop
    return hop.workload, hop.side, hop.peer, hop.revision, hop.method, _pattern(hop.path), hop.status, hop.error


def _pattern(path: str) -> str:
    """A path without what differs from one request to the next."""
    return _NUMBERS.sub("*", path.partition("?")[0])


def _failure(way: Sequence[Node], count: int, sandbox: str) -> Failure:
    origin = way[-1]
    hop = origin.hop
    suspect = _suspected(origin, sandbox)
    kind = _kind(origin, suspect)
    return Failure(
        kind=kind,
        sentence=_sentence(kind, way, suspect),
        workload=hop.workload,
        copy=copy_of(hop),
        called_by=_caller(way),
        method=hop.method,
        path=hop.path,
        status=hop.status,
        error=hop.error,
        request=_message(hop.request),
        response=_message(hop.response),
        chain=tuple(_step(node.hop) for node in way if node.hop.side == INBOUND or node is origin),
        suspect=suspect and Suspect(
            workload=suspect.workload,
            revision=suspect.revision,
            request=f"{suspect.method} {suspect.path}",
            answer=_message(suspect.response),
        ),
        count=count,
        example=hop.trace,
    )  # fmt: skip


def _kind(origin: Node, suspect: Hop | None) -> Kind:
    error = origin.hop.error
    if error in _TIMES:
        return Kind.TIMED_OUT
    if error in _CRASHES:
        return Kind.CRASHED
    if error in _NOBODY:
        return Kind.UNREACHABLE
    if error:
        return Kind.REFUSED
    if unseen(origin):
        return Kind.UNSEEN
    return Kind.CONTRACT_BREAK if suspect is not None else Kind.ANSWERED


def _suspected(origin: Node, sandbox: str) -> Hop | None:
    """The last shadow of the sandbox that answered a call of the origin, and did so well."""
    if origin.hop.side != INBOUND or not (origin.hop.status >= 500 or origin.hop.status in _CHOKED):
        return None
    for call in reversed(origin.children):
        for _, node in call.walk():
            hop = node.hop
            if (
                hop.side == INBOUND
                and hop.sandbox == sandbox
                and not hop.failed
                and hop.workload != origin.hop.workload
            ):
                return hop
    return None


def _caller(way: Sequence[Node]) -> str | None:
    """Who made the call that the last hop of a way answered, or made."""
    last = way[-1].hop
    if last.side == OUTBOUND:
        return last.workload
    callers = [node.hop for node in way[:-1] if node.hop.side == OUTBOUND]
    return callers[-1].workload if callers else None


def _step(hop: Hop) -> Step:
    workload = hop.peer if hop.side == OUTBOUND and hop.peer else hop.workload
    copy = "no sidecar" if hop.side == OUTBOUND else copy_of(hop)
    return Step(
        workload=workload, copy=copy, method=hop.method, path=hop.path, status=hop.status, duration_ms=hop.duration_ms
    )


def _sentence(kind: Kind, way: Sequence[Node], suspect: Hop | None) -> str:
    hop = way[-1].hop
    who = f"{hop.workload} ({copy_of(hop)})"
    asked = f"{hop.method} {hop.path}"
    caller = _caller(way)
    said = _words(hop.response)
    quote = f": {said}" if said else ""
    became = _became(way)
    if kind is Kind.CONTRACT_BREAK:
        assert suspect is not None
        return (
            f"{hop.workload} failed ({hop.status}) right after revision {suspect.revision} of your {suspect.workload} "
            f"answered {suspect.method} {suspect.path} with {suspect.status}{quote}{became}"
        )
    if kind is Kind.TIMED_OUT:
        by = f"{caller} did not wait longer" if hop.error == "client-lost" else "the sidecar waited no longer"
        return f"{who} had not answered {asked} after {hop.duration_ms / 1000:.1f} s, and {by}{became}"
    if kind is Kind.CRASHED:
        return f"{who} ended its connection in the middle of {asked}{quote}{became}"
    if kind is Kind.UNREACHABLE and hop.side == OUTBOUND:
        return f"{hop.workload} called {asked} at {hop.peer}, where nobody accepts connections{quote}{became}"
    if kind is Kind.UNREACHABLE:
        return f"{who} does not accept connections, so {asked} reached nobody{quote}{became}"
    if kind is Kind.REFUSED:
        return f"the sidecar of {hop.workload} answered {asked} itself: {hop.error}{quote}{became}"
    if kind is Kind.UNSEEN:
        bare = hop.peer or "somebody"
        return f"{bare}, which has no sidecar, answered {asked} of {caller} with {hop.status}{quote}{became}"
    return f"{who} answered {asked} with {hop.status}{quote}{became}"


def _became(way: Sequence[Node]) -> str:
    """What the callers made of it, where that is another status."""
    inbound = [node.hop for node in way if node.hop.side == INBOUND]
    last = way[-1].hop
    before = last.status
    told = []
    for hop in reversed(inbound[:-1] if inbound and inbound[-1] is last else inbound):
        if hop.status != before:
            made = f"{hop.status}" if hop.status else "no answer at all"
            told.append(f"{hop.workload} ({copy_of(hop)}) made {made} of it")
        before = hop.status
    return f"; {', '.join(told)}" if told else ""


def _words(captured: Captured | None) -> str:
    """What an answer says of itself, in one line."""
    if captured is None or captured.body is None:
        return ""
    text = captured.body
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    told = _told(document)
    line = " ".join((told or text).split())
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


def _message(captured: Captured | None) -> Message | None:
    if captured is None:
        return None
    return Message(
        headers=captured.headers,
        body=captured.body,
        length=captured.length,
        truncated=captured.truncated,
        omitted=captured.omitted,
    )


def _redirects(tops: Sequence[Node]) -> list[Failure]:
    """Who was asked for the same again and again, and always sent the sender elsewhere."""
    seen: dict[tuple[str, str, str], list[Hop]] = {}
    for top in tops:
        for _, node in top.walk():
            hop = node.hop
            if hop.side == INBOUND and 300 <= hop.status < 400 and hop.status != 304:
                seen.setdefault((hop.workload, hop.method, hop.path), []).append(hop)
    found = []
    for (workload, method, path), hops in seen.items():
        if len(hops) >= REDIRECTS:
            last = hops[-1]
            sentence = (
                f"{workload} ({copy_of(last)}) answered {method} {path} {len(hops)} times with {last.status}: "
                "it redirects in a circle, or its client does not follow"
            )
            found.append(
                Failure(
                    kind=Kind.REDIRECTS,
                    sentence=sentence,
                    workload=workload,
                    copy=copy_of(last),
                    method=method,
                    path=path,
                    status=last.status,
                    response=_message(last.response),
                    chain=(_step(last),),
                    count=len(hops),
                    example=last.trace,
                )
            )
    return found

"""Where failures began, how, and in which words: from the trees of hops, grouped by origin.

The origin of a failure is the deepest hop that failed while everything that it called succeeded. How it failed is told
by that hop alone, except where it called a shadow that answered well right before: then the two may not agree on what
the answer says, and the shadow is the suspect.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest

from controlplane.asking.sentence import NO_SIDECAR, sentence
from controlplane.hops.tree import Node, grow, origins, unseen
from controlplane.model.feedback import Failure, Kind, Step, Suspect
from controlplane.model.hop import Message
from proxy.contract.hops import INBOUND, OUTBOUND, Captured, Hop

AGAIN = 3
CIRCLE = 4
"""One place of a circle is asked for so often at least, and a circle has so many places at most."""

REDIRECTS = 10
"""Of one request by one entry, after which browsers and HTTP clients give up (curl: 50, requests: 30, Go: 10)."""

_TIMES = frozenset({"app-timeout", "client-lost", "client-ended"})
_CRASHES = frozenset({"upstream-reset", "cut", "bad-response"})
_NOBODY = frozenset({"app-unreachable", "shadow-unreachable", "upstream-refused"})

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
    inferred = _behind(tops)
    for way in origins(tops):
        grouped.setdefault(_group(way), []).append(way)
    found = [_failure(ways[-1], len(ways), sandbox, inferred) for ways in grouped.values()]
    return sorted([*found, *_redirects(tops)], key=lambda failure: -failure.count)


def copy_of(hop: Hop) -> str:
    return f"revision {hop.revision}" if hop.sandbox else "baseline"


def _group(way: Sequence[Node]) -> tuple[object, ...]:
    hop = way[-1].hop
    return hop.workload, hop.side, hop.peer, hop.revision, hop.method, _pattern(hop.path), hop.status, _error(hop)


def _pattern(path: str) -> str:
    """A path without what differs from one request to the next."""
    return _NUMBERS.sub("*", path.partition("?")[0])


def _behind(tops: list[Node]) -> dict[str, str]:
    """Put what began behind a service without a sidecar below the call of that service, which does not hand on whose
    call it answers: it is of the same trace, and happened meanwhile. Returns hop id -> the service, for what was put.
    """
    inferred: dict[str, str] = {}
    entries = [top for top in tops if top.hop.side == INBOUND and not top.hop.parent and top.hop.trace]
    for call in [node for top in tops for _, node in top.walk() if node.hop.failed and unseen(node)]:
        end = call.hop.time + call.hop.duration_ms / 1000
        for entry in entries:
            hop = entry.hop
            if entry in tops and hop.trace == call.hop.trace and call.hop.time <= hop.time <= end:
                tops.remove(entry)
                call.children.append(entry)
                inferred[hop.id] = call.hop.peer
    return inferred


def _failure(way: Sequence[Node], count: int, sandbox: str, inferred: Mapping[str, str]) -> Failure:
    origin = way[-1]
    hop = origin.hop
    suspect = _suspected(origin, sandbox)
    failure = Failure(
        kind=_kind(origin, suspect),
        workload=hop.workload,
        copy=copy_of(hop),
        called_by=_caller(way),
        method=hop.method,
        path=hop.path,
        status=hop.status,
        error=_error(hop),
        request=_message(hop.request),
        response=_message(hop.response),
        chain=tuple(
            _step(node.hop)
            for node, inner in zip_longest(way, way[1:])
            if _told(node, inner, inferred)
        ),
        suspect=suspect and Suspect(
            workload=suspect.workload,
            revision=suspect.revision,
            request=f"{suspect.method} {suspect.path}",
            status=suspect.status,
            shadow_answer=_message(suspect.response),
        ),
        count=count,
        example=hop.trace,
        inferred=next((inferred[node.hop.id] for node in way if node.hop.id in inferred), ""),
    )  # fmt: skip
    return failure.model_copy(update={"sentence": sentence(failure)})


def _told(node: Node, inner: Node | None, inferred: Mapping[str, str]) -> bool:
    """Whether a hop of a way is a step of its own: the last is, and each that came in, the innermost of one request; a
    call that went out where nobody told of it at its other end."""
    if inner is None:
        return True
    if node.hop.side == OUTBOUND:
        return inner.hop.id in inferred
    return inner.hop.side == OUTBOUND


def _kind(origin: Node, suspect: Hop | None) -> Kind:
    error = _error(origin.hop)
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


def _error(hop: Hop) -> str:
    """The code of an answer that a sidecar made: this one, or that of the shadow, which may end before it tells."""
    said = (value for name, value in hop.response.headers if name == "skycap-error") if hop.response else iter(())
    return hop.error or next(said, "")


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
    copy = NO_SIDECAR if hop.side == OUTBOUND else copy_of(hop)
    return Step(
        workload=workload, copy=copy, method=hop.method, path=hop.path, status=hop.status, duration_ms=hop.duration_ms,
        time=hop.time,
    )  # fmt: skip


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
    """Who sent the sender elsewhere again and again, from the same few places."""
    seen: dict[tuple[str, str], list[Hop]] = {}
    for top in tops:
        for _, node in top.walk():
            hop = node.hop
            inner = any(child.hop.side == INBOUND for child in node.children)  # both sidecars of one request tell of it
            if hop.side == INBOUND and not inner and 300 <= hop.status < 400 and hop.status != 304:
                seen.setdefault((hop.workload, hop.method), []).append(hop)
    found = []
    for (workload, method), hops in seen.items():
        places = Counter(hop.path for hop in hops)
        circle = {path for path, count in places.items() if count >= AGAIN}
        turns = [hop for hop in hops if hop.path in circle]
        if len(turns) < REDIRECTS or len(circle) > CIRCLE:
            continue
        last = turns[-1]
        said = (
            f"{workload} ({copy_of(last)}) answered {method} {' and '.join(sorted(circle))} {len(turns)} times with "
            f"{last.status}: it redirects in a circle, or its client does not follow"
        )
        found.append(
            Failure(
                kind=Kind.REDIRECTS,
                sentence=said,
                workload=workload,
                copy=copy_of(last),
                method=method,
                path=last.path,
                status=last.status,
                response=_message(last.response),
                chain=(_step(last),),
                count=len(turns),
                example=last.trace,
            )
        )
    return found

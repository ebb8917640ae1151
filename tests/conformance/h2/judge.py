"""What was seen against what the case demands. Pure: an observation in, a list of complaints out.

What a case is about is one thing. Three others hold for every case:
1. What the server got is HTTP/2 to an engine by other hands.
2. Where the connection goes on, its other streams are answered.
3. Where it ends, nothing behind the fault has reached the server, and what was under way there is given up.
"""

from __future__ import annotations

from tests.conformance.h2.corpus import REQUEST, Case
from tests.conformance.h2.origin import CONTENT
from tests.conformance.h2.play import LATER, NEIGHBOUR, Seen

AUTHORITY = REQUEST[2]


def judge(case: Case, seen: Seen) -> list[str]:
    """The complaints about one case, none when all is as it has to be."""
    found = [f"nothing came of waiting for {what}" for what in seen.stuck]
    found += [f"the client heard {fault}" for fault in seen.heard.faults]
    if seen.heard.unfinished:
        found.append(f"the client got the beginning of a frame: {seen.heard.unfinished!r}")
    if case.kind != "answer":  # where the engine has not said what the case has
        found += [f"the server got {each.malformed}" for each in seen.connections if each.malformed]
    if case.word == "goaway":
        return found + _ended(case, seen)
    if seen.heard.gone is not None or seen.closed:
        return [*found, f"the connection has ended (GOAWAY: {seen.heard.gone})"]
    verdict = {"accept": _accepted, "reset": _reset, "refuse": _refused, "cut": _cut}[case.word]
    return found + verdict(case, seen) + _others_go_on(case, seen)


def _ended(case: Case, seen: Seen) -> list[str]:
    found = []
    if seen.heard.gone != case.code:
        found.append(f"GOAWAY {case.code} should be said, not {seen.heard.gone}")
    if not seen.closed:
        found.append("the connection was left open")
    if seen.later:
        found.append("a request behind the fault has reached the server")
    under_way = [request for request in (seen.neighbour, *seen.asked) if request is not None and not request.over]
    found += [f"the server still waits for {request}" for request in under_way]
    if case.kind == "opening" and seen.connections:
        found.append("the server was called for somebody who does not speak HTTP/2")
    return found


def _others_go_on(case: Case, seen: Seen) -> list[str]:
    others = [LATER] if case.kind != "client" or case.stream == NEIGHBOUR else [NEIGHBOUR, LATER]
    return [complaint for sid in others for complaint in _answer(seen, sid, CONTENT)]


def _answer(seen: Seen, sid: int, content: bytes | None) -> list[str]:
    """Why the answer on this stream is not the server's."""
    heard = seen.heard
    status, data = heard.heads.get(sid, {}).get(b":status"), heard.data.get(sid, b"")
    if sid in heard.resets:
        return [f"stream {sid} was reset with {heard.resets[sid]}"]
    if status != b"200" or sid not in heard.ended or content not in (None, data):
        return [f"stream {sid} got {status!r} with {data!r} instead of its answer"]
    return []


def _accepted(case: Case, seen: Seen) -> list[str]:
    if case.kind == "answer":
        return _answer(seen, case.stream, case.arrives)
    found = _answer(seen, case.stream, CONTENT)
    if not seen.asked or not all(request.ended and request.authority == AUTHORITY for request in seen.asked):
        found.append(f"whole requests to {AUTHORITY!r} should arrive; what did is {list(map(str, seen.asked))}")
    elif case.arrives not in (None, seen.asked[-1].data):
        found.append(f"{seen.asked[-1].data!r} arrived")
    return found


def _reset(case: Case, seen: Seen) -> list[str]:
    found = []
    if seen.heard.resets != {case.stream: case.code}:
        found.append(f"stream {case.stream} should be reset with {case.code}; resets: {seen.heard.resets}")
    if case.stream in seen.heard.heads:
        found.append(f"it was answered with {seen.heard.heads[case.stream]}")
    found += [f"it has gone on: {request}" for request in seen.asked if request.reset is None]
    return found


def _refused(case: Case, seen: Seen) -> list[str]:
    head = seen.heard.heads.get(case.stream, {})
    told = head.get(b":status"), head.get(b"skycap-error")
    if told != (b"502", b"bad-response") or case.stream not in seen.heard.ended or seen.heard.resets:
        return [f"a 502 bad-response should be answered, not {told}; resets: {seen.heard.resets}"]
    return []


def _cut(case: Case, seen: Seen) -> list[str]:
    if seen.heard.resets != {case.stream: case.code}:
        return [f"stream {case.stream} should be reset with {case.code}; resets: {seen.heard.resets}"]
    head = seen.heard.heads.get(case.stream, {})
    if head.get(b":status") != b"200" or b"skycap-error" in head:
        return [f"its head had gone on as {head}"]
    return []

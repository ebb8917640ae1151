"""The same request once more, to the baseline twice and to the shadow: how their answers differ.

Only requests that change nothing are sent again (RFC 9110 section 9.2.1), and all of them by the way that callers take:
through the workload's sidecar. Their trace ids begin with REPLAY, so that nobody takes them for somebody's requests.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from controlplane.asking.answer import Answer, NoAnswerError, NotAUrlError, send
from controlplane.asking.compare import Answered, compare
from controlplane.model.diff import Difference
from controlplane.model.hop import Message
from proxy.contract.hops import MAX_BODY_BYTES, Captured

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""RFC 9110 section 9.2.1; TRACE is of no use here."""

REPLAY = b"skycap r".hex()
"""The first half of a replay's trace id."""

_NOT_AGAIN = frozenset({
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length",
    "expect", "accept-encoding", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range",
    "baggage", "traceparent", "tracestate", "b3", "x-request-id", "uber-trace-id", "forwarded", "via",
})  # fmt: skip
"""Fields of a request that are about that one exchange, or carry its trace and key."""

_REDACTED = "(redacted)"
"""What a sidecar tells instead of a secret value (`proxy.feed.hop_lines`)."""


def is_replay(trace: str) -> bool:
    return trace.startswith(REPLAY)


class Again(NamedTuple):
    """A request to send again. address: of the workload's sidecar. recorded: the status that it had."""

    address: str
    method: str
    path: str
    fields: tuple[tuple[str, str], ...] = ()
    recorded: int = 200


class Replayed(NamedTuple):
    """problem: why the answers could not be compared, "" when they were."""

    baseline: Answer | None = None
    shadow: Answer | None = None
    differs: tuple[Difference, ...] = ()
    noise: tuple[str, ...] = ()
    problem: str = ""


def fields_again(captured: Captured | None) -> tuple[tuple[str, str], ...]:
    """Of a recorded request, what belongs to every request like it."""
    return tuple(
        (name, value)
        for name, value in (captured.headers if captured is not None else ())
        if name not in _NOT_AGAIN and not name.startswith(("skycap-", "x-b3-", "x-datadog-")) and value != _REDACTED
    )


async def replay(again: Again, key: str, sandbox: str, workload: str, seconds: float) -> Replayed:
    """Send it to the baseline twice and to the shadow, all at once. Never raises for what comes back.

    key:     of the sandbox; the shadow has to say that it is this sandbox's.
    seconds: for each answer.
    """
    if not again.path.startswith("/"):
        return Replayed(problem=f"{again.path!r} is no path that could be asked for again")
    try:
        first, second, shadow = await asyncio.gather(*(_send(again, one, seconds) for one in ("", "", key)))
    except (NoAnswerError, NotAUrlError) as error:
        return Replayed(problem=str(error))
    problem = _problem(first, second, shadow, again, sandbox, workload)
    if problem:
        return Replayed(first, shadow, problem=problem)
    differs, noise = compare(_answered(first), _answered(second), _answered(shadow))
    return Replayed(first, shadow, tuple(differs), tuple(noise))


async def _send(again: Again, key: str, seconds: float) -> Answer:
    trace = f"00-{REPLAY}{secrets.token_hex(8)}-{secrets.token_hex(8)}-00"
    fields: Iterable[tuple[str, str]] = (*again.fields, ("traceparent", trace))
    return await send(again.method, f"http://{again.address}{again.path}", key, fields, None, seconds)


def _problem(first: Answer, second: Answer, shadow: Answer, again: Again, sandbox: str, workload: str) -> str:
    for whose, answer in (("the baseline", first), ("the baseline", second), ("the shadow", shadow)):
        if answer.error:
            return f"{whose} did not answer itself: {answer.error}"
    mine = [hop for hop in shadow.hops[:1] if hop.workload == workload and hop.sandbox == sandbox]
    if not mine:
        return "the shadow did not answer it" + (f", but {shadow.hops[0]}" if shadow.hops else "")
    if first.status in (401, 403) and not again.fields and again.recorded < 400:
        return f"without its header fields the baseline answers {first.status}; `capture: all` keeps them"
    return ""


def _answered(answer: Answer) -> Answered:
    headers: dict[str, str] = {}
    for name, value in answer.headers:
        known = headers.get(name.lower())
        headers[name.lower()] = value if known is None else f"{known}, {value}"
    return Answered(answer.status, headers, answer.body)


def message(answer: Answer | None) -> Message | None:
    """An answer as feedback tells it; values of cookies are nobody's business here either."""
    if answer is None:
        return None
    text = answer.text
    return Message(
        headers=tuple(
            (name.lower(), _REDACTED if name.lower() == "set-cookie" else value) for name, value in answer.headers
        ),
        body=text[:MAX_BODY_BYTES] if text is not None else None,
        length=len(answer.body),
        truncated=answer.cut or len(answer.body) > MAX_BODY_BYTES,
        omitted="" if text is not None else "not text",
    )

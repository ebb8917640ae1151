"""What holds for any bytes whatever, written down once for generated and fuzzed conversations.

1. What reaches the origin is HTTP in its strictest reading, and no parser of the panel sees other messages in it.
2. A message that is unfinished at the origin stands on a connection that the proxy has closed.
3. The client can read all that it gets. Every answer is the one to its request, in order, or the proxy's own.
4. The proxy's own answer to a bad request is the last thing on its connection.
5. When the conversation is over no connection is left open, and none waits for anything.
6. A client that does not begin as HTTP does may be carried unread instead: on one connection of its own, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.conformance.messages import Malformed, Message, read_requests, read_responses
from tests.conformance.origin import answer
from tests.conformance.panel import disagreements
from tests.conformance.play import Observation


def upstream_complaints(seen: Observation) -> list[str]:
    """Laws 1 and 2."""
    found = []
    for upstream in seen.upstream:
        if upstream.malformed:
            found.append(f"the origin got what it cannot read: {upstream.malformed}")
            continue
        stream = read_requests(upstream.received)
        if (stream.rest or len(stream.complete) < len(stream.messages)) and not upstream.ended:
            found.append(f"an unfinished message on an open connection: {upstream.received[-100:]!r}")
        for member, difference in disagreements(stream.messages, upstream.received, None).items():
            if difference.framing:
                found.append(f"{member} {difference.text}")
    return found


def client_complaints(seen: Observation, *, first: int = 1) -> list[str]:
    """Laws 3 and 4. first: the first request that gets the origin's numbered answer; what those before it get is
    the conversation's matter."""
    methods = [*(message.method for message in seen.arrived), b"GET"]
    try:
        stream = read_responses(seen.client, methods, seen.client_ended)
    except Malformed as error:
        return [f"the client got what it cannot read: {error}"]
    found = [
        f"{member} {difference.text}"
        for member, difference in disagreements(stream.messages, seen.client, methods).items()
        if difference.framing
    ]
    finals = stream.final
    for number, message in enumerate(finals, 1):
        ours = message.values(b"skycap-error")
        if ours and message is not finals[-1] and b"close" in message.values(b"connection"):
            found.append("an answer behind the one that closes the connection")
        if not ours and first <= number <= len(seen.arrived):
            found += _wrong_answer(message, number, seen.arrived[number - 1].method)
    if finals and b"close" in finals[-1].values(b"connection") and not seen.client_ended:
        found.append("an open connection behind the answer that announced its end")
    return found


def _wrong_answer(message: Message, number: int, method: bytes) -> Sequence[str]:
    want = b"" if method == b"HEAD" else answer(number, b"GET").partition(b"\r\n\r\n")[2]
    if message.body == want:
        return ()
    return [f"request {number} got the answer {message.body[:40]!r}"]


_BEGINS_AS_HTTP = re.compile(rb"[\r\n]|[!#$%&'*+\-.^_`|~0-9A-Za-z]+ /|(?:GET|HEAD|POST|PUT|DELETE|OPTIONS) ")


def is_tunnel(seen: Observation) -> bool:
    """Law 6: the client's first bytes allow that it is carried unread, and it was."""
    used = [upstream.received for upstream in seen.upstream if upstream.received]
    return not _BEGINS_AS_HTTP.match(seen.said) and len(used) == 1 and seen.said.startswith(used[0])


def complaints(seen: Observation, *, first: int = 1) -> list[str]:
    """All laws."""
    if is_tunnel(seen):
        return seen.stuck
    return [*seen.stuck, *upstream_complaints(seen), *client_complaints(seen, first=first)]

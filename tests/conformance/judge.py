"""What was seen against what the case demands. Pure: an observation in, a list of complaints out.

Beyond the verdict, four things hold for every case:
1. Everything that reached the origin is readable by the reference reader, and the panel agrees with its reading.
2. A message that is incomplete at the origin stands on a connection that the proxy has closed.
3. Every answer the client got belongs to a request it sent, in order.
4. A connection whose answer was bad, or that said more than its answer, carried no second request.
"""

from __future__ import annotations

import json

from tests.conformance.corpus import End, Forward, Kind
from tests.conformance.messages import Malformed, Message, Stream, read_message, read_requests, read_responses
from tests.conformance.origin import answer
from tests.conformance.panel import disagreements
from tests.conformance.play import Observation, Run, expected_requests

WAITED = "nothing came of waiting for"
"""How the complaint about something that did not happen begins."""


def judge(run: Run, seen: Observation, authority: bytes) -> list[str]:
    """The complaints about one run, none when all is as it has to be."""
    return _Judge(run, seen, authority).complaints()


class _Judge:
    def __init__(self, run: Run, seen: Observation, authority: bytes) -> None:
        self.run, self.case, self.seen, self.authority = run, run.case, seen, authority
        self.found: list[str] = [f"{WAITED} {what}" for what in seen.stuck]

    def complaints(self) -> list[str]:
        if self.case.verdict.forward is Forward.OPAQUE:
            self._opaque()
            return self.found
        self._arrived()
        self._upstream()
        self._client()
        return self.found

    # what reached the origin

    def _opaque(self) -> None:
        got = [upstream.received for upstream in self.seen.upstream if upstream.received]
        sent = self.case.fill(self.case.client, self.authority)
        if got != [sent]:
            self.found.append(f"the tunnel carried {got!r}")
        if self.seen.client != self.case.origin:
            self.found.append(f"the tunnel answered {self.seen.client[:200]!r}")

    def _arrived(self) -> None:
        expected, arrived = expected_requests(self.case, self.authority), self.seen.arrived
        if len(arrived) != len(expected):
            listed = "; ".join(map(str, arrived)) or "nothing"
            self.found.append(f"{len(expected)} requests should arrive, what arrived is: {listed}")
            return
        for want, got in zip(expected, arrived, strict=True):
            if self.case.kind is Kind.RESPONSE:
                continue
            if self.case.verdict.forward is Forward.SAME and want.head != got.head:
                self.found.append(f"the head {want.head[:300]!r} arrived as {got.head[:300]!r}")
            elif want.meaning() != got.meaning():
                self.found.append(f"{_tell(want)} arrived as {_tell(got)}")

    def _upstream(self) -> None:
        for upstream in self.seen.upstream:
            if upstream.malformed:
                self.found.append(f"the origin got what it cannot read: {upstream.malformed}")
                continue
            stream = read_requests(upstream.received)
            unfinished = bool(stream.rest) or len(stream.complete) < len(stream.messages)
            if unfinished and self.case.verdict.end is not End.CUT:
                self.found.append(f"an unfinished message reached the origin: {upstream.received[-200:]!r}")
            if unfinished and not upstream.ended:
                self.found.append("an unfinished message stands at the origin on an open connection")
            self._panel(stream, upstream.received, None)
            bad = self.case.verdict.end is not End.NOTHING or self.case.idle
            if self.case.kind is Kind.RESPONSE and upstream.asked and bad:
                if not upstream.ended:
                    self.found.append("the connection with the bad answer was left open")
                if len(stream.messages) > 1:
                    self.found.append("the connection with the bad answer carried another request")

    def _panel(self, stream: Stream, data: bytes, methods: list[bytes] | None) -> None:
        for member, difference in disagreements(stream.messages, data, methods).items():
            if difference.framing or member not in self.case.objections:
                self.found.append(f"{member} {difference.text}")

    # what reached the client

    def _client(self) -> None:
        seen, case = self.seen, self.case
        methods = [*seen.methods, b"HEAD" if case.client.startswith(b"HEAD ") else b"GET"]
        try:
            stream = read_responses(seen.client, methods, seen.client_ended)
        except Malformed as error:
            self.found.append(f"the client got what it cannot read: {error}: {seen.client[:300]!r}")
            return
        self._panel(stream, seen.client, methods)
        if case.kind is Kind.RESPONSE:
            self._response(stream)
        else:
            self._answers(stream)
        if case.stays is False and not seen.client_ended:
            self.found.append("the client's connection was left open")
        if case.stays is True and seen.client_ended:
            self.found.append("the client's connection was closed")

    def _answers(self, stream: Stream) -> None:
        """Of a request case: the origin's answers, then perhaps our own."""
        verdict, answers = self.case.verdict, list(stream.final)
        expected = expected_requests(self.case, self.authority)
        if self.case.origin:
            return  # the panel has read them; what they say is the matter of the response cases
        for number, request in enumerate(expected, 1):
            if not answers:
                self.found.append(f"request {number} got no answer")
                return
            got = answers.pop(0)
            want = b"" if request.method == b"HEAD" else answer(number, b"GET").partition(b"\r\n\r\n")[2]
            if (got.status, got.body) != (200, want):
                self.found.append(f"request {number} got {_tell(got)} instead of its own answer")
        self._tail(answers, verdict.end)

    def _tail(self, answers: list[Message], end: End) -> None:
        """What stands behind the answers of the case: the probe's or ours."""
        if end is End.NOTHING and self.seen.probed and self.case.stays is not False:
            if [message.body for message in answers] != [b"probe"] and not (self.case.stays is None and not answers):
                self.found.append(f"the probe on the same connection got {[_tell(one) for one in answers]}")
        elif end is not End.NOTHING and self.case.verdict.status:
            if len(answers) != 1:
                self.found.append(f"our own answer should stand last, there is: {[_tell(one) for one in answers]}")
            else:
                self._ours(answers[0])
        elif answers:
            self.found.append(f"more answers than requests: {[_tell(one) for one in answers]}")

    def _ours(self, message: Message) -> None:
        """An answer that the proxy made itself (RFC 9457)."""
        verdict = self.case.verdict
        codes = message.values(b"skycap-error")
        if (message.status, codes) != (verdict.status, [verdict.code.encode()]):
            self.found.append(f"{verdict.status} {verdict.code} should be answered, not {message.status} {codes}")
        if message.values(b"content-type") != [b"application/problem+json"]:
            self.found.append(f"our own answer is {message.values(b'content-type')}")
        elif message.body:
            problem = json.loads(message.body)
            if (problem["status"], problem["code"]) != (verdict.status, verdict.code) or not problem["detail"]:
                self.found.append(f"the problem document says {problem}")
        if self.case.stays is False and b"close" not in [value.lower() for value in message.values(b"connection")]:
            self.found.append("the closing answer does not announce it")

    def _response(self, stream: Stream) -> None:
        case, verdict = self.case, self.case.verdict
        messages = list(stream.messages)
        if verdict.end is End.CUT:
            final = [message for message in messages if message.status >= 200]
            if final and final[0].complete:
                self._ours(final.pop(0))
                self._tail(final, End.NOTHING)
            elif not self.seen.client_ended:
                self.found.append("a cut answer and an open connection")
            return
        data = case.expected if verdict.forward is Forward.GIVEN else case.origin
        expected: tuple[Message, ...] = ()
        if verdict.forward is not Forward.NOTHING:
            expected = tuple(own_answer_of(data, self.seen.methods[0]))
        leading, rest = messages[: len(expected)], messages[len(expected) :]
        for want, got in zip(expected, leading, strict=False):
            if verdict.forward is Forward.SAME and want.head != got.head:
                self.found.append(f"the head {want.head[:300]!r} came as {got.head[:300]!r}")
            elif want.meaning() != got.meaning():
                self.found.append(f"{_tell(want)} came as {_tell(got)}")
        if len(leading) < len(expected):
            self.found.append(f"{len(expected)} messages should come, {len(leading)} did: {self.seen.client[:300]!r}")
        if verdict.end is End.REFUSE:
            ours = [message for message in rest if message.values(b"skycap-error")]
            self._tail(ours, verdict.end)
            rest = [message for message in rest if message not in ours]
        self._tail(rest, End.NOTHING)


def own_answer_of(data: bytes, method: bytes) -> list[Message]:
    """The answer (with interim ones before it) at the start of `data`; what stands behind it does not count."""
    messages: list[Message] = []
    at = 0
    while True:
        message = read_message(data, at, method)
        if message is None:
            raise Malformed(f"a case whose own answer has no end: {data[at:][:80]!r}")
        messages.append(message)
        at += message.size
        if message.status >= 200 or message.status == 101:
            return messages


def _tell(message: Message) -> str:
    return f"{message} {message.fields!r} {message.body[:80]!r} {message.trailers!r}"

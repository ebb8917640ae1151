"""Clients and servers of HTTP/2 for a playbook: `h2`, an independent engine, at both ends of the sidecar's links.

    book = Playbook(routes=[ready("agent-42")])
    client = Caller(book, book.inbound())
    sid = client.ask(key="agent-42", data=b"hello")
    server = Service(book.shadow)
    server.answer(sid, data=b"ok")
    assert client.answers[sid].data == b"ok"

`raw` sends bytes past the engine, for what no good peer says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection

from proxy.exchange.h2.client import ClientLink
from proxy.exchange.passage import Passage
from proxy.exchange.side import Side
from proxy.wire.h2.frames import FRAME, make_head
from tests.proxy.exchange.playbook import Peer, Playbook, PlayedPool, RecordedStream

Fields = Sequence[tuple[bytes, bytes]]

GRPC = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))


def frame(kind: int, flags: int, sid: int, payload: bytes = b"") -> bytes:
    return make_head(len(payload) << 8 | kind, flags, sid) + payload


@dataclass
class Message:
    """What came on one stream."""

    fields: dict[bytes, bytes] = field(default_factory=dict)
    interim: list[dict[bytes, bytes]] = field(default_factory=list)
    data: bytes = b""
    trailers: dict[bytes, bytes] = field(default_factory=dict)
    ended: bool = False
    reset: int | None = None


def _config(*, client: bool) -> H2Configuration:
    return H2Configuration(
        client_side=client, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False,
        validate_inbound_headers=True,
    )  # fmt: skip


class End:
    """An engine and what it has heard.

    messages: by stream.
    gone:     the error code of a GOAWAY, None before.
    """

    def __init__(self, *, client: bool) -> None:
        self.engine = H2Connection(_config(client=client))
        self.messages: dict[int, Message] = {}
        self.gone: int | None = None
        self.settings: dict[int, int] = {}
        self.pings = 0
        self.grants: dict[int, int] = {}
        self.hungry = True
        """It gives back what it was sent."""

    def message(self, sid: int) -> Message:
        return self.messages.setdefault(sid, Message())

    def hear(self, data: bytes) -> None:
        for event in self.engine.receive_data(data) if data else ():
            if isinstance(event, events.RequestReceived | events.ResponseReceived):
                self.message(event.stream_id).fields = _dictionary(event.headers)
            elif isinstance(event, events.InformationalResponseReceived):
                self.message(event.stream_id).interim.append(_dictionary(event.headers))
            elif isinstance(event, events.TrailersReceived):
                self.message(event.stream_id).trailers = _dictionary(event.headers)
            elif isinstance(event, events.DataReceived):
                self.message(event.stream_id).data += event.data
                if self.hungry and event.flow_controlled_length:
                    self.engine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, events.StreamEnded):
                self.message(event.stream_id).ended = True
            elif isinstance(event, events.StreamReset):
                self.message(event.stream_id).reset = int(event.error_code)
            elif isinstance(event, events.ConnectionTerminated):
                self.gone = int(event.error_code or 0)
            elif isinstance(event, events.RemoteSettingsChanged):
                for code, change in event.changed_settings.items():
                    self.settings[int(code)] = change.new_value
            elif isinstance(event, events.PingAckReceived):
                self.pings += 1
            elif isinstance(event, events.WindowUpdated):
                self.grants[event.stream_id or 0] = self.grants.get(event.stream_id or 0, 0) + (event.delta or 0)


def _dictionary(fields: Iterable[tuple[bytes, bytes]] | None) -> dict[bytes, bytes]:
    return {bytes(name): bytes(value) for name, value in fields or ()}


class Caller(Peer):
    """A client that speaks HTTP/2."""

    def __init__(self, book: Playbook, side: Side, *, greets: bool = True, peer: bytes = b"") -> None:
        super().__init__(book.step)
        self.side = side
        self.link = ClientLink(side, self.stream, peer)
        self.end = End(client=True)
        self._book = book
        self._begun = False
        book.clients.append(self)
        if greets:
            self.end.engine.initiate_connection()
            self.flush()

    @property
    def passages(self) -> Sequence[Passage]:
        return list(self.link.passages)

    @property
    def answers(self) -> dict[int, Message]:
        self.pump()
        return self.end.messages

    def _deliver(self, data: bytes) -> None:
        if self._begun:
            self.link.received(data)
            return
        self._held = getattr(self, "_held", b"") + data
        if len(self._held) >= 24:
            self._begun = True
            self.link.begin(self._held)

    def _turn(self) -> bool:
        return False

    def vanish(self) -> None:
        if not self.recorded.lost:
            self.recorded.closing = self.recorded.lost = True
            self.link.client_lost()

    def flush(self) -> None:
        """Send what the engine has to say, and hear what was said."""
        data = self.end.engine.data_to_send()
        if data:
            self.send(data)
        self.end.hear(self.new())

    def pump(self) -> None:
        """Until nobody has anything to say."""
        before = -1
        while before != len(self.recorded.writes) or self.recorded.writes:
            before = len(self.recorded.writes)
            self.flush()

    # -- what a test does -----------------------------------------------------------------------------------------

    def ask(
        self, path: bytes = b"/a", *, method: bytes = b"GET", key: str = "", data: bytes | None = None,
        fields: Fields = (), ends: bool = True, sid: int = 0,
    ) -> int:  # fmt: skip
        """Begin a stream."""
        sid = sid or self.end.engine.get_next_available_stream_id()
        baggage = [(b"baggage", f"routing-key={key}".encode())] if key else []
        head = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"users")]
        self.end.engine.send_headers(sid, [*head, *baggage, *fields], end_stream=ends and data is None)
        if data is not None:
            for start in range(0, max(len(data), 1), FRAME):
                piece = data[start : start + FRAME]
                self.end.engine.send_data(sid, piece, end_stream=ends and start + FRAME >= len(data))
        self.flush()
        return sid

    def call(self, method: str = "Get", data: bytes = b"\0\0\0\0\0", **more: object) -> int:
        """A gRPC call."""
        fields = (*GRPC, *more.pop("fields", ()))  # type: ignore[misc]
        return self.ask(f"/shop.Users/{method}".encode(), method=b"POST", data=data, fields=fields, **more)  # type: ignore[arg-type]

    def more(self, sid: int, data: bytes, *, ends: bool = False) -> None:
        self.end.engine.send_data(sid, data, end_stream=ends)
        self.flush()

    def trailers(self, sid: int, fields: Fields) -> None:
        self.end.engine.send_headers(sid, fields, end_stream=True)
        self.flush()

    def cancel(self, sid: int, code: int = 8) -> None:
        self.end.engine.reset_stream(sid, code)
        self.flush()

    def raw(self, data: bytes) -> None:
        self.send(data)
        self.end.hear(self.new())

    @property
    def closed(self) -> bool:
        return self.recorded.closing


class Service:
    """The server at the other end of a pool's oldest dial."""

    def __init__(self, pool: PlayedPool, *, settings: dict[int, int] | None = None, greets: bool = True) -> None:
        self.upstream = pool.accept()
        self.end = End(client=False)
        if greets:
            self.end.engine.initiate_connection()
            if settings:
                self.end.engine.update_settings(settings)
            self.flush()

    @property
    def recorded(self) -> RecordedStream:
        return self.upstream.recorded

    @property
    def requests(self) -> dict[int, Message]:
        self.flush()
        return self.end.messages

    def flush(self) -> None:
        for _ in range(8):
            self.end.hear(self.upstream.new())
            data = self.end.engine.data_to_send()
            if data and not self.recorded.closing:
                self.upstream.send(data)

    def answer(
        self, sid: int, status: bytes = b"200", *, data: bytes | None = b"ok", fields: Fields = (), ends: bool = True,
        trailers: Fields | None = None,
    ) -> None:  # fmt: skip
        self.flush()
        engine = self.end.engine
        last = data is None and trailers is None and ends
        engine.send_headers(sid, [(b":status", status), *fields], end_stream=last)
        if data is not None:
            engine.send_data(sid, data, end_stream=trailers is None and ends)
        if trailers is not None:
            engine.send_headers(sid, trailers, end_stream=True)
        self.flush()

    def more(self, sid: int, data: bytes, *, ends: bool = False) -> None:
        self.end.engine.send_data(sid, data, end_stream=ends)
        self.flush()

    def reset(self, sid: int, code: int) -> None:
        self.flush()
        self.end.engine.reset_stream(sid, code)
        self.flush()

    def leave(self, last: int, code: int = 0) -> None:
        self.end.engine.close_connection(code, last_stream_id=last)
        self.flush()

    def raw(self, data: bytes) -> None:
        self.upstream.send(data)

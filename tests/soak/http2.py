"""HTTP/2 by an engine of its own: streams of several keys on one connection, resets, and clients that are rude."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import struct
from collections.abc import AsyncIterator

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from tests.faults.peers import Peer
from tests.soak.application import body
from tests.soak.exchanges import Client
from tests.soak.expected import KEYS, Failed, Key, Wrong
from tests.soak.peer import connected

STREAMS = 10
SIZES = (0, 1000, 16_384, 60_000)
CANCEL = 8

NONSENSE = (
    b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",  # a frame of 16 MiB
    b"\x00\x00\x00\x01\x05\x00\x00\x00\x02",  # a request on an even stream
    b"\x00\x00\x01\x01\x05\x7f\xff\xff\xff\x80",  # an index of nothing
    b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",  # a window that is not widened
    b"\x00\x00\x05\x04\x00\x00\x00\x00\x00" + b"\0" * 5,  # settings that are none
)


class Streams:
    """One connection, and what came on its streams."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        config = H2Configuration(client_side=True, header_encoding="utf-8")
        self.engine = H2Connection(config)
        self.engine.initiate_connection()
        self.engine.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        self.fields: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()

    async def flush(self) -> None:
        await self._peer.send(self.engine.data_to_send())

    def ask(self, key: Key, data: bytes) -> int:
        """A unary call with this message, which must fit into the windows as they are."""
        stream: int = self.engine.get_next_available_stream_id()
        fields = [
            (":method", "POST"), (":scheme", "http"), (":path", "/soak.Soak/Unary"), (":authority", "users:80"),
            ("content-type", "application/grpc"), ("te", "trailers"), *key.headers.items(),
        ]  # fmt: skip
        self.engine.send_headers(stream, fields)
        framed = b"\0" + struct.pack(">I", len(data)) + data
        for start in range(0, len(framed), 16_384):
            self.engine.send_data(stream, framed[start : start + 16_384])
        self.engine.end_stream(stream)
        return stream

    async def until_ended(self, streams: set[int]) -> None:
        while not streams <= self.ended:
            data = await self._peer.reader.read(1 << 16)
            if not data:
                raise Failed("the connection ended")
            for event in self.engine.receive_data(data):
                if isinstance(event, ResponseReceived | TrailersReceived):
                    self.fields.setdefault(event.stream_id, {}).update(dict(event.headers))  # type: ignore[arg-type]
                elif isinstance(event, DataReceived):
                    self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
                    self.engine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    self.ended.add(event.stream_id)
                elif isinstance(event, StreamReset) and event.stream_id in streams:
                    raise Failed(f"stream {event.stream_id} was reset with {event.error_code}")
                elif isinstance(event, ConnectionTerminated):
                    raise Failed(
                        f"the connection was ended with {event.error_code}, its last stream {event.last_stream_id}",
                        repr(event.additional_data),
                    )
            await self.flush()

    def judge(self, stream: int, key: Key, data: bytes) -> None:
        fields = self.fields[stream]
        if code := fields.get("skycap-error"):
            raise Failed(code, f"grpc-status {fields.get('grpc-status')}: {fields.get('grpc-message')}")
        if fields.get("grpc-status") != "0":
            raise Failed(f"grpc-status {fields.get('grpc-status')}: {fields.get('grpc-message')}")
        key.check(fields.get("x-name", ""), fields.get("skycap-served-by", ""))
        if self.bodies.get(stream, b"")[5:] != hashlib.sha256(data).digest():
            raise Wrong(f"{len(data)} bytes did not arrive as they were sent")


@contextlib.asynccontextmanager
async def streams(client: Client) -> AsyncIterator[Streams]:
    async with connected(client.caller) as peer:
        made = Streams(peer)
        await made.flush()
        try:
            yield made
        except ProtocolError as error:
            raise Wrong(f"what came is not HTTP/2: {error!r}") from error


async def several_keys(client: Client, key: Key) -> None:
    """Each stream goes by its own key: every other one has none."""
    async with streams(client) as on:
        for _ in range(3):
            asked = {}
            for number in range(6):
                one = key if number % 2 else KEYS[0]
                data = body(client.chance.choice(SIZES[:3]) // 6, number)
                asked[on.ask(one, data)] = one, data
            await on.flush()
            await on.until_ended(set(asked))
            for stream, (one, data) in asked.items():
                on.judge(stream, one, data)


async def resets(client: Client, key: Key) -> None:
    """Most streams are reset as soon as they are asked; the others are answered."""
    async with streams(client) as on:
        asked = {}
        for number in range(STREAMS):
            data = body(100, number)
            stream = on.ask(key, data)
            if number % 3:
                if client.chance.random() < 0.5:
                    await on.flush()
                on.engine.reset_stream(stream, CANCEL)
            else:
                asked[stream] = data
        await on.flush()
        await on.until_ended(set(asked))
        for stream, data in asked.items():
            on.judge(stream, key, data)


async def vanish(client: Client, key: Key) -> None:
    """Leave amid it, or say what is no HTTP/2: the connection ends, and nobody else's."""
    async with connected(client.chance.choice((client.caller, client.callee))) as peer:
        on = Streams(peer)
        for number in range(client.chance.randrange(STREAMS)):
            on.ask(key, body(200, number))
        with contextlib.suppress(ConnectionError):
            await on.flush()
            if client.chance.random() < 0.5:
                await asyncio.sleep(0.02)
            if client.chance.random() < 0.5:
                await peer.send(client.chance.choice(NONSENSE))
                await peer.ended()
        peer.end(client.chance.choice(("reset", "close")))

"""WebSocket tunnels and server-sent events, from clients that read them to their end."""

from __future__ import annotations

from aiohttp import WSMsgType, WSServerHandshakeError

from tests.soak.application import body
from tests.soak.exchanges import SIZES, Client, check
from tests.soak.expected import Failed, Key, Wrong

MESSAGES = 8
EVENTS = 20


async def websocket(client: Client, key: Key) -> None:
    compress = client.chance.choice((0, 15))
    try:
        opening = client.fresh.ws_connect(client.url("/socket"), headers=key.headers, max_msg_size=0, compress=compress)
        async with opening as socket:
            response = socket._response
            check(key, response)
            for number in range(MESSAGES):
                data = body(client.chance.choice(SIZES), number)
                await socket.send_bytes(data)
                message = await socket.receive()
                if message.type is not WSMsgType.BINARY:
                    raise Failed(f"the tunnel ended: {message.type.name}, code {socket.close_code}")
                if message.data != data:
                    raise Wrong("another message came back")
            await socket.close()
            if socket.close_code != 1000:
                raise Failed(f"closed with {socket.close_code}")
    except WSServerHandshakeError as refused:
        code = refused.headers.get("skycap-error") if refused.headers is not None else None
        raise Failed(code or str(refused)) from refused


async def events(client: Client, key: Key) -> None:
    start = client.chance.randrange(1000)
    path = f"/events?count={EVENTS}&from={start}"
    async with client.fresh.get(client.url(path), headers=key.headers) as answer:
        check(key, answer)
        for number in range(start, start + EVENTS):
            if await answer.content.readuntil(b"\n\n") != b"id: %d\ndata: %d\n\n" % (number, number * number):
                raise Wrong("an event is missing or another one")
        if await answer.content.read():
            raise Wrong("more than was asked for")

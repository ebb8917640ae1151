"""Who gives way when descriptors are short, and in which order."""

from __future__ import annotations

from proxy.net.pressure import IDLE_TICKS, give_way
from tests.proxy.net.rig import client, eventually, net, on_uvloop, origin
from tests.proxy.net.test_listener import address, listener

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@on_uvloop
async def test_in_which_order() -> None:
    async with (
        net() as parts,
        origin() as app,
        listener(parts.inbound(app.endpoint)) as listening,
        client(address(listening)) as stalled,
        client(address(listening)) as waiting,
        client(address(listening)) as kept,
        client(address(listening)) as half,
        client(address(listening)) as silent,
    ):
        stalled.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx")
        await app.line(0)
        waiting.send(GET)
        await app.line(1)
        kept.send(GET)
        (await app.line(2)).send(OK)
        await kept.receives(OK)
        half.send(b"GET / HT")
        await eventually(lambda: len(listening.connections) == 5)
        await eventually(lambda: any(one.exchange and one.exchange.held for one in listening.connections))
        assert give_way(listening.connections, 10) == 0, "everybody has just been heard of"
        parts.pass_ticks(IDLE_TICKS)
        for going in (silent, half, kept, stalled):
            assert give_way(listening.connections, 1) == 1
            await going.is_told()
        assert give_way(listening.connections, 10) == 0, "a request that is waited for is in use"
        assert len(listening.connections) == 1

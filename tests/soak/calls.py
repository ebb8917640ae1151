"""gRPC, with the client that people use: every kind of call, cancelled ones, and ones that run out of time."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from tests.soak.application import body
from tests.soak.exchanges import SIZES, Client, channel
from tests.soak.expected import ENDED, MOVING, Failed, Key, Wrong
from tests.soak.service import piece

MASKED = "INTERNAL: Internal error from Core"
"""What grpc.aio says of a call that was refused before its first message was written, whatever the refusal said."""

MESSAGES = 50
CALLS = 20
SHORT_SECONDS = 0.2
GONE_SECONDS = 10.0
LOOK_SECONDS = 0.05


def metadata(key: Key) -> list[tuple[str, str]]:
    return list(key.headers.items())


async def signed(call: Any, key: Key) -> None:
    """That the right one answers. Raises Failed when nobody does."""
    told = dict(await call.initial_metadata())
    if "x-name" not in told:
        raise await why(call)
    key.check(told["x-name"], told.get("skycap-served-by", ""))


async def why(call: Any) -> Failed:
    """What a call that has failed says about it."""
    told = {**dict(await call.initial_metadata() or ()), **dict(await call.trailing_metadata() or ())}
    said = f"{(await call.code()).name}: {await call.details()}"
    code = told.get("skycap-error")
    return Failed(code, said) if code else Failed(said)


def unmasked(failed: Failed, key: Key) -> Failed:
    """A call of several messages that failed before its answer: what refuses it for an ended sandbox is masked."""
    return Failed(ENDED) if str(failed) == MASKED and key.name in MOVING else failed


async def answer(call: Any, key: Key) -> bytes:
    """Of the right one. Raises Failed."""
    try:
        got: bytes = await call
    except grpc.aio.AioRpcError:
        raise await why(call) from None
    await signed(call, key)
    return got


async def unary(client: Client, key: Key) -> None:
    """Several at once on a connection that is kept."""
    sent = [body(client.chance.choice(SIZES[:6]), 5) for _ in range(CALLS)]
    await asyncio.gather(*(_unary(client.calls, key, data) for data in sent))


async def _unary(on: Any, key: Key, data: bytes) -> None:
    call = on.unary_unary("/soak.Soak/Unary")(data, metadata=metadata(key))
    if await answer(call, key) != hashlib.sha256(data).digest():
        raise Wrong(f"{len(data)} bytes did not arrive as they were sent")


async def download(client: Client, key: Key) -> None:
    size = client.chance.choice((1, 1000, 20_000))
    async with channel(client.caller) as on:
        call = on.unary_stream("/soak.Soak/Download")(b"%d %d" % (MESSAGES, size), metadata=metadata(key))
        try:
            got = [message async for message in call]
        except grpc.aio.AioRpcError:
            raise await why(call) from None
        await signed(call, key)
    if got != [piece(number, size) for number in range(MESSAGES)]:
        raise Wrong(f"not the {MESSAGES} messages of {size} bytes that were asked for, but {len(got)}")


async def upload(client: Client, key: Key) -> None:
    size = client.chance.choice((1, 1000, 20_000))
    sent = [piece(number, size) for number in range(MESSAGES)]
    async with channel(client.caller) as on:
        call = on.stream_unary("/soak.Soak/Upload")(sent, metadata=metadata(key))
        try:
            got = await answer(call, key)
        except Failed as failed:
            raise unmasked(failed, key) from None
    if got != hashlib.sha256(b"".join(sent)).digest():
        raise Wrong("the messages did not arrive as they were sent")


async def echo(client: Client, key: Key) -> None:
    """Each message waits for the answer to the last one."""
    sent = [piece(number, client.chance.choice((1, 1000, 20_000))) for number in range(MESSAGES)]
    answered = asyncio.Semaphore()
    over = False

    async def asked() -> AsyncIterator[bytes]:
        for message in sent:
            await answered.acquire()
            if over:
                return
            yield message

    async with channel(client.caller) as on:
        call = on.stream_stream("/soak.Soak/Echo")(asked(), metadata=metadata(key))
        got = []
        try:
            async for message in call:
                got.append(message)
                answered.release()
        except grpc.aio.AioRpcError:
            failed = await why(call)
            raise (failed if got else unmasked(failed, key)) from None
        finally:
            over = True
            answered.release()
            await asyncio.sleep(0)  # grpcio does not end who still waits to send
        await signed(call, key)
    if got != sent:
        raise Wrong(f"not the {MESSAGES} messages that were sent, but {len(got)}")


async def cancelled(client: Client, key: Key) -> None:
    """By the caller, or because its time is over: the application is told at once."""
    name = b"%x" % client.chance.getrandbits(64)
    late = client.chance.random() < 0.5
    async with channel(client.caller) as on:
        call = on.unary_stream("/soak.Soak/Wait")(name, metadata=metadata(key), timeout=SHORT_SECONDS if late else None)
        if late:
            if await call.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise await why(call)
        else:
            await signed(call, key)
            call.cancel()
        await _gone(on, key, name, late)


async def _gone(on: Any, key: Key, name: bytes, late: bool) -> None:
    """The application knows that nobody waits for the call any more. One whose time was short may never have come."""
    deadline = time.monotonic() + GONE_SECONDS
    while True:
        left = await answer(on.unary_unary("/soak.Soak/Left")(name, metadata=metadata(key)), key)
        if left == b"cancelled" or (left == b"unknown" and (late or key.name in MOVING)):
            return
        if time.monotonic() > deadline:
            raise Failed(f"{GONE_SECONDS:.0f} s after a call was cancelled the application says: {left.decode()}")
        await asyncio.sleep(LOOK_SECONDS)

"""An application that resets, stalls, lies or talks out of turn, at every point of an exchange."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.peers import Origin, Peer, connect, error_code, ok, request
from tests.faults.subject import Subject, until

pytestmark = pytest.mark.parametrize("side", ["inbound", "outbound"])

MIB = 1 << 20


async def asked(sidecar: Subject, side: str, data: bytes, *, half: bool = False) -> tuple[bytes, bytes, str]:
    """Send `data` on a connection of its own. Returns the answer's head and the rest, and how the connection ended:
    it is the last request, and the client keeps its half open, so that whatever ends was ended by others.

    half: the client says by its end that there is no more to come."""
    client = await connect(sidecar.port(side))
    await client.send(data.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
    if half:
        client.writer.write_eof()
    got, how = await client.rest()
    client.close()
    head, _, body = got.partition(b"\r\n\r\n")
    return head, body, how


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_ends_as_soon_as_it_has_accepted(sidecar: Subject, origin: Origin, side: str, how: str) -> None:
    """Whether that is a dial that failed or an answer that never came depends on who is faster."""

    async def script(peer: Peer) -> None:
        peer.end(how)

    origin.script = script
    head, _, ended = await asked(sidecar, side, request(method=b"POST", body=b"x" * 9))
    assert head.startswith(b"HTTP/1.1 502 ")
    assert error_code(head) in (b"upstream-reset", b"app-unreachable")
    assert ended == "closed"
    assert origin.connections == 1


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_ends_before_the_head(sidecar: Subject, origin: Origin, side: str, how: str) -> None:
    async def script(peer: Peer) -> None:
        await origin.take(peer)
        peer.end(how)

    origin.script = script
    head, body, ended = await asked(sidecar, side, request())
    assert head.startswith(b"HTTP/1.1 502 ")
    assert error_code(head) == b"upstream-reset"
    assert (b"reset" if how == "reset" else b"closed") in body
    assert ended == "closed"
    assert len(origin.requests) == 1  # a fresh connection that ends is the application's word, not bad luck


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 200 OK\r\ncontent-", ok()[:-1]])
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_ends_inside_the_head(sidecar: Subject, origin: Origin, side: str, how: str, begun: bytes) -> None:
    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(begun)
        # A reset would overtake the bytes: it comes when they have been read.
        await until(lambda: not unread(peer), "the sidecar has read it")
        peer.end(how)

    origin.script = script
    head, _, _ = await asked(sidecar, side, request())
    assert head.startswith(b"HTTP/1.1 502 ")
    assert error_code(head) == b"upstream-reset"
    assert len(origin.requests) == 1


@pytest.mark.parametrize("framing", [b"content-length: 10", b"transfer-encoding: chunked"])
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_ends_between_head_and_body(
    sidecar: Subject, origin: Origin, side: str, how: str, framing: bytes
) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
        await seen.wait()
        peer.end(how)

    origin.script = script
    client = await connect(sidecar.port(side))
    await client.send(request())
    assert framing in await client.head()
    seen.set()
    assert await client.rest() == (b"", "reset")
    client.close()
    assert len(origin.requests) == 1


@pytest.mark.parametrize("framing", [b"content-length: 10", b"transfer-encoding: chunked"])
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_ends_inside_the_body(sidecar: Subject, origin: Origin, side: str, how: str, framing: bytes) -> None:
    """Half a body must not look like a whole one: the client gets a reset."""
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n4\r\nhal" % framing)
        await seen.wait()
        peer.end(how)

    origin.script = script
    client = await connect(sidecar.port(side))
    await client.send(request())
    assert framing in await client.head()
    assert await client.exactly(6) == b"4\r\nhal"
    seen.set()
    assert await client.rest() == (b"", "reset")
    client.close()
    assert len(origin.requests) == 1


async def test_a_close_ends_an_answer_without_length(sidecar: Subject, origin: Origin, side: str) -> None:
    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        peer.close()

    origin.script = script
    head, body, how = await asked(sidecar, side, request())
    assert (body, how) == (b"all of it", "closed")
    assert b"connection: close" in head


async def test_a_reset_inside_an_answer_without_length(sidecar: Subject, origin: Origin, side: str) -> None:
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nsome of it")
        await seen.wait()
        peer.reset()

    origin.script = script
    client = await connect(sidecar.port(side))
    await client.send(request())
    await client.head()
    await client.exactly(10)
    seen.set()
    assert await client.rest() == (b"", "reset")
    client.close()


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_ends_after_the_answer(untaught: Subject, origin: Origin, side: str, how: str) -> None:
    """The client's next request goes to a fresh connection and knows nothing of it."""

    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(ok(b"whole"))
        await until(lambda: not unread(peer), "the sidecar has read it")
        peer.end(how)

    origin.script = script
    client = await connect(untaught.port(side))
    for number in range(3):
        await client.send(request(b"/%d" % number))
        assert (await client.message())[1] == b"whole"
    client.close()
    assert origin.paths == [b"/0", b"/1", b"/2"]


@pytest.mark.parametrize(("method", "answers"), [(b"GET", b"200"), (b"POST", b"502")])
async def test_ends_when_the_next_request_comes(
    untaught: Subject, origin: Origin, side: str, method: bytes, answers: bytes
) -> None:
    """The race of every keep-alive: what is idempotent is sent again, once; what is not is never sent twice."""

    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(ok())
        if origin.connections == 1:
            await origin.take(peer)
            peer.reset()
        else:
            await peer.ended()

    origin.script = script
    client = await connect(untaught.port(side))
    await client.send(request(b"/first"))
    await client.message()
    await client.send(request(b"/second", method=method, body=b"x" * 9))
    head, _ = await client.message()
    assert head.split(b" ")[1] == answers
    client.close()
    assert origin.paths == [b"/first", b"/second"] + ([b"/second"] if method == b"GET" else [])


@pytest.mark.parametrize("chunked", [False, True])
async def test_answers_early_and_closes(sidecar: Subject, origin: Origin, side: str, chunked: bool) -> None:
    """The upload ends politely: the client reads the answer, not a reset."""

    async def script(peer: Peer) -> None:
        origin.requests.append(await peer.head())
        await peer.send(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
        peer.close()

    origin.script = script
    client = await connect(sidecar.port(side))
    if chunked:
        await client.send(request(b"/", b"transfer-encoding: chunked", method=b"POST"))
        await client.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    else:
        await client.send(request(b"/", b"content-length: %d" % (64 * MIB), method=b"POST"))
        await client.send(b"x" * 65536)
    head, body = await client.message()
    assert head.startswith(b"HTTP/1.1 413 ")
    assert body == b"big"
    client.close()
    assert len(origin.requests) == 1


async def test_stalls_before_the_answer(sidecar: Subject, origin: Origin, side: str) -> None:
    gone: list[str] = []

    async def script(peer: Peer) -> None:
        await origin.take(peer)
        gone.append(await peer.ended())

    origin.script = script
    before = await sidecar.metric("skycap_timeouts_total", direction=side, phase="response")
    client = await connect(sidecar.port(side))
    await client.send(request())
    head, _ = await client.message()
    assert head.startswith(b"HTTP/1.1 504 ")
    assert error_code(head) == b"app-timeout"
    await until(lambda: gone, "the application is told that nobody waits any more")
    assert gone == ["reset"]
    client.writer.write_eof()
    assert await client.rest() == (b"", "closed")
    client.close()
    assert await sidecar.metric("skycap_timeouts_total", direction=side, phase="response") == before + 1


async def test_stalls_although_its_client_has_said_all(sidecar: Subject, origin: Origin, side: str) -> None:
    """Half a close (RFC 9112 section 9.6) is passed on. The client waits, and no longer than any other."""
    told: list[str] = []
    over = asyncio.Event()

    async def script(peer: Peer) -> None:
        await origin.take(peer)
        told.append(await peer.ended())
        await over.wait()

    origin.script = script
    head, _, how = await asked(sidecar, side, request(), half=True)
    over.set()
    assert head.startswith(b"HTTP/1.1 504 ")
    assert error_code(head) == b"app-timeout"
    assert how == "closed"
    assert told == ["closed"]


async def test_stalls_inside_the_head(sidecar: Subject, origin: Origin, side: str) -> None:
    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-le")
        await peer.ended()

    origin.script = script
    client = await connect(sidecar.port(side))
    await client.send(request())
    head, _ = await client.message()
    assert head.startswith(b"HTTP/1.1 504 ")
    client.close()


async def test_stalls_inside_the_body(sidecar: Subject, origin: Origin, side: str) -> None:
    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await peer.ended()

    origin.script = script
    client = await connect(sidecar.port(side))
    await client.send(request())
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    assert await client.exactly(4) == b"half"
    assert await client.rest() == (b"", "reset")
    client.close()


@pytest.mark.parametrize("garbage", [b"\0", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"\r\n"])
async def test_garbage_on_an_idle_connection(untaught: Subject, origin: Origin, side: str, garbage: bytes) -> None:
    """An answer that nobody asked for must not become the answer to the next request (RFC 9112 section 9.2)."""
    speak = asyncio.Event()
    ended: list[str] = []

    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(ok(b"%d" % origin.connections))
        if origin.connections == 1:
            await speak.wait()
            await peer.send(garbage)
            ended.append(await peer.ended())

    origin.script = script
    client = await connect(untaught.port(side))
    await client.send(request())
    assert (await client.message())[1] == b"1"
    assert await untaught.metric("skycap_upstream_connections", state="idle") == 1
    speak.set()
    await until(lambda: ended, "the connection is given up")
    await client.send(request())
    assert (await client.message())[1] == b"2"
    client.close()


async def test_bytes_behind_the_answer(sidecar: Subject, origin: Origin, side: str) -> None:
    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(ok(b"%d" % origin.connections) + ok(b"evil"))
        await peer.ended()

    origin.script = script
    client = await connect(sidecar.port(side))
    for number in (b"1", b"2"):
        await client.send(request())
        assert (await client.message())[1] == number
    client.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"\x16\x03\x01 this is not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    ],
    ids=["not-http", "two-lengths", "length-and-coding", "many-lines", "endless-line"],
)
async def test_an_answer_that_must_not_pass(sidecar: Subject, origin: Origin, side: str, answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(answer)
        await peer.ended()

    origin.script = script
    head, body, _ = await asked(sidecar, side, request())
    assert head.startswith(b"HTTP/1.1 502 ")
    assert error_code(head) == b"bad-response"
    assert b"yyyy" not in body


async def test_a_bad_chunk_inside_the_body(sidecar: Subject, origin: Origin, side: str) -> None:
    async def script(peer: Peer) -> None:
        await origin.take(peer)
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await until(lambda: not unread(peer), "the sidecar has read it")
        await peer.send(b"0x3\r\nabc\r\n0\r\n\r\n")
        await peer.ended()

    origin.script = script
    head, body, how = await asked(sidecar, side, request())
    assert b"0x3" not in body
    # Acknowledged is not read: both parts may come in one read, when nothing of the answer has been forwarded yet.
    assert how == "reset" or error_code(head) == b"bad-response"


async def test_never_sends_100_continue(sidecar: Subject, origin: Origin, side: str) -> None:
    """A client that waits for it may send after a while all the same (RFC 9110 section 10.1.1)."""
    origin.script = origin.answer
    client = await connect(sidecar.port(side))
    await client.send(request(b"/", b"expect: 100-continue", b"content-length: 5", method=b"PUT"))
    await until(lambda: origin.connections, "the head is with the application")
    await client.send(b"12345")
    head, body = await client.message()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == b"5"
    assert b"expect: 100-continue" in origin.requests[0].lower()
    client.close()


async def test_a_client_that_waits_for_100_for_ever(sidecar: Subject, origin: Origin, side: str) -> None:
    ended: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        ended.append(await peer.ended())

    origin.script = script
    client = await connect(sidecar.port(side))
    await client.send(request(b"/", b"expect: 100-continue", b"content-length: 5", method=b"PUT"))
    head, _ = await client.message()
    assert head.startswith(b"HTTP/1.1 408 ")  # it should have sent all the same (RFC 9110 section 10.1.1)
    assert error_code(head) == b"content-timeout"
    client.close()
    await until(lambda: ended, "the application is let go")


async def test_the_final_answer_instead_of_100(sidecar: Subject, origin: Origin, side: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n")
        await peer.ended()

    origin.script = script
    client = await connect(sidecar.port(side))
    await client.send(request(b"/", b"expect: 100-continue", b"content-length: 5", method=b"PUT"))
    assert (await client.head()).startswith(b"HTTP/1.1 417 ")
    client.close()


def unread(peer: Peer) -> int:
    """Bytes that our side has written and the other's kernel has not acknowledged."""
    import array
    import fcntl
    import termios

    size = array.array("i", [0])
    sock = peer.writer.get_extra_info("socket")
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, size)
    return size[0]

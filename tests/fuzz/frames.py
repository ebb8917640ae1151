"""Whatever a client or a server of HTTP/2 sends, however it is cut: it ends in the same way and leaves nothing behind.

The first octet chooses who sends it, the second where it is cut.
"""

from __future__ import annotations

from proxy.wire.h2.frames import GOAWAY, HEADERS, PREFACE, RST_STREAM, head_of
from proxy.wire.h2.settings import settings_frame
from tests.proxy.exchange.h2.play import Caller
from tests.proxy.exchange.playbook import Playbook, ready

HELLO = settings_frame(())


def _kinds(said: bytes) -> list[tuple[int, int, bytes]]:
    """The frames that say how it ended, of what we wrote."""
    found = []
    start = 0
    while len(said) - start >= 9:
        head, _, sid = head_of(said, start)
        if head & 255 in (RST_STREAM, GOAWAY, HEADERS):
            found.append((head & 255, sid, said[start + 9 : start + 9 + (head >> 8)]))
        start += 9 + (head >> 8)
    return found


def _play(by_server: bool, pieces: list[bytes]) -> tuple[list[tuple[int, int, bytes]], bool]:
    book = Playbook(routes=[ready("agent-42")])
    client = Caller(book, book.inbound(), greets=False)
    client.send(PREFACE + HELLO)
    if by_server:
        client.ask(key="")
        server = book.app.accept()
        server.send(HELLO)
        client.new()
        for piece in pieces:
            server.send(piece)
    else:
        for piece in pieces:
            client.send(piece)
            for pool in (book.app, book.shadow):
                while pool.dials:
                    pool.accept()
    seen = _kinds(client.got), client.closed
    book.ends_clean()
    return seen


def one_input(data: bytes) -> None:
    if len(data) < 3:
        return
    said = data[2:]
    at = data[1] % len(said)
    by_server = bool(data[0] & 1)
    whole, cut = _play(by_server, [said]), _play(by_server, [said[:at], said[at:]])
    assert whole == cut, (whole, cut)

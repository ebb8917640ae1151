"""Large bodies and bulk in tunnels, which are moved without being read; and all that can come in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.contract.hops import MAX_BODY_BYTES
from proxy.contract.routes import Endpoint
from proxy.exchange.phase import ANSWERING, CLOSED, LINGER, TUNNEL, WAITING
from proxy.exchange.settings import NO_LIMIT, ExchangeSettings
from proxy.exchange.tunnel import BULK_BYTES, BULK_READS
from tests.proxy.exchange.conftest import MakeBook
from tests.proxy.exchange.playbook import OK, Client, Playbook, PlayedUpstream, field_lines, get, keyed, problem, ready

SIZE = 1 << 20
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % SIZE
BODY = bytes(range(256)) * (SIZE // 256)
UPLOAD = b"PUT /file HTTP/1.1\r\nhost: users\r\ncontent-length: %d\r\n\r\n" % SIZE
FIRST = 100_000
"""Bytes of an upload that come with its head: more than are kept for sending it again."""


def download(book: Playbook, first: int = 1000) -> tuple[Client, PlayedUpstream]:
    """An answer whose first bytes are there; the rest of it is moved."""
    client = book.connect(book.inbound())
    client.send(get())
    app = book.app.accept()
    app.send(HEAD + BODY[:first])
    return client, app


def upload(book: Playbook, first: int = FIRST) -> tuple[Client, PlayedUpstream]:
    """A request whose first bytes are there."""
    client = book.connect(book.inbound())
    client.send(UPLOAD + BODY[:first])
    return client, book.app.accept()


# -- answers ------------------------------------------------------------------------------------------------------


class TestAnswers:
    def test_the_rest_of_a_large_one_is_moved(self, book: Playbook) -> None:
        client, app = download(book)
        splice = book.splicer.only()
        assert splice.left == SIZE - 1000
        app.send(BODY[1000:500_000])
        assert splice.move() == 499_000
        app.send(BODY[500_000:])
        splice.move()
        assert client.new() == HEAD + BODY
        assert book.app.idle == [app]
        assert book.counters.inbound.spliced_bytes == SIZE - 1000
        client.send(get("/next"))
        app.send(OK)
        assert client.new() == OK
        assert app.calls == ["pause_reading", "resume_reading"]

    def test_its_bytes_are_counted(self, book: Playbook) -> None:
        client, app = download(book)
        app.send(BODY[1000:5000])
        book.splicer.only().move()
        assert client.exchange.passage.answer_bytes == 5000

    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % SIZE,
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (256 * 1024 + 999),
        ],
    )
    def test_others_are_read(self, book: Playbook, head: bytes) -> None:
        """What is chunked, what ends with its connection, what is not that large."""
        client = book.connect(book.inbound())
        client.send(get())
        book.app.accept().send(head + BODY[:1000])
        assert book.splicer.splices == []
        assert client.new().endswith(BODY[:1000])

    def test_an_answer_that_is_captured_is_read(self, make_book: MakeBook) -> None:
        """Its hop shows the beginning of the body, of which little came with the head."""
        book = make_book(routes=[ready()], hops=True)
        client = book.connect(book.inbound())
        client.send(keyed())
        shadow = book.shadow.accept()
        text = b"0123456789abcdef" * (SIZE // 16)
        shadow.send(HEAD.replace(b"200 OK", b"500 No\r\ncontent-type: text/plain") + text[:10])
        assert book.splicer.splices == []
        shadow.send(text[10:])
        assert client.new().endswith(text)
        (hop,) = book.hops()
        assert hop.response is not None
        assert hop.response.body == text[:MAX_BODY_BYTES].decode()
        assert hop.response.truncated

    def test_never_when_it_is_switched_off(self, make_book: MakeBook) -> None:
        book = make_book(settings=ExchangeSettings(splice_bytes=NO_LIMIT))
        client, app = download(book)
        app.send(BODY[1000:])
        assert client.new() == HEAD + BODY
        assert book.splicer.splices == []

    def test_it_is_read_where_it_cannot_be_moved(self, book: Playbook) -> None:
        """No pipe. With the next large piece it is tried again, with small ones it is not."""
        book.splicer.refuses = True
        client, app = download(book)
        app.send(BODY[1000:2000])
        assert book.splicer.refused == 1
        app.send(BODY[2000 : 2000 + BULK_BYTES])
        assert book.splicer.refused == 2
        book.splicer.refuses = False
        app.send(BODY[2000 + BULK_BYTES : 2000 + 2 * BULK_BYTES])
        app.send(BODY[2000 + 2 * BULK_BYTES :])
        book.splicer.only().move()
        assert client.new() == HEAD + BODY

    def test_one_that_gets_slow_is_read_again(self, book: Playbook) -> None:
        client, app = download(book)
        splice = book.splicer.only()
        app.send(BODY[1000:1100])
        splice.move()
        splice.end()
        app.send(BODY[1100:1200])
        assert splice.over
        assert len(book.splicer.splices) == 1
        app.send(BODY[1200:])
        assert client.new() == HEAD + BODY
        assert book.app.idle == [app]

    def test_what_the_client_has_not_taken_yet_goes_before(self, book: Playbook) -> None:
        """The splice waits for that; the upstream is not read meanwhile."""
        client, app = download(book)
        splice = book.splicer.only()
        client.full()
        app.send(BODY[1000:])
        client.drained()
        assert splice.drained == 1
        assert app.unread == SIZE - 1000
        splice.move()
        assert client.new() == HEAD + BODY

    def test_a_client_that_is_full_when_it_is_over(self, book: Playbook) -> None:
        """Then reading from the upstream goes on when the client says so."""
        client, app = download(book)
        splice = book.splicer.only()
        client.full()
        splice.end()
        app.send(BODY[1000:1100])
        assert app.unread == 100
        client.drained()
        app.send()
        assert client.new() == HEAD + BODY[:1100]

    def test_a_client_that_takes_no_more_is_counted(self, book: Playbook) -> None:
        download(book)
        book.splicer.only().fill()
        assert book.counters.inbound.paused_upstream == 1

    def test_requests_that_come_ahead_wait_for_it(self, book: Playbook) -> None:
        client, app = download(book)
        client.send(get("/next"))
        app.send(BODY[1000:])
        book.splicer.only().move()
        assert client.new() == HEAD + BODY
        assert app.new().endswith(get("/next"))
        app.send(OK)
        assert client.new() == OK

    def test_bytes_behind_it_spoil_the_connection(self, book: Playbook) -> None:
        """They would be taken for the answer to the next request."""
        client, app = download(book)
        client.send(get("/next"))
        app.send(BODY[1000:] + OK)
        book.splicer.only().move()
        assert client.new() == HEAD + BODY
        assert app.calls[-1] == "abort"
        assert book.app.dials, "the next request has a connection of its own"

    def test_an_upstream_that_ends_early(self, book: Playbook) -> None:
        client, app = download(book)
        splice = book.splicer.only()
        app.send(BODY[1000:2000])
        splice.move()
        splice.end()
        app.end()
        assert client.calls == ["reset"]
        assert book.counters.inbound.failures["answer-truncated"] == 1

    def test_an_upstream_that_is_reset(self, book: Playbook) -> None:
        client, app = download(book)
        book.splicer.only().fail_source()
        assert client.calls == ["reset"]
        assert app.calls[-1] == "abort"
        assert book.counters.inbound.failures["answer-truncated"] == 1

    def test_a_client_that_is_reset(self, book: Playbook) -> None:
        client, app = download(book)
        book.splicer.only().fail_sink()
        assert client.calls == ["abort"]
        client.vanish()
        assert app.calls[-1] == "reset"
        assert client.exchange.phase == CLOSED

    def test_a_client_that_goes(self, book: Playbook) -> None:
        client, app = download(book)
        splice = book.splicer.only()
        client.vanish()
        assert splice.over
        assert app.calls[-1] == "reset"

    def test_a_client_that_sends_no_more_gets_its_answer(self, book: Playbook) -> None:
        client, app = download(book)
        assert client.end()
        app.send(BODY[1000:])
        book.splicer.only().move()
        assert client.new() == HEAD + BODY
        assert client.calls == ["close"]

    def test_silence_is_bounded_and_every_piece_ends_it(self, make_book: MakeBook) -> None:
        book = make_book(settings=ExchangeSettings(stream_ticks=50))
        client, app = download(book)
        splice = book.splicer.only()
        book.pass_ticks(49)
        app.send(BODY[1000:2000])
        splice.move()
        book.pass_ticks(49)
        assert client.exchange.phase == ANSWERING
        book.pass_ticks(2)
        assert splice.over
        assert client.calls == ["reset"]
        assert app.calls[-1] == "reset"
        assert book.counters.inbound.timeouts["body"] == 1

    def test_a_drain_lets_it_finish(self, book: Playbook) -> None:
        client, app = download(book)
        client.exchange.side.draining = True
        client.exchange.drain(last_call=False)
        client.exchange.drain(last_call=True)
        app.send(BODY[1000:])
        book.splicer.only().move()
        assert client.new() == HEAD + BODY
        client.exchange.drain(last_call=True)
        assert client.calls == ["close"]


# -- requests -----------------------------------------------------------------------------------------------------


class TestRequests:
    def test_the_rest_of_a_large_one_is_moved(self, book: Playbook) -> None:
        client, app = upload(book)
        splice = book.splicer.only()
        assert splice.left == SIZE - FIRST
        client.send(BODY[FIRST:] + get("/next"))
        splice.move()
        assert app.new() == UPLOAD + BODY
        assert client.exchange.phase == WAITING
        client.send()
        app.send(OK)
        assert client.new() == OK
        assert app.new() == get("/next")
        assert client.calls == ["pause_reading", "resume_reading"]
        assert book.counters.inbound.spliced_bytes == SIZE - FIRST
        app.send(OK)

    def test_its_bytes_are_counted(self, book: Playbook) -> None:
        client, _ = upload(book)
        client.send(BODY[FIRST : FIRST + 5])
        book.splicer.only().move()
        assert client.exchange.passage.request_bytes == FIRST + 5

    def test_not_while_it_may_be_sent_again(self, book: Playbook) -> None:
        """An idle connection may have been closed while we wrote."""
        app = book.app.keep()
        client = book.connect(book.inbound())
        client.send(UPLOAD + BODY[:1000])
        assert book.splicer.splices == []
        app.vanish()
        again = book.app.accept()
        assert again.new() == UPLOAD + BODY[:1000]
        client.send(BODY[1000 : 1000 + BULK_BYTES])
        client.send(BODY[1000 + BULK_BYTES :])
        book.splicer.only().move()
        assert again.new() == BODY[1000:]
        again.send(OK)
        assert client.new() == OK

    def test_on_a_connection_of_the_pool(self, book: Playbook) -> None:
        app = book.app.keep()
        client = book.connect(book.inbound())
        client.send(UPLOAD + BODY[:FIRST])
        client.send(BODY[FIRST:])
        book.splicer.only().move()
        assert app.new() == UPLOAD + BODY
        app.send(OK)

    @pytest.mark.parametrize(
        "head",
        [
            b"PUT / HTTP/1.1\r\nhost: users\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % SIZE,
            b"PUT / HTTP/1.1\r\nhost: users\r\ncontent-length: %d\r\n\r\n" % (FIRST + 256 * 1024 - 1),
        ],
    )
    def test_others_are_read(self, book: Playbook, head: bytes) -> None:
        client = book.connect(book.inbound())
        client.send(head + BODY[:FIRST])
        app = book.app.accept()
        assert app.new() == head + BODY[:FIRST]
        assert book.splicer.splices == []

    def test_one_that_comes_in_small_pieces_is_read(self, book: Playbook) -> None:
        client, app = upload(book, 1000)
        for start in range(1000, FIRST, 1000):
            client.send(BODY[start : start + 1000])
        assert book.splicer.splices == []
        assert app.new() == UPLOAD + BODY[:FIRST]

    def test_it_is_read_where_it_cannot_be_moved(self, book: Playbook) -> None:
        book.splicer.refuses = True
        client, app = upload(book)
        client.send(BODY[FIRST:])
        assert app.new() == UPLOAD + BODY
        assert book.splicer.refused == 1, "the last piece has no rest"
        assert client.calls == []
        app.send(OK)

    def test_one_that_gets_slow_is_read_again(self, book: Playbook) -> None:
        client, app = upload(book)
        splice = book.splicer.only()
        client.send(BODY[FIRST : FIRST + 10])
        splice.move()
        splice.end()
        client.send(BODY[FIRST + 10 : FIRST + 20])
        assert len(book.splicer.splices) == 1
        client.send(BODY[FIRST + 20 :])
        assert app.new() == UPLOAD + BODY
        app.send(OK)

    def test_what_the_application_has_not_taken_yet_goes_before(self, book: Playbook) -> None:
        client, app = upload(book)
        splice = book.splicer.only()
        app.full()
        client.send(BODY[FIRST:])
        app.drained()
        assert splice.drained == 1
        assert client.unread == SIZE - FIRST
        splice.move()
        assert app.new() == UPLOAD + BODY
        app.send(OK)
        assert book.app.idle == [app]

    def test_the_answer_has_its_time_from_the_last_byte_on(self, make_book: MakeBook) -> None:
        book = make_book(settings=ExchangeSettings(stream_ticks=50, response_ticks=20))
        client, app = upload(book)
        splice = book.splicer.only()
        book.pass_ticks(49)
        client.send(BODY[FIRST:-1])
        splice.move()
        book.pass_ticks(49)
        assert client.exchange.phase == WAITING
        client.send(BODY[-1:])
        splice.move()
        book.pass_ticks(19)
        assert client.exchange.phase == WAITING
        book.pass_ticks(2)
        assert problem(client.new())["code"] == "app-timeout"
        assert app.calls[-1] == "reset"

    def test_a_client_that_stalls(self, make_book: MakeBook) -> None:
        book = make_book(settings=ExchangeSettings(stream_ticks=50))
        client, app = upload(book)
        splice = book.splicer.only()
        book.pass_ticks(51)
        assert splice.over
        assert problem(client.new())["code"] == "content-timeout"
        assert app.calls[-1] == "reset"
        assert client.exchange.phase == LINGER
        client.send(BODY[FIRST : FIRST + 10])
        assert client.unread == 0, "what still comes is read, and dropped"

    def test_an_answer_before_its_end(self, book: Playbook) -> None:
        client, app = upload(book)
        splice = book.splicer.only()
        app.send(OK)
        assert splice.over
        answer = client.new()
        assert field_lines(answer, "connection") == ["close"]
        assert app.calls[-1] == "abort"
        assert client.exchange.phase == LINGER
        client.send(BODY[FIRST:])
        assert client.unread == 0

    def test_an_answer_that_begins_before_its_end(self, book: Playbook) -> None:
        """Both bodies are moved at once, each in its direction."""
        client, app = upload(book)
        up = book.splicer.only()
        app.send(HEAD + BODY[:1000])
        down = book.splicer.splices[-1]
        assert (up.over, down.over) == (False, False)
        client.send(BODY[FIRST:])
        up.move()
        assert app.new() == UPLOAD + BODY
        app.send(BODY[1000:])
        down.move()
        assert client.new().endswith(BODY)
        assert client.calls[-1] == "close", "the answer had announced it"

    def test_an_answer_is_not_kept_alive_by_the_request(self, make_book: MakeBook) -> None:
        """As when both are read: once it has begun, the silence of the answer counts."""
        book = make_book(settings=ExchangeSettings(stream_ticks=50))
        client, app = upload(book)
        app.send(HEAD + BODY[:1000])
        up = book.splicer.splices[0]
        for _ in range(2):
            book.pass_ticks(26)
            if client.exchange.phase == ANSWERING:
                client.send(BODY[FIRST : FIRST + 10])
                up.move()
        assert client.exchange.phase == CLOSED
        assert book.counters.inbound.timeouts["body"] == 1

    def test_a_client_that_ends_early(self, book: Playbook) -> None:
        client, app = upload(book)
        splice = book.splicer.only()
        client.send(BODY[FIRST : FIRST + 10])
        splice.move()
        splice.end()
        assert not client.end()
        assert app.calls[-1] == "reset"
        assert book.counters.inbound.failures["client-truncated"] == 1

    def test_a_client_that_is_reset(self, book: Playbook) -> None:
        client, app = upload(book)
        book.splicer.only().fail_source()
        assert client.calls[-1] == "abort"
        client.vanish()
        assert app.calls[-1] == "reset"

    def test_an_application_that_is_reset(self, book: Playbook) -> None:
        client, app = upload(book)
        book.splicer.only().fail_sink()
        app.vanish()
        refusal = problem(client.new())
        assert refusal["code"] == "upstream-reset"
        assert "was reset" in refusal["detail"]
        assert client.exchange.phase == LINGER
        client.send(BODY[FIRST:])
        assert client.unread == 0

    def test_an_application_that_has_answered_before_it_was_reset(self, book: Playbook) -> None:
        """Its refusal lies in our socket, and is read."""
        client, app = upload(book)
        book.splicer.only().fail_sink()
        app.send(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
        assert client.new() == b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig"
        assert client.exchange.phase == LINGER
        client.send(BODY[FIRST:])
        assert client.unread == 0

    def test_an_answer_without_a_length_that_a_reset_has_ended(self, book: Playbook) -> None:
        """The stream knows nothing of the reset: to it, this is the answer's regular end."""
        client, app = upload(book)
        book.splicer.only().fail_sink()
        app.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        app.end()
        assert client.calls[-1] == "reset"
        assert book.counters.inbound.failures["answer-truncated"] == 1

    def test_an_application_that_goes(self, book: Playbook) -> None:
        client, app = upload(book)
        splice = book.splicer.only()
        app.vanish(error=True)
        assert splice.over
        assert problem(client.new())["code"] == "upstream-reset"

    def test_a_client_that_goes(self, book: Playbook) -> None:
        client, app = upload(book)
        splice = book.splicer.only()
        client.vanish()
        assert splice.over
        assert app.calls[-1] == "reset"


# -- tunnels ------------------------------------------------------------------------------------------------------


MAIL = Endpoint("mail.example", 25)
BULK = bytes(BULK_BYTES)


def tunnel(book: Playbook) -> tuple[Client, PlayedUpstream]:
    client = book.connect(book.outbound(None))
    client.send(b"CONNECT mail.example:25 HTTP/1.1\r\nhost: mail.example:25\r\n\r\n")
    app = book.pool(MAIL).accept()
    client.new()
    return client, app


@pytest.mark.parametrize("begin", [download, tunnel])
def test_what_a_reset_upstream_left_behind_does_not_overtake_what_is_moved(
    book: Playbook, begin: Callable[[Playbook], tuple[Client, PlayedUpstream]]
) -> None:
    client, app = begin(book)
    if begin is tunnel:
        bulk(app)
    book.splicer.only()
    before = client.got
    client.exchange.answer.received(b"left behind")
    assert client.got == before
    app.vanish(error=True)
    assert client.recorded.closing


def bulk(peer: Client | PlayedUpstream, times: int = BULK_READS) -> None:
    for _ in range(times):
        peer.send(BULK)


class TestTunnels:
    def test_a_direction_that_proves_to_be_bulk_is_moved(self, book: Playbook) -> None:
        client, app = tunnel(book)
        bulk(client, BULK_READS - 1)
        assert book.splicer.splices == []
        client.send(BULK)
        splice = book.splicer.only()
        client.send(b"more")
        splice.move()
        assert app.new() == BULK * BULK_READS + b"more"
        app.send(b"and back")
        assert client.new() == b"and back"
        assert book.counters.outbound.spliced_bytes == 4

    def test_back_as_well(self, book: Playbook) -> None:
        client, app = tunnel(book)
        bulk(app)
        bulk(client)
        down, up = book.splicer.splices
        app.send(b"back")
        client.send(b"forth")
        down.move()
        up.move()
        assert client.new() == BULK * BULK_READS + b"back"
        assert app.new() == BULK * BULK_READS + b"forth"

    def test_messages_are_not(self, book: Playbook) -> None:
        client, app = tunnel(book)
        for _ in range(BULK_READS):
            bulk(client, BULK_READS - 1)
            client.send(b"small")
            bulk(app, BULK_READS - 1)
            app.send(b"small")
        assert book.splicer.splices == []

    def test_it_is_read_again_where_little_comes_and_moved_again_where_much_does(self, book: Playbook) -> None:
        client, app = tunnel(book)
        bulk(client)
        book.splicer.only().end()
        client.send(b"x")
        bulk(client)
        client.send(b"y")
        book.splicer.only().move()
        assert len(book.splicer.splices) == 2
        assert app.new() == BULK * BULK_READS + b"x" + BULK * BULK_READS + b"y"

    def test_without_a_pipe_it_is_tried_again_later(self, book: Playbook) -> None:
        book.splicer.refuses = True
        client, _ = tunnel(book)
        bulk(client, 2 * BULK_READS + 1)
        assert book.splicer.refused == 2

    def test_never_where_nothing_can(self, make_book: MakeBook) -> None:
        book = make_book(splices=False)
        client, app = tunnel(book)
        bulk(client)
        bulk(app)
        client.send(b"more")
        app.send(b"more")
        assert app.new() == client.new() == BULK * BULK_READS + b"more"
        assert client.calls == app.calls == []

    def test_an_end_of_one_direction_is_passed_on(self, book: Playbook) -> None:
        client, app = tunnel(book)
        bulk(client)
        client.send(b"last")
        splice = book.splicer.only()
        splice.move()
        splice.end()
        assert client.end()
        assert app.calls == ["write_eof"]
        app.send(b"bye")
        assert client.new() == b"bye"
        assert not app.end()

    def test_silence_of_both_ends(self, make_book: MakeBook) -> None:
        book = make_book(settings=ExchangeSettings(stream_ticks=50))
        client, app = tunnel(book)
        bulk(client)
        bulk(app)
        up, down = book.splicer.splices
        for peer, splice in ((client, up), (app, down)):
            book.pass_ticks(49)
            peer.send(b"x")
            splice.move()
        book.pass_ticks(49)
        assert client.exchange.phase == TUNNEL
        book.pass_ticks(2)
        assert (up.over, down.over) == (True, True)
        assert client.calls[-1] == "close"
        assert app.calls[-1] == "close"

    def test_silence_with_bytes_on_their_way_is_no_orderly_end(self, make_book: MakeBook) -> None:
        book = make_book(settings=ExchangeSettings(stream_ticks=50))
        client, app = tunnel(book)
        bulk(client)
        book.splicer.only().fill()
        assert book.counters.outbound.paused_downstream == 1
        book.pass_ticks(51)
        assert "reset" in client.calls
        assert "reset" in app.calls

    @pytest.mark.parametrize("way", ["up", "down"])
    @pytest.mark.parametrize("end", ["source", "sink"])
    def test_a_reset_of_either_end(self, book: Playbook, way: str, end: str) -> None:
        client, app = tunnel(book)
        bulk(client)
        bulk(app)
        up, down = book.splicer.splices
        splice = up if way == "up" else down
        (splice.fail_source if end == "source" else splice.fail_sink)()
        if (way, end) in (("up", "source"), ("down", "sink")):
            assert client.calls[-1] == "abort"
            client.vanish()
            assert app.calls[-1] == "close"
        else:
            assert app.calls[-1] == "abort"
            assert client.calls[-1] == "close"
        assert client.exchange.phase == CLOSED
        assert (up.over, down.over) == (True, True)

    def test_what_a_full_end_has_not_taken_goes_before(self, book: Playbook) -> None:
        client, app = tunnel(book)
        client.full()
        app.full()
        client.drained()
        app.drained()
        bulk(app)
        bulk(client)
        down, up = book.splicer.splices
        for peer in (client, app):
            peer.full()
            peer.drained()
        assert (down.drained, up.drained) == (1, 1)

    def test_what_a_reset_leaves_behind_a_moved_direction_is_not_put_in_front_of_it(self, book: Playbook) -> None:
        client, app = tunnel(book)
        bulk(app)
        client.new()
        splice = book.splicer.only()
        client.exchange.answer.received(b"left behind")
        assert client.new() == b""
        splice.cancel()

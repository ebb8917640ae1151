"""Frames: written, taken apart, put together."""

from __future__ import annotations

import pytest
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame

from proxy.wire.h2.faults import ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, PROTOCOL_ERROR, ConnectionFault
from proxy.wire.h2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME,
    GOAWAY,
    HEADERS,
    MAX_CONTINUATIONS,
    PADDED,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    assemble,
    check_control,
    code_of,
    data_frame,
    goaway_frame,
    head_of,
    header_frames,
    make_head,
    ping_ack,
    reset_frame,
    unpadded,
    window_frame,
    word_of,
)
from proxy.wire.h2.settings import read_settings, settings_frame


def read(data: bytes) -> Frame:
    """By hyperframe, an independent reader."""
    frame, size = Frame.parse_frame_header(memoryview(data[:9]))
    frame.parse_body(memoryview(data[9 : 9 + size]))
    return frame


def frame(kind: int, flags: int, sid: int, payload: bytes = b"") -> bytes:
    return make_head(len(payload) << 8 | kind, flags, sid) + payload


def test_others_read_what_is_written() -> None:
    assert repr(read(reset_frame(3, 8))) == "RstStreamFrame(stream_id=3, flags=[]): error_code=8"
    assert repr(read(window_frame(0, 77))) == "WindowUpdateFrame(stream_id=0, flags=[]): window_increment=77"
    gone = read(goaway_frame(5, 2, b"why"))
    assert isinstance(gone, GoAwayFrame)
    assert (gone.last_stream_id, gone.error_code, gone.additional_data) == (5, 2, b"why")
    assert repr(read(ping_ack(b"12345678"))) == "PingFrame(stream_id=0, flags=['ACK']): opaque_data=b'12345678'"
    assert (
        repr(read(settings_frame(((1, 0), (4, 70_000)))))
        == "SettingsFrame(stream_id=0, flags=[]): settings={1: 0, 4: 70000}"
    )
    assert data_frame(7, END_STREAM, b"abc") == frame(DATA, END_STREAM, 7, b"abc")


@pytest.mark.parametrize("size", [0, 1, FRAME, FRAME + 1, 3 * FRAME])
def test_a_block_of_any_size_is_put_together_again(size: int) -> None:
    block = bytes(range(256)) * 200
    data = header_frames(9, END_STREAM, block[:size])
    assert isinstance(read(data), HeadersFrame)
    assert assemble(data + b"more", 0, head_of(data)[1], 9) == (block[:size], len(data))
    assert head_of(data)[1] & END_STREAM
    for stop in range(9 + min(size, FRAME), len(data), 777):
        assert assemble(data[:stop], 0, head_of(data)[1], 9) == (None, 0)


def test_padding_and_priority() -> None:
    payload = b"\x02" + b"\0\0\0\x05\x10" + b"block" + b"\0\0"
    data = frame(HEADERS, PADDED | WITH_PRIORITY | END_HEADERS, 3, payload)
    assert assemble(data, 0, PADDED | WITH_PRIORITY | END_HEADERS, 3) == (b"block", len(data))
    assert unpadded(b"\x01abc\0", PADDED) == b"abc"
    assert unpadded(b"\x01abc\0", 0) == b"\x01abc\0"


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x04abc"])
def test_padding_of_more_than_the_frame(payload: bytes) -> None:
    with pytest.raises(ConnectionFault, match="padding"):
        unpadded(payload, PADDED)


def test_priority_that_is_none() -> None:
    with pytest.raises(ConnectionFault, match="too short"):
        assemble(frame(HEADERS, WITH_PRIORITY, 3, b"\0\0\0"), 0, WITH_PRIORITY | END_HEADERS, 3)
    with pytest.raises(ConnectionFault, match="depends on itself"):
        assemble(frame(HEADERS, WITH_PRIORITY, 3, b"\0\0\0\x03\0"), 0, WITH_PRIORITY | END_HEADERS, 3)


@pytest.mark.parametrize(
    ("following", "code"),
    [
        (frame(DATA, 0, 3), PROTOCOL_ERROR),
        (frame(CONTINUATION, 0, 5), PROTOCOL_ERROR),
        (make_head((FRAME + 1) << 8 | CONTINUATION, 0, 3), FRAME_SIZE_ERROR),
        (frame(CONTINUATION, 0, 3, b"a") * (MAX_CONTINUATIONS + 1), ENHANCE_YOUR_CALM),
        (frame(CONTINUATION, 0, 3, b"a" * FRAME) * 5, ENHANCE_YOUR_CALM),
    ],
    ids=["another kind", "another stream", "too long", "too many", "too much"],
)
def test_within_a_block_nothing_else_may_come(following: bytes, code: int) -> None:
    with pytest.raises(ConnectionFault) as caught:
        assemble(frame(HEADERS, 0, 3, b"a") + following, 0, 0, 3)
    assert caught.value.code == code


WRONG = {
    "RST_STREAM too short": (RST_STREAM, 0, 1, 3, FRAME_SIZE_ERROR),
    "PING too long": (PING, 0, 0, 9, FRAME_SIZE_ERROR),
    "WINDOW_UPDATE": (WINDOW_UPDATE, 0, 0, 5, FRAME_SIZE_ERROR),
    "PRIORITY": (PRIORITY, 0, 1, 4, FRAME_SIZE_ERROR),
    "SETTINGS in thirds": (SETTINGS, 0, 0, 4, FRAME_SIZE_ERROR),
    "SETTINGS acknowledged with some": (SETTINGS, ACK, 0, 6, FRAME_SIZE_ERROR),
    "GOAWAY": (GOAWAY, 0, 0, 7, FRAME_SIZE_ERROR),
    "SETTINGS of a stream": (SETTINGS, 0, 1, 0, PROTOCOL_ERROR),
    "PING of a stream": (PING, 0, 1, 8, PROTOCOL_ERROR),
    "RST_STREAM of none": (RST_STREAM, 0, 0, 4, PROTOCOL_ERROR),
    "CONTINUATION alone": (CONTINUATION, 0, 1, 4, PROTOCOL_ERROR),
    "PUSH_PROMISE": (PUSH_PROMISE, 0, 1, 4, PROTOCOL_ERROR),
}


@pytest.mark.parametrize(("kind", "flags", "sid", "size", "code"), WRONG.values(), ids=WRONG)
def test_frames_of_the_wrong_form(kind: int, flags: int, sid: int, size: int, code: int) -> None:
    with pytest.raises(ConnectionFault) as caught:
        check_control(kind, flags, sid, size)
    assert caught.value.code == code


def test_frames_of_the_right_form() -> None:
    for kind, flags, sid, size in (
        (SETTINGS, 0, 0, 12),
        (SETTINGS, ACK, 0, 0),
        (PING, 0, 0, 8),
        (RST_STREAM, 0, 1, 4),
        (99, 0, 1, 2),
    ):
        check_control(kind, flags, sid, size)


def test_words() -> None:
    assert word_of(b"\x80\0\0\x01") == 1
    assert code_of(b"\x80\0\0\x01") == 0x80000001


def test_settings_are_read() -> None:
    data = settings_frame(((4, 1), (3, 100), (0xF0, 9), (4, 2)))[9:]
    assert read_settings(data) == {4: 2, 3: 100, 0xF0: 9}


@pytest.mark.parametrize("pair", [(4, 1 << 31), (5, 16_383), (5, 1 << 24), (2, 2), (8, 2)])
def test_settings_out_of_their_range(pair: tuple[int, int]) -> None:
    with pytest.raises(ConnectionFault):
        read_settings(settings_frame((pair,))[9:])

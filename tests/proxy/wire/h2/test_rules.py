"""What a header block may say."""

from __future__ import annotations

import pytest

from proxy.wire.h2.faults import StreamFault
from proxy.wire.h2.rules import check_answer, check_request, check_trailers, length_of

Fields = list[tuple[bytes, bytes]]


def request(*more: tuple[bytes, bytes], **pseudo: bytes | None) -> Fields:
    """A good request, with changes: `path=None` leaves it out."""
    known: dict[str, bytes | None] = {
        "method": b"GET",
        "scheme": b"http",
        "path": b"/a",
        "authority": b"users:80",
        **pseudo,
    }
    return [*[(b":" + name.encode(), value) for name, value in known.items() if value is not None], *more]


def test_a_good_request() -> None:
    assert check_request(request((b"te", b"trailers"), (b"host", b"USERS:80"), (b"x", b"\x01\xff")))[b":path"] == b"/a"
    check_request(request(method=b"OPTIONS", path=b"*"))
    check_request(request(method=b"CONNECT", scheme=None, path=None))
    check_request(request(method=b"CONNECT", protocol=b"websocket"))
    check_request(request(authority=None))


BAD: dict[str, Fields] = {
    "no method": request(method=None),
    "no scheme": request(scheme=None),
    "no path": request(path=None),
    "an empty path": request(path=b""),
    "a path that is none": request(path=b"a"),
    "a path with a space": request(path=b"/a b"),
    "a star for GET": request(path=b"*"),
    "an authority with a path": request(authority=b"users/a"),
    "CONNECT without authority": request(method=b"CONNECT", scheme=None, path=None, authority=None),
    "CONNECT with a path": request(method=b"CONNECT", scheme=None),
    "CONNECT with a scheme": request(method=b"CONNECT", path=None),
    "a protocol without CONNECT": request(protocol=b"websocket"),
    "a pseudo-header field that is unknown": request((b":x", b"1")),
    "one of answers": request((b":status", b"200")),
    "one twice": [*request(), (b":path", b"/b")],
    "one behind others": [(b"a", b"b"), *request()],
    "a name in upper case": request((b"Accept", b"*/*")),
    "a name with a space": request((b"a b", b"")),
    "an empty name": request((b"", b"")),
    "connection": request((b"connection", b"close")),
    "transfer-encoding": request((b"transfer-encoding", b"chunked")),
    "te for more than trailers": request((b"te", b"gzip")),
    "NUL": request((b"a", b"b\0c")),
    "a line end": request((b"a", b"b\r\nc: d")),
    "a space in front": request((b"a", b" b")),
    "a tab behind": request((b"a", b"b\t")),
    "nothing but a space": request((b"a", b" ")),
    "another host": request((b"host", b"orders")),
    "host twice": request((b"host", b"users"), (b"host", b"users")),
    "no authority and a host that is none": [*request()[:-1], (b"host", b"me@users/path")],
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_bad_requests(fields: Fields) -> None:
    with pytest.raises(StreamFault):
        check_request(fields)


def test_answers() -> None:
    assert check_answer([(b":status", b"204"), (b"a", b"b")]) == 204
    for status in (b"101", b"20", b"2000", b"abc", b""):
        with pytest.raises(StreamFault, match=":status"):
            check_answer([(b":status", status)])
    with pytest.raises(StreamFault):
        check_answer([(b"a", b"b")])


def test_trailers() -> None:
    check_trailers([(b"grpc-status", b"0")])
    for field in ((b":status", b"200"), (b"content-length", b"1"), (b"host", b"x")):
        with pytest.raises(StreamFault):
            check_trailers([field])


def test_content_length() -> None:
    assert length_of([]) == -1
    assert length_of([b"12"]) == 12
    for values in ([b"1", b"1"], [b"+1"], [b""], [b"1, 1"]):
        with pytest.raises(StreamFault, match="content-length"):
            length_of(values)

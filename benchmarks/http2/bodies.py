"""Large bodies over HTTP/2, one after the other on each connection, every one received or sent to its last byte."""

from __future__ import annotations

import time

from benchmarks.http2.answers import SpoiledError
from benchmarks.http2.client import Answer, Client
from benchmarks.http2.requests import Kind
from benchmarks.load.bulk import Moved, at_once

_PIECE = 256 * 1024


def move(port: int, kind: Kind, size: int, expect: str, connections: int, seconds: float) -> Moved:
    """Get (or put, when `kind.body` is the size) bodies of `size` bytes until `seconds` have passed; as `bulk.move`."""
    end = time.perf_counter() + seconds

    def work(lane: int) -> int:
        done = 0
        payload = memoryview(bytes(min(_PIECE, size)))
        with Client(port, kind) as client:
            while done == 0 or time.perf_counter() < end:
                client.begin((lane << 20) + done, ends=kind.body < 0)
                for start in range(0, max(kind.body, 0), _PIECE):
                    client.send(payload[: kind.body - start], ends=start + _PIECE >= kind.body)
                _check(client.whole(), kind, size, expect)
                done += 1
        return done

    return at_once(work, connections)


def _check(answer: Answer, kind: Kind, size: int, expect: str) -> None:
    words = answer.body[:100].decode("ascii", "replace").split()
    if kind.body < 0:
        good = answer.length == size and answer.body.startswith(expect.encode())
    else:
        good = words[:2] == [expect, "received"] and words[2].isdigit() and int(words[2]) >= size
    if answer.fields.get(":status") != "200" or not good:
        said = words[:3] if kind.body >= 0 else f"{answer.length} bytes"
        raise SpoiledError(f"expected 200 and {size} bytes, {expect}; got {answer.fields.get(':status')}, {said}")

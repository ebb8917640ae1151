"""Hop records in Redis streams, where several replicas of the control plane share them.

    skycap:hops:{KEY}           a stream; ids are POSITION-0, the field `l` has the line
    skycap:hops:{KEY}:index     a stream with the same ids and what a hop is looked up by: id, parent, trace
    skycap:hops:{KEY}:state     a hash: the last position, and the bytes that the stream's lines have together
    skycap:hops:{KEY}:lives     how often the key was forgotten, by which a follower knows that it was

One script adds a batch, so that positions have no gap whichever replica adds, and trims both streams to what is kept.
What nobody has touched for KEPT_SECONDS is gone: a registry that was killed could not forget it.

Nothing waits for Redis: an addition that takes longer than ADD_SECONDS, or fails, is dropped, and for PAUSE_SECONDS the
next ones are dropped without being tried. Who asks is told so (`HopsUnavailableError`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import RedisError

from controlplane.hops.memory import FOLLOWED_AT_ONCE, related
from controlplane.hops.port import KEPT_BYTES, KEPT_HOPS, HopsUnavailableError, Kept, Line
from proxy.contract.hops import Hop, decode_hop

log = logging.getLogger(__name__)

ADD_SECONDS = 1.0
"""For one batch: a tenth of what the sidecar that sent it would wait."""

ASK_SECONDS = 5.0
"""For one question, and for a connection."""

PAUSE_SECONDS = 1.0
"""Without a try, after Redis has failed."""

BLOCK_SECONDS = 1.0
"""Between two looks whether a key that is followed has been forgotten by another replica."""

KEPT_SECONDS = 90 * 86400
"""As long as a sandbox can live."""

CONNECTIONS = 256
"""At most: each follower has one of them while it waits."""

_ADD = """
local last = tonumber(redis.call('HGET', KEYS[3], 'last') or '0')
local bytes = tonumber(redis.call('HGET', KEYS[3], 'bytes') or '0')
for i = 4, #ARGV, 4 do
  last = last + 1
  redis.call('XADD', KEYS[1], last .. '-0', 'l', ARGV[i + 3])
  redis.call('XADD', KEYS[2], last .. '-0', 'i', ARGV[i], 'p', ARGV[i + 1], 't', ARGV[i + 2])
  bytes = bytes + #ARGV[i + 3]
end
local length = redis.call('XLEN', KEYS[1])
local first = last - length + 1
while length > tonumber(ARGV[1]) or (bytes > tonumber(ARGV[2]) and length > 0) do
  local oldest = redis.call('XRANGE', KEYS[1], first .. '-0', first .. '-0')
  if oldest[1] then bytes = bytes - #oldest[1][2][2] end
  first = first + 1
  length = length - 1
end
redis.call('XTRIM', KEYS[1], 'MINID', first .. '-0')
redis.call('XTRIM', KEYS[2], 'MINID', first .. '-0')
redis.call('HSET', KEYS[3], 'last', last, 'bytes', bytes)
for i = 1, 3 do redis.call('EXPIRE', KEYS[i], ARGV[3]) end
return last
"""


class RedisHops:
    """`HopStore` in Redis.

    url: `redis://[USER:PASSWORD@]HOST:PORT[/NUMBER]`, or `rediss://` for TLS.
    """

    def __init__(self, url: str, kept_hops: int = KEPT_HOPS, kept_bytes: int = KEPT_BYTES) -> None:
        self._limits = (kept_hops, kept_bytes, KEPT_SECONDS)
        self._where = shown(url)
        # Its types name every form that an answer may have in either protocol; these are those of RESP2.
        self._redis: Any = Redis.from_url(
            url,
            max_connections=CONNECTIONS,
            socket_connect_timeout=ASK_SECONDS,
            socket_timeout=ASK_SECONDS,
            protocol=2,
        )
        self._add = self._redis.register_script(_ADD)
        self._not_before = 0.0
        self._said = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<RedisHops {self._where}>"

    async def add(self, key: str, lines: Sequence[Line]) -> int:
        if time.monotonic() < self._not_before:
            return 0
        arguments: list[Any] = list(self._limits)
        for line in lines:
            arguments += (line.id, line.parent, line.trace, line.text)
        try:
            async with asyncio.timeout(ADD_SECONDS):
                await self._add(keys=_names(key), args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            self._not_before = time.monotonic() + PAUSE_SECONDS
            if not self._said:
                self._said = True
                log.warning("hops are dropped: Redis at %s %s", self._where, _why(error))
            return 0
        self._said = False
        return len(lines)

    async def newest(self, key: str, limit: int, before: int | None = None) -> list[Kept]:
        end = "+" if before is None else f"({before}-0"
        async with self._asking():
            return _kept(await self._redis.xrevrange(_names(key)[0], end, "-", limit))

    async def trace(self, key: str, trace: str) -> list[Hop]:
        stream, index, _ = _names(key)
        async with self._asking():
            entries = await self._redis.xrange(index)
            known = [
                (ident, Line(fields[b"i"].decode(), fields[b"p"].decode(), fields[b"t"].decode(), b""))
                for ident, fields in entries
            ]
            wanted = related((line for _, line in known), trace)
            pipe = self._redis.pipeline(transaction=False)
            for ident, line in known:
                if line.id in wanted:
                    pipe.xrange(stream, ident, ident)
            found = await pipe.execute() if len(pipe) else []
        return [kept.hop for entries in found for kept in _kept(entries)]

    async def newer(self, key: str, after: int, seconds: float) -> list[Kept] | None:
        stream = _names(key)[0]
        end = time.monotonic() + seconds
        life: bytes | None = b"unknown"
        while True:
            left = max(end - time.monotonic(), 0.0)
            block = max(int(min(left, BLOCK_SECONDS) * 1000), 1)
            try:
                async with self._asking():
                    if life == b"unknown":
                        life = await self._redis.get(_lives(key))
                    found = await self._redis.xread({stream: f"{after}-0"}, FOLLOWED_AT_ONCE, block)
                    over = await self._redis.get(_lives(key)) != life
            except HopsUnavailableError:
                if self._closed:
                    return None
                raise
            if self._closed or over:
                return None
            if found:
                return _kept(found[0][1])
            if not left:
                return []

    async def last(self, key: str) -> int:
        async with self._asking():
            found = await self._redis.hget(_names(key)[2], "last")
        return int(found or 0)

    async def forget(self, key: str) -> None:
        try:
            pipe = self._redis.pipeline(transaction=True)
            pipe.delete(*_names(key))
            pipe.incr(_lives(key))
            pipe.expire(_lives(key), KEPT_SECONDS)
            await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("the hops of the key %s are not forgotten: Redis at %s %s", key, self._where, _why(error))

    async def close(self) -> None:
        self._closed = True
        await self._redis.aclose()

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            raise HopsUnavailableError(f"Redis at {self._where} {_why(error)}") from None


def shown(url: str) -> str:
    """A URL without its password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _names(key: str) -> list[str]:
    """In one slot of a cluster, as the script needs them: the part in braces decides."""
    base = f"skycap:hops:{{{key}}}"
    return [base, f"{base}:index", f"{base}:state"]


def _lives(key: str) -> str:
    return f"skycap:hops:{{{key}}}:lives"


def _kept(entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[Kept]:
    return [Kept(int(ident.partition(b"-")[0]), decode_hop(fields[b"l"])) for ident, fields in entries]


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError) or "imeout" in type(error).__name__:
        return "does not answer in time"
    return f"fails: {error}" if isinstance(error, RedisError) else f"cannot be reached: {error}"

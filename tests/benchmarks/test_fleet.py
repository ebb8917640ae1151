"""The feeds of a fleet, beside a real registry: what the last of them has, what all have lost, who is up to date."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from tests.controlplane.running import start
from tests.controlplane.sandboxes import document, fork

ROOT = Path(__file__).parents[2]


async def test_what_the_last_of_them_has(tmp_path: Path) -> None:
    shadow = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = shadow.sockets[0].getsockname()[1]
    registry = await start(tmp_path, "--listen", "127.0.0.1:0", "--memory")
    command = ["-m", "benchmarks.load.fleet", registry.url, registry.token_file, "fleet", "2", "6"]
    feeds = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE, cwd=ROOT)
    assert feeds.stdin is not None
    assert feeds.stdout is not None
    lines = feeds.stdout

    async def said(kind: str) -> Any:
        while True:
            found = json.loads(await lines.readline())
            if kind in found:
                return found[kind]

    try:
        assert await said("up") == 6
        async with registry.client() as client:
            for number, name in enumerate(("one", "two")):
                await client.apply(document(name, fork(f"fleet/w{number}", port)))
                assert await said("what") == [f"fleet/w{number}", name, "pending", 1, ""]
                assert await said("what") == [f"fleet/w{number}", name, "ready", 1, f"127.0.0.1:{port}"]
            await client.delete("two")
            assert await said("what") == ["fleet/w1", "two", "gone", 0, ""]
        feeds.stdin.write(b"\n")
        found = json.loads(await lines.readline())
        assert found["tables"] == {"fleet/w0": {"one": ["ready", 1, f"127.0.0.1:{port}"]}, "fleet/w1": {}}
        assert (found["differ"], found["gone"]) == ([], {"two": 3})
        await registry.kill()
        assert await said("down") > 0
        feeds.stdin.close()
        assert await feeds.wait() == 0
    finally:
        if feeds.returncode is None:
            feeds.kill()
            await feeds.wait()
        await registry.kill()
        shadow.close()

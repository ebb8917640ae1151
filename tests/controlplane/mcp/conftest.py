"""A registry with a launcher in memory, and the official client of the server that speaks for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp import Client
from mcp.types import CallToolResult, TextContent

from controlplane.mcp.answer import LIMIT
from controlplane.mcp.server import build
from proxy.base.tasks import Tasks
from tests.controlplane.api.served import Served, served


class Agent:
    """The tools as an agent has them."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.progress: list[str] = []

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool that did what it was asked says. It fits, and the text says something too."""
        result = await self._call(tool, arguments)
        assert not result.is_error, result.structured_content
        return dict(result.structured_content or {})

    async def refused(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What one says that could not: always `code`, `detail`, `problems` and `next_actions`."""
        result = await self._call(tool, arguments)
        assert result.is_error, result.structured_content
        told = dict(result.structured_content or {})
        assert set(told) == {"code", "detail", "problems", "next_actions"}
        return told

    async def attempt(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Either of the two: an answer, or what has a `code`."""
        return dict((await self._call(tool, arguments)).structured_content or {})

    async def text(self, tool: str, **arguments: Any) -> str:
        result = await self._call(tool, arguments)
        (content,) = result.content
        assert isinstance(content, TextContent)
        return content.text

    async def _call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        result = await self.client.call_tool(tool, arguments, progress_callback=self._progress)
        size = len(json.dumps(result.model_dump(mode="json", by_alias=True, exclude_none=True), ensure_ascii=False))
        assert size < LIMIT or arguments.get("full") or arguments.get("lines", 0) > 50 or arguments.get("limit", 0) > 20
        assert any(isinstance(content, TextContent) and content.text.strip() for content in result.content)
        return result

    async def _progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress.append(message or "")


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served() as one:
        yield one


@asynccontextmanager
async def connected(client: Client) -> AsyncIterator[Agent]:
    """The client, entered and left by one task: its scopes want that, and a fixture's two halves are two."""
    tasks, entered, leave = Tasks("client"), asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with client:
            entered.set()
            await leave.wait()

    holding = tasks.spawn(hold(), "client")
    try:
        waiting = tasks.spawn(entered.wait(), "entered")
        await asyncio.wait((holding, waiting), return_when=asyncio.FIRST_COMPLETED)
        if holding.done():
            holding.result()
        yield Agent(client)
    finally:
        leave.set()
        await asyncio.wait((holding,))
        await tasks.close()


@pytest.fixture
async def agent(api: Served) -> AsyncIterator[Agent]:
    async with connected(Client(build(api.client))) as one:
        yield one

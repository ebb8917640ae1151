"""The link to a registry that is not there: packets to a pod that has just gone vanish, and nobody answers."""

from __future__ import annotations

import asyncio

import pytest

from proxy.feed import http
from proxy.feed.http import UnreachableError
from proxy.feed.link import RegistryLink
from tests.faults.peers import silent_address


async def test_a_dial_without_an_answer_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "CONNECT_SECONDS", 0.1)
    with silent_address() as port:
        link = RegistryLink(f"http://127.0.0.1:{port}", "users-0", environ={"HOME": "/nonexistent"})
        try:
            async with asyncio.timeout(20):
                with pytest.raises(UnreachableError, match="timed out"):
                    await link.request("GET", link.watch_url)
        finally:
            await link.close()

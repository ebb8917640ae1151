"""Whose messages a sandbox wants to be kept: told to every watcher, now and when it connects."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from proxy.base.tasks import Tasks
from proxy.contract.watch import CAPTURE
from tests.controlplane.api.served import Served, Stream
from tests.controlplane.eventually import eventually
from tests.controlplane.sandboxes import document


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks("streams")
    yield tasks
    await tasks.close()


def told(stream: Stream) -> list[dict[str, list[str]]]:
    return [json.loads(event.data) for event in stream.events if event.name == CAPTURE]


async def test_it_is_told_when_it_changes_and_to_who_connects(api: Served, tasks: Tasks) -> None:
    early = Stream(api.client, "shop/other")
    tasks.spawn(early.run(), "watch")
    await eventually(lambda: early.synced)
    await api.client.apply(document("a", capture="all"))
    await eventually(lambda: told(early) == [{"all": ["a"]}])
    await api.client.apply(document("b"))
    await api.client.apply(document("c", capture="none"))
    await eventually(lambda: told(early) == [{"all": ["a"]}, {"none": ["c"]}])

    late = Stream(api.client, "shop/users")
    tasks.spawn(late.run(), "watch")
    await eventually(lambda: late.synced)
    assert told(late) == [{"all": ["a"]}, {"none": ["c"]}]

    await api.client.apply(document("a", capture="errors"))
    await eventually(lambda: told(early)[2:] == [{"errors": ["a"]}])
    await api.client.delete("c")
    await eventually(lambda: told(late)[-1] == {"errors": ["c"]})
    assert api.registry.published.captures == {}

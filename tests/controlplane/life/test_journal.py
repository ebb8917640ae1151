from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from controlplane.life.journal import MAX_TOGETHER, Change, Journal
from controlplane.life.published import PublishedRoutes
from controlplane.life.watchers import Watcher, Watchers
from controlplane.model.routes import RouteChange, RouteEvent
from controlplane.model.workload import Workload
from controlplane.store.port import StoreError
from proxy.base.tasks import Tasks
from proxy.contract.routes import Endpoint, Route
from tests.controlplane.eventually import eventually
from tests.controlplane.life.registry import Wire
from tests.controlplane.life.store import TroubledStore
from tests.controlplane.sandboxes import USERS


class Desk:
    """A journal, what is around it, and what happened in which order."""

    def __init__(self) -> None:
        self.store = TroubledStore()
        self.published = PublishedRoutes(100, 100)
        self.watchers = Watchers()
        self.wire = Wire()
        self.watchers.add(Watcher(USERS, "a", self.wire))
        self.tasks = Tasks("test")
        self.journal = Journal(self.store, self.published, self.watchers, self.tasks)
        self.applied: list[tuple[str, list[int], int, int]] = []

    def change(self, key: str, *, routes: int = 1) -> Change:
        made = [RouteChange(USERS, key, Route(USERS, key, (Endpoint("127.0.0.1", n + 1),))) for n in range(routes)]

        def applied(events: Sequence[RouteEvent]) -> None:
            revision = self.published.revision
            self.applied.append((key, [event.id for event in events], revision, self.wire.writes))

        return Change("sandbox", key, None, applied, made)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.journal.close()
    await desk.tasks.close()


async def test_stored_then_applied_then_told(desk: Desk) -> None:
    desk.store.free.clear()
    commit = desk.tasks.begin(desk.journal.commit(desk.change("a", routes=2)), "test")
    await eventually(lambda: desk.store.writes == 1)
    assert (desk.applied, desk.published.revision, desk.wire.writes) == ([], 100, 0)
    desk.store.free.set()
    await commit
    assert desk.applied == [("a", [101, 102], 102, 0)]
    assert [event.id for event in desk.store.batches[0][0].events] == [101, 102]
    assert desk.wire.writes == 1


async def test_what_waits_is_stored_together_and_in_order(desk: Desk) -> None:
    desk.store.free.clear()
    commits = [desk.tasks.begin(desk.journal.commit(desk.change(f"k{n}")), "test") for n in range(50)]
    await eventually(lambda: desk.store.writes == 1)
    desk.store.free.set()
    await asyncio.gather(*commits)
    assert desk.store.writes <= 2
    assert [key for key, *_ in desk.applied] == [f"k{n}" for n in range(50)]
    assert [ids for _, ids, *_ in desk.applied] == [[101 + n] for n in range(50)]


async def test_one_transaction_has_a_limit(desk: Desk) -> None:
    count = 2 * MAX_TOGETHER + 1
    await asyncio.gather(*(desk.journal.commit(desk.change(f"k{n}")) for n in range(count)))
    assert max(len(batch) for batch in desk.store.batches) <= MAX_TOGETHER
    assert desk.published.revision == 100 + count


async def test_what_cannot_be_stored_is_neither_applied_nor_told_and_uses_up_no_id(desk: Desk) -> None:
    desk.store.problem = StoreError("full", full=True)
    outcomes = await asyncio.gather(
        *(desk.journal.commit(desk.change(f"k{n}")) for n in range(3)), return_exceptions=True
    )
    assert [str(outcome) for outcome in outcomes] == ["full"] * 3
    assert all(isinstance(outcome, StoreError) and outcome.full for outcome in outcomes)
    assert (desk.applied, desk.wire.writes, desk.published.revision) == ([], 0, 100)
    desk.store.problem = None
    await desk.journal.commit(desk.change("k"))
    assert desk.applied == [("k", [101], 101, 0)]
    assert repr(desk.journal) == f"<Journal 1 writes, {desk.journal.failures} failed, 0 waiting>"


async def test_an_object_that_is_not_stored_takes_no_other_with_it(desk: Desk) -> None:
    """As with a store that has no transaction over several objects."""
    desk.store.free.clear()
    first = desk.tasks.begin(desk.journal.commit(desk.change("first")), "test")
    await eventually(lambda: desk.store.writes == 1)
    desk.store.refuses = {"b"}
    commits = [desk.tasks.begin(desk.journal.commit(desk.change(key)), "test") for key in "abc"]
    desk.store.free.set()
    await first
    outcomes = await asyncio.gather(*commits, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["None", "b is refused", "None"]
    assert [(key, ids) for key, ids, *_ in desk.applied] == [("first", [101]), ("a", [102]), ("c", [104])]
    assert (desk.published.lookup(USERS, "b"), desk.published.revision) == (None, 104)
    assert desk.journal.trouble == ""


async def test_a_store_with_a_fault_of_its_own_fails_its_batch_and_nothing_else(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.store.problem = RuntimeError("the driver is broken")
    with pytest.raises(StoreError, match="the store has a fault: RuntimeError: the driver is broken"):
        await desk.journal.commit(desk.change("a"))
    assert desk.journal.trouble == "the store has a fault: RuntimeError: the driver is broken"
    assert [record.message for record in caplog.records] == ["the store has a fault"]
    assert caplog.records[0].exc_info is not None
    desk.store.problem = None
    await desk.journal.commit(desk.change("b"))
    assert [key for key, *_ in desk.applied] == ["b"]
    assert desk.journal.trouble == ""


async def test_a_change_that_cannot_be_applied_is_told_and_stops_nobody(desk: Desk) -> None:
    def broken(events: Sequence[RouteEvent]) -> None:
        raise ValueError("no such life")

    commits = [
        desk.tasks.begin(desk.journal.commit(change), "test")
        for change in (desk.change("a"), Change("sandbox", "b", None, broken), desk.change("c"))
    ]
    outcomes = await asyncio.gather(*commits, return_exceptions=True)
    said = "sandbox b is stored and could not be put to use: ValueError: no such life"
    assert [str(outcome) for outcome in outcomes] == ["None", said, "None"]
    assert [key for key, *_ in desk.applied] == ["a", "c"]
    assert desk.journal.trouble == said


async def test_sidecars_that_cannot_be_told_are_cut_so_that_they_ask_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk.wire, "get_write_buffer_size", lambda: 1 / 0)
    await desk.journal.commit(desk.change("a"))
    await eventually(lambda: desk.wire.closed)
    await desk.journal.commit(desk.change("b"))
    assert [key for key, *_ in desk.applied] == ["a", "b"]


async def test_a_change_that_nobody_waits_for_any_more_is_stored_and_applied(desk: Desk) -> None:
    desk.store.free.clear()
    commit = desk.tasks.begin(desk.journal.commit(desk.change("a")), "test")
    await eventually(lambda: desk.store.writes == 1)
    commit.cancel()
    desk.store.free.set()
    await eventually(lambda: desk.applied != [])


async def test_a_change_without_routes_makes_no_event(desk: Desk) -> None:
    users = Workload(workload=USERS, address="127.0.0.1:1")
    done = []
    await desk.journal.commit(Change("workload", USERS, users, lambda events: done.append(list(events))))
    assert done == [[]]
    assert desk.wire.writes == 0
    assert (await desk.store.load()).workloads == [users]


async def test_closing_writes_what_waits_and_refuses_the_rest(desk: Desk) -> None:
    desk.store.free.clear()
    commits = [desk.tasks.begin(desk.journal.commit(desk.change(f"k{n}")), "test") for n in range(3)]
    await eventually(lambda: desk.store.writes == 1)
    closing = desk.tasks.begin(desk.journal.close(), "test")
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="shutting down"):
        await desk.journal.commit(desk.change("late"))
    desk.store.free.set()
    await asyncio.gather(closing, *commits)
    assert len(desk.applied) == 3

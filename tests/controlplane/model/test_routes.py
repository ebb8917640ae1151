from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.model.observed import Copy, Setback
from controlplane.model.record import Record, created
from controlplane.model.routes import RouteChange, changes, routes_of
from proxy.contract.routes import Endpoint, OnUnavailable, Route, State
from tests.controlplane.sandboxes import USERS, fork, sandbox

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def pending(**spec: str) -> Record:
    made = sandbox("a", fork(), fork("shop/cart", port=9103), **spec)
    return created("a", made.spec, NOW, 60)


def started(record: Record, workload: str = USERS) -> Record:
    wanted = record.fork(workload)
    assert wanted is not None
    copy = Copy(revision=wanted.revision, fork=wanted.fork, endpoints=wanted.fork.endpoints or (), handle={})
    record_ = record.started(copy, NOW)
    assert record_ is not None
    return record_


def test_a_sandbox_without_a_status_has_no_routes() -> None:
    assert routes_of(sandbox()) == []


def test_what_is_being_started_is_pending_and_leads_nowhere() -> None:
    assert routes_of(pending(routingKey="k", onUnavailable="baseline").sandbox()) == [
        Route(USERS, "k", (), "a", 1, State.PENDING, OnUnavailable.BASELINE),
        Route("shop/cart", "k", (), "a", 1, State.PENDING, OnUnavailable.BASELINE),
    ]


def test_what_answers_is_ready() -> None:
    users, cart = routes_of(started(pending()).sandbox())
    assert users == Route(USERS, "a", (Endpoint("127.0.0.1", 9102),), "a", 1)
    assert cart.state is State.PENDING


def test_what_failed_leads_nowhere() -> None:
    record = pending().not_started(USERS, Setback(revision=1, message="exit 1"), NOW)
    assert record is not None
    assert routes_of(record.sandbox())[0] == Route(USERS, "a", (), "a", 1, State.FAILED)


def test_what_is_being_deleted_has_no_routes() -> None:
    assert routes_of(started(pending()).deleted(NOW).sandbox()) == []


ONE = Route(USERS, "a", (Endpoint("127.0.0.1", 1),))
TWO = Route(USERS, "a", (Endpoint("127.0.0.1", 2),), revision=2)
OTHER = Route("shop/cart", "a", (Endpoint("127.0.0.1", 1),))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [], []),
        ([], [ONE], [RouteChange(USERS, "a", ONE)]),
        ([ONE], [ONE], []),
        ([ONE], [TWO], [RouteChange(USERS, "a", TWO)]),
        ([ONE], [], [RouteChange(USERS, "a", None)]),
        ([ONE], [OTHER], [RouteChange("shop/cart", "a", OTHER), RouteChange(USERS, "a", None)]),
    ],
)
def test_what_changes(before: list[Route], after: list[Route], expected: list[RouteChange]) -> None:
    assert changes(before, after) == expected


SETS = st.lists(
    st.builds(
        Route,
        st.sampled_from(["a/a", "a/b"]),
        st.sampled_from(["k", "l"]),
        st.just((Endpoint("127.0.0.1", 1),)),
        st.just("s"),
        st.integers(1, 3),
    ),
    max_size=6,
    unique_by=lambda route: (route.workload, route.key),
)


@given(SETS, SETS)
def test_the_changes_turn_one_set_into_the_other(before: list[Route], after: list[Route]) -> None:
    table = {(route.workload, route.key): route for route in before}
    for change in changes(before, after):
        if change.route is None:
            del table[change.workload, change.key]
        else:
            assert table.get((change.workload, change.key)) != change.route
            table[change.workload, change.key] = change.route
    assert table == {(route.workload, route.key): route for route in after}

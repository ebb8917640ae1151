"""The life of a sandbox as data: every step, and what is answered after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controlplane.model.observed import LOG_CHARACTERS, MESSAGE_CHARACTERS, Copy, Setback
from controlplane.model.record import Record, created
from controlplane.model.routes import routes_of
from controlplane.model.sandbox import Condition, ForkStatus, Metadata, Phase
from proxy.contract.routes import State
from tests.controlplane.sandboxes import USERS, fork, sandbox

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
DEFAULT_TTL = 3600


def new(*forks: dict[str, Any], **spec: Any) -> Record:
    return created("a", sandbox("a", *forks, **spec).spec, NOW, DEFAULT_TTL)


def copy_of(record: Record, workload: str = USERS) -> Copy:
    wanted = record.fork(workload)
    assert wanted is not None
    return Copy(
        revision=wanted.revision,
        fork=wanted.fork,
        endpoints=wanted.fork.endpoints or (),
        handle={"pid": wanted.revision},
    )


def sure(record: Record | None) -> Record:
    assert record is not None
    return record


def started(record: Record, workload: str = USERS) -> Record:
    return sure(record.started(copy_of(record, workload), NOW))


def ready(*forks: dict[str, Any], **spec: Any) -> Record:
    record = new(*forks, **spec)
    for one in record.desired.spec.forks:
        record = started(record, one.workload)
    return sure(record.in_force((), (), NOW))


def updated(record: Record, *forks: dict[str, Any], **spec: Any) -> Record:
    return record.updated_to(sandbox("a", *forks, **spec).spec, LATER, DEFAULT_TTL)


def status(record: Record, workload: str = USERS) -> ForkStatus:
    whole = record.sandbox().status
    assert whole is not None
    return next(one for one in whole.forks if one.workload == workload)


def condition(record: Record, kind: str) -> Condition:
    return next(one for one in record.observed.conditions if one.type == kind)


FAILED = Setback(revision=1, message="exit status 1", log="line 1\nline 2")


def test_a_new_sandbox_is_pending_at_revision_1() -> None:
    record = new()
    assert (record.phase, record.desired.revision) == (Phase.PENDING, 1)
    assert status(record) == ForkStatus(workload=USERS, state=State.PENDING, revision=1)
    assert record.desired.expires == NOW + timedelta(seconds=DEFAULT_TTL)
    assert condition(record, "Ready").reason == "Starting"
    assert record.desired.spec.routing_key == "a"


def test_its_own_ttl_comes_before_the_default() -> None:
    assert new(ttl="30m").desired.expires == NOW + timedelta(minutes=30)


def test_it_is_ready_when_every_fork_answers_and_the_sidecars_know() -> None:
    record = started(new(fork(), fork("shop/cart")))
    assert record.phase is Phase.PENDING
    record = started(record, "shop/cart")
    assert record.phase is Phase.PENDING
    assert condition(record, "Ready").reason == "WaitingForSidecars"
    record = sure(record.in_force((), (), LATER))
    assert record.phase is Phase.READY
    assert condition(record, "Ready") == Condition(
        type="Ready", status="True", reason="ShadowsServe", last_transition_time=LATER
    )
    assert condition(record, "RoutesInForce").status == "True"


def test_sidecars_that_lag_are_named_and_do_not_hold_it_back_for_ever() -> None:
    record = started(new())
    late = tuple(f"sidecar-{number}" for number in range(8))
    record = sure(record.in_force(late, (), NOW))
    assert record.phase is Phase.READY
    said = condition(record, "RoutesInForce")
    assert (said.status, said.reason) == ("False", "SidecarsLag")
    assert said.message == ("not acknowledged by sidecar-0, sidecar-1, sidecar-2, sidecar-3, sidecar-4 and 3 more")
    record = sure(record.in_force((), (), LATER))
    assert condition(record, "RoutesInForce").last_transition_time == LATER


def test_without_a_sidecar_nobody_claims_that_routes_are_in_force() -> None:
    said = condition(sure(started(new()).in_force((), (USERS,), NOW)), "RoutesInForce")
    assert (said.status, said.reason) == ("Unknown", "NoSidecars")
    assert USERS in said.message


def test_saying_the_same_of_the_sidecars_again_is_no_step() -> None:
    record = sure(started(new()).in_force((), (), NOW))
    assert record.in_force((), (), LATER) is None


def test_the_same_spec_again_makes_no_revision_and_restarts_the_ttl() -> None:
    record = ready()
    again = updated(record)
    assert again.desired.revision == 1
    assert again.desired.expires == LATER + timedelta(seconds=DEFAULT_TTL)
    assert again.phase is Phase.READY
    assert routes_of(again.sandbox()) == routes_of(record.sandbox())


def test_the_key_that_is_the_name_and_no_key_at_all_are_the_same_spec() -> None:
    assert updated(ready(), fork(), routingKey="a").desired.revision == 1


def test_an_update_makes_a_revision_and_the_old_one_serves_until_the_new_one_answers() -> None:
    record = updated(ready(), fork(port=2))
    assert (record.phase, record.desired.revision) == (Phase.PENDING, 2)
    assert status(record).revision == 1
    assert status(record).endpoints == ("127.0.0.1:9102",)
    assert condition(record, "Ready").message == (
        "shop/users: revision 2 is being started, revision 1 serves until then"
    )
    old = record.forks[0].serving
    record = started(record)
    assert status(record).revision == 2
    assert record.retiring == (old,)


def test_an_update_that_fails_leaves_the_old_one_serving_and_says_why() -> None:
    record = updated(ready(), fork(port=2))
    record = sure(record.not_started(USERS, Setback(revision=2, message="exit status 1", log="boom"), LATER))
    assert record.phase is Phase.DEGRADED
    assert status(record) == ForkStatus(
        workload=USERS,
        state=State.READY,
        revision=1,
        endpoints=("127.0.0.1:9102",),
        message="revision 2: exit status 1\nboom",
    )
    assert condition(record, "Ready").reason == "UpdateFailed"
    assert condition(record, "Ready").message == "shop/users revision 2: exit status 1\nboom"
    assert record.forks[0].target == (1, record.forks[0].good.fork)  # type: ignore[union-attr]


def test_a_first_start_that_fails_leaves_nothing_serving() -> None:
    record = sure(new().not_started(USERS, FAILED, NOW))
    assert record.phase is Phase.FAILED
    assert status(record).state is State.FAILED
    assert record.forks[0].target is None


def test_asking_again_tries_again_at_the_same_revision() -> None:
    record = updated(sure(new().not_started(USERS, FAILED, NOW)))
    assert (record.phase, record.desired.revision) == (Phase.PENDING, 1)
    assert status(record).state is State.PENDING
    assert record.forks[0].target == (1, record.forks[0].fork)


def test_an_update_after_a_failure_is_pending_like_a_first_start() -> None:
    record = updated(sure(new().not_started(USERS, FAILED, NOW)), fork(port=2))
    assert status(record) == ForkStatus(workload=USERS, state=State.PENDING, revision=2)


def test_a_fork_that_the_update_does_not_touch_keeps_its_revision_and_its_copy() -> None:
    record = ready(fork(), fork("shop/cart"))
    record = updated(record, fork(port=2), fork("shop/cart"))
    assert (status(record).revision, status(record, "shop/cart").revision) == (1, 1)
    record = started(record)
    assert (status(record).revision, status(record, "shop/cart").revision) == (2, 1)
    assert [copy.fork.workload for copy in record.retiring] == [USERS]


def test_only_the_policy_changes_the_routes_without_a_start() -> None:
    before = ready()
    record = updated(before, fork(), onUnavailable="baseline")
    assert record.desired.revision == 2
    assert record.forks[0].current
    assert routes_of(record.sandbox()) != routes_of(before.sandbox())


def test_a_fork_that_is_dropped_retires_and_one_that_is_added_starts() -> None:
    record = updated(ready(), fork("shop/cart"))
    assert [copy.fork.workload for copy in record.retiring] == [USERS]
    assert [one.fork.workload for one in record.forks] == ["shop/cart"]
    assert record.forks[0].revision == 2


def test_a_start_that_was_overtaken_is_no_step() -> None:
    record = new()
    copy = copy_of(record)
    newer = updated(record, fork(port=2))
    assert newer.started(copy, NOW) is None
    assert newer.not_started(USERS, FAILED, NOW) is None
    assert record.deleted(NOW).started(copy, NOW) is None
    assert record.deleted(NOW).not_started(USERS, FAILED, NOW) is None
    dropped = updated(record, fork("shop/cart"))
    assert dropped.started(copy, NOW) is None
    assert dropped.not_started(USERS, FAILED, NOW) is None


def test_a_shadow_that_dies_is_failed_until_it_is_back() -> None:
    record = sure(ready().died(USERS, Setback(revision=1, message="killed by signal 9"), LATER))
    assert record.phase is Phase.FAILED
    assert status(record).state is State.FAILED
    assert "killed by signal 9" in status(record).message
    assert record.retiring == ()
    again = Setback(revision=1, message="exit status 1")
    record = sure(record.not_started(USERS, again, LATER))
    assert status(record).message == "revision 1: exit status 1"
    assert record.phase is Phase.FAILED
    record = started(record)
    assert status(record) == ForkStatus(workload=USERS, state=State.READY, revision=1, endpoints=("127.0.0.1:9102",))


def test_a_shadow_that_dies_while_its_successor_starts_leaves_a_pending_route() -> None:
    record = updated(ready(), fork(port=2))
    record = sure(record.died(USERS, Setback(revision=1, message="exit status 1"), LATER))
    assert status(record).state is State.PENDING
    assert record.phase is Phase.PENDING
    record = started(record)
    assert status(record).revision == 2
    assert status(record).message == ""


def test_after_a_failed_update_the_good_revision_is_the_one_that_comes_back() -> None:
    record = updated(ready(), fork(port=2))
    record = sure(record.not_started(USERS, Setback(revision=2, message="exit status 1"), LATER))
    good = record.forks[0].good
    assert good is not None
    record = sure(record.died(USERS, Setback(revision=1, message="killed"), LATER))
    assert status(record).message == "revision 2: exit status 1\nrevision 1: killed"
    assert record.phase is Phase.FAILED
    assert record.forks[0].target == (1, good.fork)
    record = sure(record.started(good, LATER))
    assert record.phase is Phase.DEGRADED
    assert status(record).message == "revision 2: exit status 1"


def test_only_what_serves_can_die() -> None:
    assert new().died(USERS, FAILED, NOW) is None
    assert started(updated(ready(), fork(port=2))).died(USERS, FAILED, NOW) is None
    assert ready().died("shop/cart", FAILED, NOW) is None


def test_a_copy_that_is_gone_after_a_restart_is_started_again() -> None:
    record = sure(ready().lost(USERS, NOW))
    assert status(record).state is State.PENDING
    assert record.phase is Phase.PENDING
    assert record.lost(USERS, NOW) is None


def test_deleting_stops_what_runs_and_ends_when_it_has_stopped() -> None:
    record = ready()
    copy = record.forks[0].serving
    assert copy is not None
    record = record.deleted(LATER)
    assert record.phase is Phase.DELETING
    assert routes_of(record.sandbox()) == []
    assert condition(record, "Ready").reason == condition(record, "RoutesInForce").reason == "Deleting"
    assert record.retiring == (copy,)
    assert not record.finished
    record = sure(record.retired(copy, LATER))
    assert record.finished
    assert record.retired(copy, LATER) is None


def test_deleting_what_never_ran_is_finished_at_once() -> None:
    assert new().deleted(NOW).finished


def test_what_is_created_while_its_predecessor_is_deleted_goes_on_counting() -> None:
    record = updated(ready().deleted(NOW))
    assert (record.phase, record.desired.revision, record.desired.created) == (Phase.PENDING, 2, LATER)
    assert status(record) == ForkStatus(workload=USERS, state=State.PENDING, revision=2)
    assert len(record.retiring) == 1


def test_a_registry_that_ends_takes_its_shadows_along_and_will_start_them_again() -> None:
    record = sure(ready().suspended(LATER))
    assert status(record).state is State.PENDING
    assert len(record.retiring) == 1
    assert record.suspended(LATER) is None
    assert record.forks[0].target == (1, record.forks[0].fork)


def test_a_suspended_update_that_had_failed_comes_back_with_the_good_revision() -> None:
    record = updated(ready(), fork(port=2))
    record = sure(record.not_started(USERS, Setback(revision=2, message="exit status 1"), LATER))
    record = sure(record.suspended(LATER))
    assert status(record).state is State.PENDING
    assert record.forks[0].target == (1, record.forks[0].good.fork)  # type: ignore[union-attr]


def test_a_record_survives_being_stored() -> None:
    record = updated(ready(), fork(port=2), {"workload": "shop/cart", "command": ["x"], "env": {"A": "1"}})
    record = sure(record.not_started(USERS, Setback(revision=2, message="m", log="l"), LATER))
    assert Record.model_validate_json(record.model_dump_json(by_alias=True)) == record


def test_a_record_of_a_newer_version_is_refused() -> None:
    text = new().model_dump_json(by_alias=True).replace('"deleting"', '"something": 1, "deleting"')
    with pytest.raises(ValueError, match="something"):
        Record.model_validate_json(text)


def test_the_time_of_a_condition_is_that_of_its_last_change() -> None:
    record = ready()
    again = updated(record)
    assert condition(again, "Ready").last_transition_time == condition(record, "Ready").last_transition_time
    changed = updated(record, fork(port=2))
    assert condition(changed, "Ready").last_transition_time == LATER


def test_what_is_told_of_a_failure_is_bounded() -> None:
    log = "\n".join(f"{number} {'x' * 1000}" for number in range(1000))
    record = sure(new().not_started(USERS, Setback(revision=1, message="m", log=log), NOW))
    setback = record.forks[0].setback
    assert setback is not None
    assert len(setback.log) == LOG_CHARACTERS
    assert len(status(record).message) < MESSAGE_CHARACTERS + 100
    assert status(record).message.endswith("x" * 100)


def test_a_restart_is_a_new_revision_of_the_same() -> None:
    record = ready(fork(), fork("shop/cart", port=2))
    spec = record.desired.spec
    again = record.updated_to(spec, LATER, DEFAULT_TTL, restart=frozenset({USERS}))
    assert (again.desired.revision, again.desired.spec) == (2, spec)
    assert [(one.fork.workload, one.revision, one.current) for one in again.forks] == [
        (USERS, 2, False),
        ("shop/cart", 1, True),
    ]
    assert again.phase is Phase.PENDING
    assert status(again).revision == 1  # which serves until the new one does
    assert sure(again.started(copy_of(again), LATER)).phase is Phase.READY


def copied(record: Record, template: str) -> Record:
    """Served by a copy of the baseline's pods."""
    copy = copy_of(record).model_copy(update={"handle": {"template": template, "ports": {"9090": 9091}}})
    return sure(record.started(copy, LATER))


def test_a_copy_of_a_pod_says_its_ports_and_whether_its_baseline_is_another_by_now() -> None:
    record = copied(new(), "1")
    assert status(record).ports == {"9090": 9091}
    assert routes_of(record.sandbox())[0].ports == {9090: 9091}
    assert condition(record, "BaselineCurrent").status == "True"
    late = sure(record.outdated((USERS,), LATER))
    told = condition(late, "BaselineCurrent")
    assert (told.status, told.reason) == ("False", "BaselineChanged")
    assert told.message.startswith(f"the pods of {USERS} are made from another template")
    assert late.outdated((USERS,), LATER) is None, "saying it again is no step"
    assert status(ready()).ports is None
    assert "BaselineCurrent" not in {one.type for one in ready().sandbox().status.conditions}  # type: ignore[union-attr]


def test_a_fork_that_follows_its_baseline_is_started_anew_and_lives_no_longer_for_it() -> None:
    record = sure(copied(new(), "1").outdated((USERS,), LATER))
    again = sure(record.rebuilt(USERS, LATER))
    assert (again.desired.revision, again.desired.expires) == (2, record.desired.expires)
    assert again.desired.since == 1, "its spec is still the one that it was"
    assert status(again).revision == 1
    assert condition(copied(again, "2"), "BaselineCurrent").status == "True"
    assert record.rebuilt("shop/nothing", LATER) is None
    assert record.deleted(NOW).rebuilt(USERS, LATER) is None


def test_what_a_person_calls_it_is_kept_and_makes_no_revision() -> None:
    metadata = Metadata(name="a", labels={"team": "payments"}, owner="ada", description="loyalty")
    record = created("a", sandbox("a").spec, NOW, DEFAULT_TTL, metadata)
    assert record.sandbox().metadata == metadata
    renamed = record.updated_to(record.desired.spec, LATER, DEFAULT_TTL, Metadata(name="a", owner="grace"))
    assert (renamed.desired.revision, renamed.sandbox().metadata) == (1, Metadata(name="a", owner="grace"))
    assert ready().sandbox().metadata == Metadata(name="a")


def test_what_serves_tells_what_it_was_started_from() -> None:
    record = new()
    build = {"digest": "0123456789ab", "built": None, "started": NOW.isoformat()}
    told = status(sure(record.started(copy_of(record).model_copy(update={"handle": {"build": build}}), NOW)))
    assert (told.digest, told.built, told.started) == ("0123456789ab", None, NOW)
    assert status(started(record)).digest is None

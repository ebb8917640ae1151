"""The specs that are kept of a sandbox, and what differs between two of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from controlplane.model.desired import KEPT_SPECS, lived
from controlplane.model.history import differences, history
from controlplane.model.observed import Copy
from controlplane.model.record import Record, created
from controlplane.model.sandbox import Spec
from tests.controlplane.sandboxes import USERS, fork, sandbox

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TTL = 3600


def spec(*forks: dict[str, Any], **more: Any) -> Spec:
    return sandbox("a", *forks, **more).spec


def served(record: Record) -> Record:
    for one in record.forks:
        made = record.started(Copy(revision=one.revision, fork=one.fork, endpoints=(), handle={}), NOW)
        record = made or record
    return record


def at(port: int) -> Record:
    return created("a", spec(fork(port=port)), NOW, TTL)


def updated(record: Record, port: int, restart: frozenset[str] = frozenset()) -> Record:
    return record.updated_to(
        spec(fork(port=port)), NOW + timedelta(minutes=record.desired.revision), TTL, None, restart
    )


def told(record: Record) -> list[tuple[int, int, bool, bool]]:
    return [(item.first, item.revision, item.served, item.current) for item in history(record.desired, record.served)]


def test_each_spec_is_kept_with_its_revisions_and_whether_it_served() -> None:
    record = served(at(1))
    assert told(record) == [(1, 1, True, True)]
    record = updated(record, 1, frozenset([USERS]))
    assert told(record) == [(1, 2, False, True)], "a restart has the same spec"
    record = updated(served(record), 2)
    assert told(record) == [(3, 3, False, True), (1, 2, True, False)]
    record = updated(updated(record, 2), 3)
    assert told(record) == [(4, 4, False, True), (3, 3, False, False), (1, 2, True, False)]
    newest, _, oldest = history(record.desired, record.served)
    assert newest.changed == ("spec.forks[shop/users].endpoints",)
    assert (oldest.applied, oldest.changed) == (NOW, ())


def test_so_many_are_kept_and_no_more() -> None:
    record = at(1)
    for port in range(2, 10):
        record = updated(record, port)
    assert [first for first, _, _, _ in told(record)] == [9, 8, 7, 6, 5, 4]
    assert len(record.desired.past) == KEPT_SPECS


def test_nothing_is_kept_of_what_has_ended() -> None:
    record = updated(at(1), 2).deleted(NOW)
    assert record.buried().desired.past == ()
    assert told(updated(record, 3)) == [(3, 3, False, True)], "it begins anew"


def test_a_record_of_an_older_version_knows_its_spec_only() -> None:
    record = served(at(1))
    old = record.model_copy(update={"desired": record.desired.model_copy(update={"first": 0, "applied": None})})
    assert told(updated(old, 2)) == [(2, 2, False, True), (1, 1, True, False)]


def test_what_differs_is_told_by_path() -> None:
    before = spec(
        {"workload": USERS, "command": ["python", "a.py"], "env": {"A": "1", "B": "2"}}, fork("shop/cart"), ttl="1h"
    )
    after = spec(
        fork("shop/orders"), {"workload": USERS, "command": ["python", "b.py"], "env": {"A": "1", "B": "3"}}, ttl="2h"
    )
    found = {item.path: (item.before, item.after) for item in differences(before, after)}
    assert found == {
        "spec.ttl": ("1h", "2h"),
        "spec.forks[shop/users].command": (["python", "a.py"], ["python", "b.py"]),
        "spec.forks[shop/users].env.B": ("2", "3"),
        "spec.forks[shop/cart]": (fork("shop/cart"), None),
        "spec.forks[shop/orders]": (None, fork("shop/orders")),
    }
    assert differences(before, before) == ()
    (gone, *_) = (item for item in differences(before, after) if item.path.endswith("[shop/cart]"))
    assert "after" not in gone.model_fields_set


def test_what_is_extended_stays_so_until_another_ttl_is_asked_for() -> None:
    record = created("a", spec(ttl="1h"), NOW, TTL)
    longer = record.extended(7200, NOW)
    assert longer is not None
    assert longer.desired.expires == NOW + timedelta(hours=3)
    again = longer.updated_to(spec(ttl="1h"), NOW + timedelta(minutes=5), TTL)
    assert again.desired.expires == NOW + timedelta(hours=3), "not taken back"
    late = longer.updated_to(spec(ttl="1h"), NOW + timedelta(hours=2, minutes=30), TTL)
    assert late.desired.expires == NOW + timedelta(hours=3, minutes=30)
    assert longer.updated_to(spec(ttl="30m"), NOW, TTL).desired.expires == NOW + timedelta(minutes=30)
    assert lived(longer.desired) == "the time by which it was extended is over"
    assert lived(late.desired) == "its ttl was 1h"
    assert record.deleted(NOW).extended(60, NOW) is None

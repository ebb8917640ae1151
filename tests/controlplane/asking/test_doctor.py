from __future__ import annotations

from controlplane.asking.doctor import Check, lost_keys
from controlplane.model.feedback import LostKey


def test_a_lost_key_is_told_by_the_names_of_the_workloads_and_what_to_do() -> None:
    lost = LostKey(
        workload="shop/users", calling="shop/payments", example="POST /charge", count=3, todo="hand on `traceparent`."
    )
    assert lost_keys("agent-42", [lost]) == [
        Check(
            False,
            "sandbox agent-42",
            "shop/users may lose the key when it calls shop/payments: 3 times, as in POST /charge",
            "hand on `traceparent`",
        )
    ]

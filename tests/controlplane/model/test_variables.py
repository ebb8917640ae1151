from __future__ import annotations

import pytest

from controlplane.model.variables import bypasses, substituted, upstream_variables


def test_the_variables_of_an_upstream() -> None:
    assert upstream_variables("mail-relay", "smtp", "127.0.0.1", 25) == {
        "MAIL_RELAY_URL": "smtp://127.0.0.1:25",
        "MAIL_RELAY_HOST": "127.0.0.1",
        "MAIL_RELAY_PORT": "25",
    }
    assert upstream_variables("a", "none", "h", 1)["A_URL"] == "h:1"


def test_what_a_value_brings_is_not_looked_at_again() -> None:
    values = {"A": "${B}", "B": "b"}
    assert substituted("${A} ${B} ${C} $A $ {A} ${A", values) == "${B} b ${C} $A $ {A} ${A"


@pytest.mark.parametrize(
    ("env", "found"),
    [
        ({}, []),
        ({"DB_URL": "postgresql://u@${DB_HOST}:${DB_PORT}/x"}, []),
        ({"DB_URL": "${DB_URL}/x"}, []),
        ({"DB_HOST": "localhost"}, []),
        ({"DB_URL": "postgresql://u@10.0.0.7:5432/x"}, [("DB_URL", "db")]),
        ({"DB_URL": "postgresql://u@${DB_HOST}:5432/x"}, [("DB_URL", "db")]),
        ({"DB_PORT": "5432"}, [("DB_PORT", "db")]),
        ({"OTHER_URL": "http://x"}, []),
    ],
)
def test_what_leads_past_the_sidecar(env: dict[str, str], found: list[tuple[str, str]]) -> None:
    assert list(bypasses(env, ["db", "cache"])) == found

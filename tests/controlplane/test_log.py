"""The registry's log has the sidecar's form: whoever reads both reads one format."""

from __future__ import annotations

import logging

import pytest

from controlplane import log as ours
from proxy.telemetry import log as sidecars


def record(message: str, *, failed: bool = False) -> logging.LogRecord:
    info = None
    if failed:
        try:
            raise ValueError("a\nb")
        except ValueError as error:
            info = (type(error), error, error.__traceback__)
    made = logging.LogRecord("some.module", logging.WARNING, __file__, 1, message, (), info)
    made.created, made.msecs = 1_700_000_000.007, 7.0
    return made


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("message", ["plain", "two\nlines\x1b[0m", "caf\N{LATIN SMALL LETTER E WITH ACUTE}\u2028"])
def test_the_form_is_that_of_the_sidecar(form: str, failed: bool, message: str) -> None:
    mine, theirs = ours.FORMATS[form](), sidecars.FORMATS[form]()
    assert mine.format(record(message, failed=failed)) == theirs.format(record(message, failed=failed))


def test_the_time_is_of_one_zone() -> None:
    assert ours.FORMATS["text"]().format(record("a")) == "2023-11-14T22:13:20.007Z warning some.module a"


def test_both_have_the_same_forms() -> None:
    assert set(ours.FORMATS) == set(sidecars.FORMATS)

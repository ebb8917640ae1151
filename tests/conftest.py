"""The suite runs on the sources as they stand, and on the data path as `make compile` has compiled it."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

try:
    from proxy import BUILD
except ImportError as error:  # compiled modules that are not those of the sources
    pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")  # how long an example takes says how busy the machine is

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has started this in the background, and programs under test would inherit that Ctrl-C is nothing to them.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    return f"data path: {BUILD}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only the interpreted run can tell, and count it as deselected."""
    if BUILD == "interpreted":
        return
    left_out = [item for item in items if item.get_closest_marker("interpreted")]
    items[:] = [item for item in items if not item.get_closest_marker("interpreted")]
    config.hook.pytest_deselected(items=left_out)

"""Programs that tests want and a person may lack.

A missing one skips the test with a reason. Where SKYCAP_REQUIRE_TOOLS=1 says that it must be there (continuous
integration), the test fails instead: a skip that nobody reads is a test that nobody runs.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

_WHERE = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin:/sbin:{Path(sys.executable).parent}"
"""Debian puts servers where only root looks, and a wheel puts them beside our Python."""


def find(name: str) -> str | None:
    """The path of a program, None when it is not installed."""
    return shutil.which(name, path=_WHERE)


def require(*names: str) -> None:
    """Skip the calling test or fixture when one of the programs is not installed, or fail it where they must be."""
    missing = [name for name in names if find(name) is None]
    if not missing:
        return
    reason = f"needs {', '.join(missing)}, which is not installed"
    if os.environ.get("SKYCAP_REQUIRE_TOOLS") == "1":
        pytest.fail(f"{reason} although SKYCAP_REQUIRE_TOOLS=1")
    pytest.skip(reason)

"""One running sidecar per process of tests: its start costs more than a hundred runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.peers import Skycap
from tests.conformance.rig import Rig, rig


@pytest.fixture(scope="session")
def skycap() -> Iterator[Rig]:
    with rig(Skycap()) as made:
        yield made

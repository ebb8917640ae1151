from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controlplane.launch.processes import Marked


@pytest.fixture
def marked() -> Iterator[Marked]:
    """An environment to start processes with. At the end of the test none of them may be left."""
    marked = Marked()
    yield marked
    assert marked.end() == []

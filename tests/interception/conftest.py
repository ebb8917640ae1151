"""A street with an intercepted house, made once, and empty ones for tests that change something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interception.hosts import require_hosts
from tests.interception.street import EXCLUDED, PAYMENTS, SHADOW, Street

GRPC_SHADOW = 9103

ROUTES = f"""
routes:
- {{workload: shop/users, key: agent-42, endpoints: ["{PAYMENTS[4]}:{SHADOW}"]}}
- {{workload: shop/users, key: grpc-1, endpoints: ["{PAYMENTS[4]}:{GRPC_SHADOW}"]}}
- {{workload: shop/users, key: agent-6, endpoints: ["[{PAYMENTS[6]}]:{SHADOW}"]}}
"""


@pytest.fixture
def street() -> Iterator[Street]:
    """Nobody intercepts anything yet."""
    require_hosts()
    with Street() as made:
        yield made


@pytest.fixture(scope="session")
def routes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sidecar's own user can read it is seen to by a capability; see `street`."""
    path = tmp_path_factory.mktemp("interception") / "routes.yaml"
    path.write_text(ROUTES)
    return path


@pytest.fixture(scope="session")
def intercepted(routes: Path) -> Iterator[Street]:
    """A sidecar with two shadows serves what is redirected; one port is left alone in each direction."""
    require_hosts()
    with (
        Street() as made,
        made.sidecar("--routes", str(routes)),
        made.intercepted("--exclude-inbound-ports", str(EXCLUDED), "--exclude-outbound-ports", str(EXCLUDED)),
    ):
        yield made


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def version(request: pytest.FixtureRequest) -> int:
    chosen: int = request.param
    return chosen

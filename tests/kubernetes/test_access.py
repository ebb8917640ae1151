"""Who the control plane takes for a sidecar: whoever has a token of the cluster that is meant for it."""

from __future__ import annotations

import subprocess

import pytest

from tests.kubernetes.installation import SYSTEM, Installation


def watched(installed: Installation, token: str, workload: str) -> int:
    """The status of a watch, which goes on until curl has had enough of it."""
    url = f"http://{installed.address('skycap', SYSTEM)}:7070/v1/watch/routes?workload={workload}&sidecar=somebody"
    command = [
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-m",
        "2",
        url,
        "-H",
        f"authorization: Bearer {token}",
    ]
    with installed.node.inside():
        return int(subprocess.run(command, capture_output=True, text=True).stdout)


@pytest.mark.parametrize(
    ("audience", "workload", "status"),
    [("skycap", "shop/users", 200), ("skycap", "other/users", 403), ("vault", "shop/users", 401)],
)
def test_a_token_opens_its_own_namespace(installed: Installation, audience: str, workload: str, status: int) -> None:
    token = installed.kubectl("-n", "shop", "create", "token", "default", "--audience", audience).strip()
    assert watched(installed, token, workload) == status


def test_a_sidecars_token_starts_nothing(installed: Installation) -> None:
    token = installed.kubectl("-n", "shop", "create", "token", "default", "--audience", "skycap").strip()
    url = f"http://{installed.address('skycap', SYSTEM)}:7070/v1/sandboxes/a"
    fields = ["-H", f"authorization: Bearer {token}", "-H", "content-type: application/json"]
    with installed.node.inside():
        done = subprocess.run(
            ["curl", "-s", "-m", "5", "-X", "PUT", url, "-d", "{}", *fields], capture_output=True, text=True
        )
    assert '"status":403' in done.stdout


@pytest.mark.parametrize("token", ["a.b.c", "nonsense", "x" * 4000])
def test_nonsense_opens_nothing(installed: Installation, token: str) -> None:
    assert watched(installed, token, "shop/users") == 401

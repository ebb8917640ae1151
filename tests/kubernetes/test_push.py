"""Files that are pushed to a fork on a cluster: over the folder of its image, under the same key."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.kubernetes.cluster.images import REPOSITORY
from tests.kubernetes.installation import SYSTEM, Installation

FOLDER = "/usr/lib/python3/dist-packages/skycap/packages/controlplane/demo/shop"
"""Of the image, where the shop's programs are."""
FORK = {"workload": "shop/users", "env": {"A": "1"}, "cwd": FOLDER}


def push(installed: Installation, *arguments: str) -> subprocess.CompletedProcess[str]:
    return installed.skycap("sandbox", "push", "pushed", "shop/users", "--timeout", "120", *arguments)


def changed(folder: Path, before: str, after: str) -> str:
    """The shop's users with another text in it."""
    text = (REPOSITORY / "controlplane/demo/shop/users.py").read_text()
    assert before in text
    (folder / "users.py").write_text(text.replace(before, after))
    return str(folder / "users.py")


def listed(installed: Installation) -> list[str]:
    installed.until(lambda: len(installed.shadows()) == 2, "the shadow before is gone")
    (pod,) = installed.objects("pods", "-n", "shop", "-l", "skycap.dev/sandbox=pushed")
    command = ("exec", pod["metadata"]["name"], "-c", "users", "--", "ls", FOLDER)
    return installed.kubectl("-n", "shop", *command).split()


def test_a_push_starts_the_shadow_anew_with_the_files(installed: Installation, tmp_path: Path) -> None:
    installed.apply("pushed", FORK)
    installed.ready("pushed")
    assert "Ada Lovelace" in installed.request("users", "/users/ada", key="pushed").body
    done = push(installed, "--as", "users.py", changed(tmp_path, "Ada Lovelace", "Ada Pushed"))
    assert done.returncode == 0, done.stdout + done.stderr
    reply = installed.request("users", "/users/ada", key="pushed")
    assert "Ada Pushed" in reply.body
    assert reply.served_by == "shop/users;sandbox=pushed;rev=2"
    assert "Ada Lovelace" in installed.request("users", "/users/ada").body, "the baseline has its own"
    assert "catalog.py" in listed(installed), "the rest is that of the image"
    done = push(installed, "--remove", "catalog.py", "--build", "cp users.py built.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"built.py", "users.py"} <= set(listed(installed))
    assert "catalog.py" not in listed(installed)
    assert "Ada Pushed" in installed.request("users", "/users/ada", key="pushed").body


def test_a_push_that_fails_says_why_and_leaves_what_served(installed: Installation, tmp_path: Path) -> None:
    installed.apply("pushed", FORK)
    installed.ready("pushed")
    failed = push(installed, "--as", "users.py", changed(tmp_path, "import web", "import webb"))
    assert failed.returncode != 0
    assert "cannot import name 'webb' from 'aiohttp'" in failed.stdout + failed.stderr
    assert installed.request("users", "/users/ada", key="pushed").served_by == "shop/users;sandbox=pushed;rev=1"
    failed = push(installed, "--as", "users.py", changed(tmp_path, "Ada", "Eve"), "--build", "ls /nowhere")
    assert failed.returncode != 0
    said = failed.stdout + failed.stderr
    assert "container skycap-build: it ended with code 1" in said
    assert "/nowhere: No such file or directory" in said


def test_another_leader_has_what_was_pushed(installed: Installation, tmp_path: Path) -> None:
    installed.apply("pushed", FORK)
    installed.ready("pushed")
    done = push(installed, "--as", "users.py", changed(tmp_path, "Ada Lovelace", "Ada Pushed"))
    assert done.returncode == 0, done.stdout + done.stderr
    before = installed.leader()
    installed.kubectl("-n", SYSTEM, "delete", "pod", before, "--grace-period=0", "--force")
    installed.until(lambda: installed.leader() not in ("", before), "another one leads", seconds=60)
    installed.kubectl("-n", "shop", "delete", "pod", "-l", "skycap.dev/sandbox=pushed")
    installed.until(lambda: installed.condition("pushed")["status"] == "False", "its pod is gone")
    installed.ready("pushed")
    assert "Ada Pushed" in installed.request("users", "/users/ada", key="pushed").body
    installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=120s")


@pytest.mark.parametrize("fork", [{"workload": "shop/users", "env": {"A": "1"}}], ids=["no folder"])
def test_where_nobody_says_which_folder(installed: Installation, tmp_path: Path, fork: dict[str, object]) -> None:
    installed.apply("pushed", fork)
    installed.ready("pushed")
    before = installed.sandbox("pushed")["status"]["revision"]
    failed = push(installed, "--as", "users.py", changed(tmp_path, "Ada", "Eve"))
    assert failed.returncode != 0
    assert "its container has no workingDir. Say cwd in the fork first" in failed.stdout + failed.stderr
    assert installed.sandbox("pushed")["status"]["revision"] == before

"""Pushes over REST: what is asked, uploaded, pushed and shown; a launcher in memory stands for the machine."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controlplane.api.access import Role
from controlplane.client import RegistryError
from controlplane.files.tree import MAX_FILE_BYTES, digest_of
from controlplane.launch.port import LaunchError
from controlplane.model.push import FileName, Push, Question, SentFile
from controlplane.model.sandbox import Phase
from controlplane.model.workload import Workload
from proxy.base.tasks import Tasks
from tests.controlplane.api.served import TOKENS, Served
from tests.controlplane.eventually import eventually
from tests.controlplane.sandboxes import USERS, document, fork

PUSH = "/v1/sandboxes/agent-42/push"


@pytest.fixture
async def base(api: Served, tmp_path: Path) -> Path:
    """The work folder of the baseline of shop/users."""
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / "users.py").write_text("old\n")
    command = ("python", "users.py")
    await api.client.put_workload(Workload(workload=USERS, address="127.0.0.1:1", command=command, cwd=str(folder)))
    return folder


def change(text: str = "new\n", **fields: Any) -> Push:
    return Push(workload=USERS, files=(SentFile(path="users.py", text=text),), **fields)


async def test_a_push_makes_a_sandbox_that_runs_the_baselines_command(api: Served, base: Path) -> None:
    pushed = await api.client.push("agent-42", change())
    assert (pushed.sandbox, pushed.workload, pushed.revision, pushed.phase) == ("agent-42", USERS, 1, Phase.READY)
    assert [(one.path, one.change) for one in pushed.files_changed] == [("users.py", "changed")]
    assert pushed.failure is None
    sandbox = await api.client.sandbox("agent-42")
    (only,) = sandbox.spec.forks
    assert (only.workload, only.files, only.command, only.cwd) == (USERS, pushed.digest, None, None)
    assert sandbox.routing_key == "agent-42"
    assert (base / "users.py").read_text() == "old\n"


async def test_another_push_is_another_revision_under_the_same_key_and_the_same_is_none(
    api: Served, base: Path
) -> None:
    await api.client.push("agent-42", change())
    second = await api.client.push("agent-42", change("newer\n", build=("make",)))
    assert (second.revision, second.phase) == (2, Phase.READY)
    await eventually(lambda: api.launcher.machine.running() == [f"agent-42 {USERS} r2"])
    assert (await api.client.sandbox("agent-42")).spec.forks[0].build == ("make",)

    same = await api.client.push("agent-42", change("newer\n"))
    assert (same.revision, same.files_changed, same.digest) == (2, (), second.digest)
    dropped = await api.client.push("agent-42", change("newest\n", build=()))
    assert (dropped.revision, (await api.client.sandbox("agent-42")).spec.forks[0].build) == (3, None)


async def test_what_does_not_start_is_told_with_its_last_lines_and_the_one_before_serves_on(
    api: Served, base: Path
) -> None:
    await api.client.push("agent-42", change())
    api.launcher.failing[2] = LaunchError("`python users.py` ended with exit code 1", "Traceback\nKeyError: 'cents'")
    failed = await api.client.push("agent-42", change("broken\n"))
    assert (failed.revision, failed.phase) == (2, Phase.DEGRADED)
    assert failed.failure is not None
    assert failed.failure.message == "revision 2: `python users.py` ended with exit code 1"
    assert failed.failure.log == "Traceback\nKeyError: 'cents'"
    assert api.launcher.machine.running() == [f"agent-42 {USERS} r1"]
    fixed = await api.client.push("agent-42", change("fixed\n"))
    assert (fixed.revision, fixed.phase, fixed.failure) == (3, Phase.READY, None)


async def test_a_push_that_is_not_waited_for_is_pending(api: Served, base: Path) -> None:
    api.launcher.hold.add(1)
    pushed = await api.client.push("agent-42", change(), seconds=0)
    assert pushed.phase is Phase.PENDING
    api.launcher.let()
    assert (await api.client.wait("agent-42", 20)).status is not None


async def test_pushes_to_one_sandbox_at_once_lose_nothing(api: Served, base: Path) -> None:
    async def push(number: int) -> None:
        files = (SentFile(path=f"file{number}", text=str(number)),)
        await api.client.push("agent-42", Push(workload=USERS, files=files), seconds=0)

    await asyncio.gather(*map(push, range(20)))
    shown = await api.client.files("agent-42")
    assert sorted(one.path for one in shown) == sorted(f"file{number}" for number in range(20))


async def test_a_sandbox_with_another_fork_gets_this_one_beside_it(api: Served, base: Path) -> None:
    await api.client.apply(document("agent-42", fork("shop/payments")))
    await api.client.push("agent-42", change())
    forks = (await api.client.sandbox("agent-42")).spec.forks
    assert [one.workload for one in forks] == ["shop/payments", USERS]


async def test_only_what_is_not_here_is_uploaded(api: Served, base: Path) -> None:
    big = b"x" * 300_000
    names = tuple(
        FileName(path=path, digest=digest_of(data), size=len(data))
        for path, data in (("users.py", b"old\n"), ("big", big), ("again", big))
    )
    needed = await api.client.files_needed("agent-42", Question(workload=USERS, files=names))
    assert needed.changed == ("big", "again")
    assert needed.missing == (digest_of(big),)
    assert await api.client.upload(big) == digest_of(big)
    files = tuple(SentFile(path=path, digest=digest_of(big)) for path in ("big", "again"))
    await api.client.push("agent-42", Push(workload=USERS, files=files))
    again = await api.client.files_needed("agent-42", Question(workload=USERS, files=names))
    assert (again.changed, again.missing) == ((), ())


async def test_an_upload_is_what_its_digest_says_and_bounded(api: Served) -> None:
    stream = {"content-type": "application/octet-stream"}
    status, body, _ = await api.ask("PUT", f"/v1/files/{'0' * 64}", data=b"x", headers=stream)
    assert (status, body["code"]) == (422, "invalid")
    assert digest_of(b"x") in body["problems"][0]["message"]
    status, body, _ = await api.ask("PUT", f"/v1/files/{digest_of(b'x')}", data=b"x", headers={"content-type": "a/b"})
    assert (status, body["code"]) == (415, "not-bytes")
    much = b"x" * (MAX_FILE_BYTES + 1)
    status, body, _ = await api.ask("PUT", f"/v1/files/{digest_of(much)}", data=io.BytesIO(much), headers=stream)
    assert (status, body["code"]) == (413, "body-too-large")
    assert str(MAX_FILE_BYTES) in body["detail"]


@pytest.mark.parametrize(
    ("push", "path", "said"),
    [
        ({"files": [{"path": "../x", "text": ""}]}, "files[0].path", "leads out of the work folder"),
        ({"diff": "--- a/users.py\n+++ b/users.py\n@@ -1 +1 @@\n-other\n+x\n"}, "diff[users.py]", "hunk 1"),
        ({"files": [{"path": "x"}]}, "files[0]", "exactly one of digest, text and base64"),
        ({"files": [{"path": "x", "base64": "%"}]}, "files[0].base64", "is not base64"),
        ({"fils": []}, "fils", "did you mean 'files'?"),
        ({"workload": "shop/user"}, "workload", "the workloads here are shop/users"),
        ({"files": [{"path": "users.py", "text": "old\n"}]}, "files", "nothing in them differs from the baseline's"),
        ({"build": [""]}, "build", "names no program"),
    ],
)
async def test_what_cannot_be_pushed_is_named_and_nothing_is_changed(
    api: Served, base: Path, push: dict[str, Any], path: str, said: str
) -> None:
    status, body, _ = await api.ask("POST", PUSH, json={"workload": USERS, **push})
    assert (status, body["code"]) == (422, "invalid")
    assert [problem["path"] for problem in body["problems"]] == [path]
    assert said in body["problems"][0]["message"]
    assert await api.client.sandboxes() == []


async def test_files_cannot_be_pushed_to_what_somebody_else_runs(api: Served, base: Path) -> None:
    await api.client.apply(document("agent-42", fork(USERS)))
    with pytest.raises(RegistryError, match="whose endpoints somebody else runs"):
        await api.client.push("agent-42", change())


async def test_a_work_folder_that_is_gone_is_told(api: Served, base: Path) -> None:
    shutil.rmtree(base)
    with pytest.raises(RegistryError, match="cannot be read: No such file or directory"):
        await api.client.push("agent-42", change())


async def test_what_was_pushed_is_shown_to_whoever_may_read(api: Served, base: Path) -> None:
    await api.client.push("agent-42", change())
    viewer = {"authorization": f"Bearer {TOKENS[Role.VIEWER]}"}
    async with aiohttp.ClientSession(headers=viewer) as http:
        async with http.get(f"{api.url}/v1/sandboxes/agent-42/files?workload={USERS}") as answer:
            (shown,) = (await answer.json())["items"]
        assert shown["diff"].splitlines()[-2:] == ["-old", "+new"]
        async with http.post(f"{api.url}{PUSH}", json={"workload": USERS, "removed": ["users.py"]}) as answer:
            assert answer.status == 403
    with pytest.raises(RegistryError, match="does not fork shop/payments"):
        await api.client.files("agent-42", "shop/payments")


async def test_files_are_gone_with_their_sandbox(api: Served, base: Path) -> None:
    pushed = await api.client.push("agent-42", change())
    store = api.registry.pushing.files
    sweep = Tasks("test").begin(api.registry.pushing.sweep(), "sweep")
    try:
        await eventually(lambda: "next sweep" in repr(api.registry._around.tasks))
        assert store.tree(pushed.digest) is not None
        for path in store.folder.rglob("*"):
            os.utime(path, (0, 0))
        await api.client.delete("agent-42", 20)
        await eventually(lambda: store.tree(pushed.digest) is None and not store.has(digest_of(b"new\n")))
    finally:
        sweep.cancel()
        await asyncio.wait([sweep])


async def test_an_unknown_sandbox_has_no_files(api: Served) -> None:
    status, body, _ = await api.ask("GET", "/v1/sandboxes/nobody/files")
    assert (status, body["code"]) == (404, "not-found")

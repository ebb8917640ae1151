"""Shadows with pushed files: a real application that runs what was pushed, in both ways of laying it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from controlplane.files.store import FileStore
from controlplane.files.tree import Content, Tree, digest_of
from controlplane.launch.changed import BUILD_LOG
from controlplane.launch.port import LaunchError, LaunchRequest, Running
from controlplane.launch.process import ProcessLauncher
from controlplane.model.sandbox import Fork
from controlplane.model.workload import Readiness, Workload
from proxy.base.tasks import Tasks
from tests.controlplane.process.marked import Marked, eventually

APP = Path(__file__).with_name("app.py").read_text()
CHANGED = APP.replace('"arguments": sys.argv[1:],', '"arguments": ["changed"],')
assert CHANGED != APP


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "service"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "shadows" / ".files")


@pytest.fixture(params=["overlay", "copy"])
async def launcher(
    request: pytest.FixtureRequest, tmp_path: Path, store: FileStore, marked: Marked
) -> AsyncIterator[ProcessLauncher]:
    """copy: as on a machine where nobody may mount anything."""
    launcher = ProcessLauncher(tmp_path / "shadows", marked.environ, store)
    assert launcher._changed is not None
    launcher._changed._layer._overlay = request.param == "overlay"
    yield launcher
    await ProcessLauncher(tmp_path / "shadows", marked.environ, store).sweep()


def pushed(store: FileStore, **files: str) -> str:
    contents = {path: Content(digest_of(text.encode()), len(text.encode())) for path, text in files.items()}
    return store.keep(Tree(contents), [text.encode() for text in files.values()])


def asked(base: Path, files: str, *build: str, revision: int = 1) -> LaunchRequest:
    definition = Workload(
        workload="shop/users",
        address="127.0.0.1:18080",
        command=(sys.executable, f"{base}/app.py"),
        cwd=str(base),
        readiness=Readiness(path="/health"),
    )
    fork = Fork(workload="shop/users", files=files, build=build or None)
    return LaunchRequest("agent-42", "Key.42", revision, fork, definition)


async def arguments(running: Running) -> list[str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{running.endpoints[0]}/who", headers={"baggage": "routing-key=Key.42"}) as answer,
    ):
        who = await answer.json()
        found: list[str] = who["arguments"]
        return found


def folders(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "shadows").iterdir() if path.name != ".files"]


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


async def test_a_shadow_runs_what_was_pushed_with_the_baselines_command(
    launcher: ProcessLauncher, store: FileStore, base: Path, tmp_path: Path, marked: Marked
) -> None:
    first = await launcher.start(asked(base, pushed(store, **{"app.py": CHANGED})))
    second = await launcher.start(asked(base, pushed(store, other="x"), revision=2))
    assert await arguments(first) == ["changed"]
    assert await arguments(second) == []
    assert first.handle["build"]["digest"] != second.handle["build"]["digest"]

    again = ProcessLauncher(tmp_path / "shadows", marked.environ, store)
    adopted = await again.adopt(asked(base, pushed(store, **{"app.py": CHANGED})), first.handle)
    assert adopted is not None
    assert await arguments(adopted) == ["changed"]
    await again.stop(adopted)
    await launcher.stop(second)
    assert folders(tmp_path) == []
    assert not marked.alive()
    assert content(base) == {"app.py": APP}


async def test_what_does_not_start_is_told_with_its_last_lines(
    launcher: ProcessLauncher, store: FileStore, base: Path, tmp_path: Path, marked: Marked
) -> None:
    with pytest.raises(LaunchError, match="ended with exit code 1 before it was ready") as caught:
        await launcher.start(asked(base, pushed(store, **{"app.py": "import nothing_of_the_kind\n"})))
    assert "ModuleNotFoundError: No module named 'nothing_of_the_kind'" in caught.value.log
    assert f'File "{base}/app.py", line 1' in caught.value.log or "work/app.py" in caught.value.log
    assert folders(tmp_path) == []
    assert not marked.alive()


async def test_a_build_runs_in_the_work_folder_before_the_service_and_its_output_is_the_error(
    launcher: ProcessLauncher, store: FileStore, base: Path, tmp_path: Path, marked: Marked
) -> None:
    files = pushed(store, **{"app.in": CHANGED})
    running = await launcher.start(asked(base, files, "cp", "app.in", "app.py"))
    assert await arguments(running) == ["changed"]
    await launcher.stop(running)

    with pytest.raises(
        LaunchError, match="the build `sh -c 'echo no such type; exit 3'` ended with exit code 3"
    ) as bad:
        await launcher.start(asked(base, files, "sh", "-c", "echo no such type; exit 3"))
    assert bad.value.log == "no such type"
    with pytest.raises(LaunchError, match="the build"):
        await launcher.start(asked(base, files, "/no/such/program"))
    assert folders(tmp_path) == []
    assert (base / "app.py").read_text() == APP
    assert not marked.alive()


async def test_a_start_that_is_cancelled_in_its_build_leaves_nothing(
    launcher: ProcessLauncher, store: FileStore, base: Path, tmp_path: Path, marked: Marked
) -> None:
    start = Tasks("test").begin(launcher.start(asked(base, pushed(store, x="x"), "sleep", "600")), "start")
    await eventually(lambda: bool(marked.alive()))
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await eventually(lambda: not marked.alive())
    assert folders(tmp_path) == []


async def test_what_a_registry_that_was_killed_was_building_is_ended(
    launcher: ProcessLauncher, store: FileStore, base: Path, tmp_path: Path, marked: Marked
) -> None:
    start = Tasks("test").begin(launcher.start(asked(base, pushed(store, x="x"), "sleep", "600")), "start")
    await eventually(lambda: bool(marked.alive()))
    await ProcessLauncher(tmp_path / "shadows", marked.environ, store).sweep()  # as the next one does
    await eventually(lambda: not marked.alive())
    assert folders(tmp_path) == []
    with pytest.raises(LaunchError):
        await start
    assert not marked.alive()


async def test_files_that_nobody_pushed_are_refused_before_anything_is_started(
    launcher: ProcessLauncher, store: FileStore, base: Path, tmp_path: Path
) -> None:
    request = asked(base, "0" * 64)
    (problem,) = launcher.check(request.fork, request.definition)
    assert problem.path == "files"
    assert "skycap sandbox push" in problem.message
    assert request.definition is not None
    nowhere = request.definition.model_copy(update={"cwd": ""})
    assert "has no work folder" in launcher.check(request.fork, nowhere)[0].message
    assert ProcessLauncher(tmp_path / "other", os.environ).check(request.fork, request.definition) != []


async def test_the_log_of_a_build_is_beside_that_of_the_copy(
    launcher: ProcessLauncher, store: FileStore, base: Path, tmp_path: Path
) -> None:
    running = await launcher.start(asked(base, pushed(store, x="x"), "echo", "built"))
    assert (tmp_path / "shadows" / running.handle["id"] / BUILD_LOG).read_text() == "built\n"
    await launcher.stop(running)

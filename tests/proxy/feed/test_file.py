"""A routes file that is edited, renamed, swapped, broken, half written and removed. The last good table stays."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from proxy.base.problems import ConfigurationError
from proxy.feed import file as module
from proxy.feed.file import FileFeed, identity
from proxy.feed.holder import FeedState
from proxy.routing.table import RouteTable
from tests.proxy.feed.documents import WORKLOAD, route
from tests.proxy.feed.eventually import eventually, running


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Sidecar:
    """Table, state and feed, as the composition root makes them; looks often."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.table = RouteTable(WORKLOAD)
        self.state = FeedState(f"file {path}", self.table, self.clock, needs_table=True)
        self.feed = FileFeed(path, self.table, self.state, look=0.005, settle=0.005)

    @property
    def keys(self) -> set[str]:
        return {item.key for item in self.table.routes()}

    async def has(self, *keys: str) -> None:
        await eventually(lambda: self.keys == set(keys))


def text(*keys: str, **more: Any) -> str:
    return json.dumps({"routes": [route(key, **more) for key in keys]})


def write(path: Path, content: str) -> None:
    """As `cat >` does."""
    path.write_text(content)


def ended(pid: Path) -> bool:
    """The process whose id stands in the file is no more; without a file it did not get as far as to write it."""
    return not pid.exists() or not Path(f"/proc/{pid.read_text().strip()}").exists()


def replace(path: Path, content: str) -> None:
    """As good editors do."""
    beside = path.with_name("beside")
    beside.write_text(content)
    beside.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "routes.yaml"
    path.write_text(text("a", "b"))
    return path


@asynccontextmanager
async def watching(path: Path) -> AsyncIterator[Sidecar]:
    sidecar = Sidecar(path)
    await sidecar.feed.start()
    async with running(sidecar.feed.run()):
        yield sidecar


class TestStart:
    async def test_the_table_is_there(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "skycap.feed")
        sidecar = Sidecar(path)
        await sidecar.feed.start()
        assert sidecar.keys == {"a", "b"}
        assert (sidecar.state.connected, sidecar.state.applied, sidecar.state.age()) == (True, 1, 0.0)
        assert repr(sidecar.feed) == f"<FileFeed {path} {sidecar.state!r}>"
        assert f"{path}: 2 routes of shop/users in force" in caplog.text

    async def test_routes_of_other_workloads_are_left_out(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "skycap.feed")
        write(path, json.dumps({"routes": [route("a"), route("a", workload="shop/orders")]}))
        sidecar = Sidecar(path)
        await sidecar.feed.start()
        assert sidecar.keys == {"a"}
        assert "1 routes of shop/users in force, 1 of other workloads" in caplog.text

    async def test_every_problem_is_told_with_its_path(self, path: Path) -> None:
        write(path, text("a b", "c", state="x"))
        with pytest.raises(ConfigurationError) as caught:
            await Sidecar(path).feed.check()
        assert caught.value.problems == [
            f"{path}: routes[0].key: 'a b' is not 1 to 63 characters of A-Za-z0-9._-",
            f"{path}: routes[0].state: 'x' is none of 'ready', 'pending', 'failed', 'ended'",
            f"{path}: routes[1].state: 'x' is none of 'ready', 'pending', 'failed', 'ended'",
        ]

    async def test_bad_yaml_is_told_with_its_line(self, path: Path) -> None:
        write(path, "routes:\n- {key: a\n")
        with pytest.raises(ConfigurationError, match=r"routes\.yaml:3:1: "):
            await Sidecar(path).feed.check()

    async def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError) as caught:
            await Sidecar(tmp_path / "none").feed.check()
        assert caught.value.problems == [f"{tmp_path}/none: cannot be read: No such file or directory"]

    async def test_a_file_that_never_holds_still(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        numbers = iter(range(1000))
        monkeypatch.setattr(module, "identity", lambda _: (0, 0, 10, next(numbers)))
        with pytest.raises(ConfigurationError, match="changed 10 times while it was read"):
            await Sidecar(path).feed.check()

    async def test_a_bad_file_that_changes_while_it_is_read_is_read_again(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(path, '{"routes": [')
        real, asked = module.identity, 0

        def repaired_meanwhile(which: Path) -> module.Identity:
            nonlocal asked
            asked += 1
            if asked == 2:
                replace(path, text("c"))
            return real(which)

        monkeypatch.setattr(module, "identity", repaired_meanwhile)
        sidecar = Sidecar(path)
        await sidecar.feed.check()
        assert sidecar.keys == {"c"}

    async def test_a_relative_path_means_the_same_later(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(path.parent)
        sidecar = Sidecar(Path(path.name))
        monkeypatch.chdir("/")
        await sidecar.feed.check()
        assert sidecar.keys == {"a", "b"}

    @pytest.mark.parametrize("content", ["routes: [x]\n", "", "routes:\n- {workload: shop/us", "routes: [{", None])
    async def test_a_bad_file_harms_nobody(
        self, tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A ConfigMap with a typo, an optional mount, a writer in the middle of its work."""
        path = tmp_path / "routes.yaml"
        if content is not None:
            write(path, content)
        async with watching(path) as sidecar:
            assert not sidecar.table.synced
            assert str(path) in sidecar.state.problem
            assert sidecar.state.refused == 1
            assert "there are no routes yet, and every request gets the baseline" in caplog.text
            sidecar.state.give_up()
            assert (sidecar.state.given_up, sidecar.state.ready) == (True, False), "served, and not ready"
            write(path, text("a"))
            await sidecar.has("a")
            assert (sidecar.state.ready, sidecar.state.problem) == (True, "")

    async def test_reading_it_now(self, path: Path) -> None:
        sidecar = Sidecar(path)
        sidecar.feed = FileFeed(path, sidecar.table, sidecar.state, look=3600, settle=0.005)
        await sidecar.feed.start()
        async with running(sidecar.feed.run()):
            for number, key in enumerate("cd", 2):
                write(path, text(key))
                sidecar.feed.reload()
                await sidecar.has(key)
                assert sidecar.state.applied == number
            sidecar.feed.reload()
            await eventually(lambda: sidecar.state.applied == 4)  # unchanged, and read all the same


class TestChanges:
    async def test_written_in_place(self, path: Path) -> None:
        async with watching(path) as sidecar:
            write(path, text("c"))
            await sidecar.has("c")

    async def test_renamed_over(self, path: Path) -> None:
        async with watching(path) as sidecar:
            for key in ("c", "d", "e"):
                replace(path, text(key))
                await sidecar.has(key)
            assert sidecar.state.applied == 4
            assert sidecar.state.refused == 0

    async def test_the_same_size_and_time(self, path: Path) -> None:
        before = os.stat(path)  # noqa: PTH116
        async with watching(path) as sidecar:
            beside = path.with_name("beside")
            beside.write_text(text("x", "y"))
            os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
            beside.replace(path)
            await sidecar.has("x", "y")
            assert identity(path)[2:4] == (before.st_size, before.st_mtime_ns)

    async def test_a_config_map(self, tmp_path: Path) -> None:
        """The kubelet writes a new directory and swaps one link to it; the file itself is a link through that."""

        def publish(revision: str, content: str) -> None:
            directory = tmp_path / f"..{revision}"
            directory.mkdir()
            (directory / "routes.yaml").write_text(content)
            link = tmp_path / "..data_tmp"
            link.symlink_to(directory.name)
            link.rename(tmp_path / "..data")

        publish("1", text("a"))
        (tmp_path / "routes.yaml").symlink_to("..data/routes.yaml")
        async with watching(tmp_path / "routes.yaml") as sidecar:
            assert sidecar.keys == {"a"}
            publish("2", text("b"))
            await sidecar.has("b")

    async def test_half_written_is_left_alone_until_it_rests(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sidecar = Sidecar(path)
        await sidecar.feed.start()
        write(path, "routes:\n")
        lines = [f"- {json.dumps(route(f'k{n}'))}\n" for n in range(20)]  # valid YAML after every one of them
        unwritten = lines[::-1]
        real = module.identity

        def while_it_is_written(which: Path) -> module.Identity:
            if unwritten:
                assert sidecar.keys == {"a", "b"}
                with path.open("a") as file:
                    file.write(unwritten.pop())
            return real(which)

        monkeypatch.setattr(module, "identity", while_it_is_written)
        async with running(sidecar.feed.run()):
            await sidecar.has(*(f"k{n}" for n in range(20)))
        assert (sidecar.state.applied, sidecar.state.refused) == (2, 0)

    async def test_an_unchanged_file_is_confirmed_and_not_read(self, path: Path) -> None:
        async with watching(path) as sidecar:
            sidecar.clock.now = 100.0
            assert sidecar.state.age() == 100.0
            await eventually(lambda: sidecar.state.age() == 0.0)
            assert sidecar.state.applied == 1


class TestBadFiles:
    async def test_is_refused_whole_and_said_once(
        self, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with watching(path) as sidecar:
            replace(path, json.dumps({"routes": [route("c"), route("d e"), route("f", state="x")]}))
            await eventually(lambda: sidecar.state.refused)
            sidecar.clock.now = 50.0
            looked = 0
            real = sidecar.feed._identity

            def count() -> Coroutine[None, None, module.Identity]:
                nonlocal looked
                looked += 1
                return real()

            monkeypatch.setattr(sidecar.feed, "_identity", count)
            await eventually(lambda: looked > 3)
            assert sidecar.keys == {"a", "b"}
            assert (sidecar.state.applied, sidecar.state.refused, sidecar.state.age()) == (1, 1, 50.0)
            [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
            assert line == (
                f"{path}: routes[1].key: 'd e' is not 1 to 63 characters of A-Za-z0-9._-; "
                f"{path}: routes[2].state: 'x' is none of 'ready', 'pending', 'failed', 'ended'; "
                "the last good routes stay in force"
            )
            assert sidecar.state.problem in line
            replace(path, text("c"))
            await sidecar.has("c")
            assert (sidecar.state.problem, sidecar.state.age()) == ("", 0.0)

    async def test_another_bad_version_is_said_again(self, path: Path) -> None:
        async with watching(path) as sidecar:
            for count in (1, 2, 3):
                replace(path, "routes: [7]")
                await eventually(lambda: sidecar.state.refused == count)  # noqa: B023

    async def test_removed_and_back(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        async with watching(path) as sidecar:
            away = path.with_name("away")
            os.rename(path, away)  # noqa: PTH104
            await eventually(lambda: sidecar.state.problem)
            assert (sidecar.keys, sidecar.state.connected) == ({"a", "b"}, False)
            sidecar.clock.now = 9.0
            away.rename(path)
            await eventually(lambda: sidecar.state.age() == 0.0)
            assert (sidecar.state.problem, sidecar.state.connected) == ("", True)
            assert caplog.text.count("No such file") == 1
            assert sidecar.state.refused == 1

    async def test_emptied_is_not_an_empty_table(self, path: Path) -> None:
        async with watching(path) as sidecar:
            write(path, "")
            await eventually(lambda: sidecar.state.refused)
            assert sidecar.keys == {"a", "b"}
            write(path, "routes: []")
            await sidecar.has()

    async def test_a_bug_behind_the_table_does_not_end_the_feed(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with watching(path) as sidecar:

            def stumble() -> None:
                raise RuntimeError("boom")

            sidecar.table.watchers.append(stumble)
            replace(path, text("c"))
            await eventually(lambda: "RuntimeError('boom')" in sidecar.state.problem)
            assert "internal error" in caplog.text
            sidecar.table.watchers.clear()
            replace(path, text("d"))
            await sidecar.has("d")


class TestLargeFiles:
    """Read in a process of their own."""

    @pytest.fixture(autouse=True)
    def always(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "SMALL_BYTES", 0)

    def write(self, path: Path, count: int) -> None:
        replace(path, "routes:\n" + "".join(f"- {json.dumps(route(f'k{n}'))}\n" for n in range(count)))

    async def test_are_read_and_read_again(self, path: Path) -> None:
        self.write(path, 700)
        async with watching(path) as sidecar:
            assert len(sidecar.table) == 700
            self.write(path, 900)
            await eventually(lambda: len(sidecar.table) == 900)

    def test_on_the_loop_of_the_data_path(self, path: Path) -> None:
        self.write(path, 250)
        sidecar = Sidecar(path)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(sidecar.feed.start())
        assert len(sidecar.table) == 250

    async def test_problems_come_back(self, path: Path) -> None:
        replace(path, text("a b"))
        with pytest.raises(ConfigurationError, match=r"routes\[0\]\.key: 'a b' is not"):
            await Sidecar(path).feed.check()

    async def test_no_process_can_be_started(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.executable", str(path.with_name("no-python")))
        with pytest.raises(ConfigurationError, match=r"no process can be started \(No such file or directory\)"):
            await Sidecar(path).feed.check()

    async def test_the_process_dies(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.executable", "/bin/false")
        with pytest.raises(ConfigurationError, match="the reading process died"):
            await Sidecar(path).feed.check()

    async def test_the_process_hangs_and_is_killed(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        interpreter = path.with_name("python")
        pid = path.with_name("pid")
        interpreter.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec tail -f /dev/null\n")
        interpreter.chmod(0o755)
        monkeypatch.setattr("sys.executable", str(interpreter))
        monkeypatch.setattr(module, "READ_SECONDS", 0.3)
        with pytest.raises(ConfigurationError, match=r"cannot be read within 0\.3 s"):
            await Sidecar(path).feed.check()
        assert ended(pid)

    async def test_a_cancelled_reading_leaves_no_process(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        interpreter = path.with_name("python")
        pid = path.with_name("pid")
        interpreter.write_text(f"#!/bin/sh\necho $$ > {pid}.part\nmv {pid}.part {pid}\nexec tail -f /dev/null\n")
        interpreter.chmod(0o755)
        monkeypatch.setattr("sys.executable", str(interpreter))
        async with running(Sidecar(path).feed.start()):
            await eventually(pid.exists)
        assert ended(pid)

"""A copy that sees pushed files: laid over its work folder, and built where the fork says how."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path

from controlplane.files.lay import Layer, LayError
from controlplane.files.store import FileStore
from controlplane.launch.port import LaunchError
from controlplane.process import logfile
from controlplane.process.child import SpawnError, spawn
from controlplane.process.command import Command

BUILD_SECONDS = 600.0
"""For a build. One that takes longer is better done before, and its result pushed."""
BUILD_LINES = 60
"""Of a build's output, told with its failure: compilers say the first error first."""
BUILD_LOG = "build.log"


def build_mark(folder: Path) -> str:
    """By which the processes of a copy's build are known."""
    return f"{folder}:build"


class Changed:
    """files: where trees and contents are found."""

    def __init__(self, files: FileStore) -> None:
        self._files = files
        self._layer = Layer(files)

    def known(self, digest: str) -> bool:
        """Whether files of this digest were pushed."""
        return self._files.tree(digest) is not None

    async def lay(self, digest: str, build: tuple[str, ...], cwd: str, folder: Path, app: Command) -> Command:
        """`app` as it has to be run. Raises LaunchError; cancelled: nothing goes on. The caller removes `folder`."""
        laid = asyncio.get_running_loop().run_in_executor(None, self._lay, digest, cwd, folder, app)
        try:
            command = await asyncio.shield(laid)
        except asyncio.CancelledError:
            await asyncio.wait([laid])  # a thread cannot be cancelled, and what it writes is removed after it
            raise
        if build:
            await self._build(build, folder, command)
        return command

    def _lay(self, digest: str, cwd: str, folder: Path, app: Command) -> Command:
        tree = self._files.tree(digest)
        if tree is None:
            raise LaunchError("its pushed files are gone: push them again")
        try:
            return self._layer.lay(tree, cwd, folder, app)
        except LayError as error:
            raise LaunchError(str(error)) from None

    async def _build(self, build: tuple[str, ...], folder: Path, app: Command) -> None:
        """Run the build where the application will run, with its environment."""
        log = logfile.open_log(folder / BUILD_LOG)
        said = shlex.join(build)
        try:
            child = spawn(Command(build, app.env, app.cwd, app.within), log, build_mark(folder))
        except SpawnError as error:
            raise LaunchError(f"the build cannot be run: {error}") from None
        finally:
            os.close(log)
        try:
            await asyncio.wait([child.exited], timeout=BUILD_SECONDS)
        finally:
            child.kill()
        if not child.exited.done():
            raise LaunchError(f"the build `{said}` is not done after {BUILD_SECONDS:g} s", self._output(folder))
        if child.exited.result() != 0:
            raise LaunchError(f"the build `{said}` {child.how_it_ended()}", self._output(folder))

    @staticmethod
    def _output(folder: Path) -> str:
        return logfile.tail(folder / BUILD_LOG, BUILD_LINES)

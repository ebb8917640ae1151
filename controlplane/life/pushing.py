"""Pushes: files of one fork are changed, and its shadow is started anew with them, under the same key.

A push is an update of the sandbox that names another tree of files, so whatever is true of updates is true of it: the
revision before serves until the new one answers, a failed one leaves it serving, the last of several wins. Nothing is
stored when anything of a push is wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel

from controlplane.files.change import Changing, compared, differences
from controlplane.files.image import Base, ImageFolder
from controlplane.files.packed import packed
from controlplane.files.store import FileStore, StoreFullError
from controlplane.files.tree import Tree
from controlplane.files.work import WorkFolder
from controlplane.life.refusals import NotFound, TooMany
from controlplane.life.sandboxes import Sandboxes
from controlplane.life.surroundings import Surroundings
from controlplane.model.problem import DocumentError, invalid
from controlplane.model.push import ChangedFile, Failure, Needed, Push, Pushed, PushedFile, Question
from controlplane.model.sandbox import Fork, Metadata, Phase, Sandbox, Spec
from controlplane.rest import API_VERSION, SANDBOX
from controlplane.store.port import StoreError

log = logging.getLogger(__name__)

SWEEP_SECONDS = 600.0
"""Between two looks for files that nobody uses; the end of a sandbox is one more occasion."""

_T = TypeVar("_T")


class Pushing:
    """The pushed files of all sandboxes."""

    def __init__(self, sandboxes: Sandboxes, around: Surroundings, files: FileStore) -> None:
        self.files = files
        self._sandboxes = sandboxes
        self._definitions = around.definitions
        self._images = around.installation.images
        self._keeper = around.installation.keeper
        self._clock = around.clock
        self._tasks = around.tasks

    def __repr__(self) -> str:
        return f"<Pushing {self.files!r}>"

    async def upload(self, data: bytes) -> str:
        """Its digest. Raises TooMany, StoreError."""
        return await _blocking(lambda: self.files.put(data))

    async def ask(self, name: str, question: Question) -> Needed:
        """What has to be sent. Raises DocumentError."""
        fork = self._fork(self._found(name), question.workload)
        base = self._base(fork)
        return await _blocking(lambda: self._changing(base, fork).needed(question.files))

    async def push(self, name: str, push: Push, seconds: float) -> Pushed:
        """Change the files, and wait up to `seconds` until it is known what became of that.

        Raises DocumentError, Conflict, TooMany, Closing, StoreError; then nothing has changed.
        """
        made: list[tuple[ChangedFile, ...]] = []

        async def change(found: Sandbox | None) -> Sandbox:
            fork = self._fork(found, push.workload)
            known = _fork_of(found, push.workload)
            base = self._base(fork)
            before = self._tree(fork)

            def work() -> tuple[str, tuple[ChangedFile, ...]]:
                changing = self._changing(base, fork)
                tree = changing.push(push)
                return tree.digest, tuple(differences(before, tree, self._folder(base)))

            digest, changed = await _blocking(work)
            if fork is not known and digest == Tree().digest:
                raise invalid("files", f"nothing in them differs from the baseline's work folder {base}")
            if self._keeper is not None:
                await self._keeper.keep(digest)
            made.append(changed)
            build = fork.build if push.build is None else push.build or None
            return _with(found, name, fork.model_copy(update={"files": digest, "build": build}))

        stored = await self._sandboxes.change(name, change)
        if seconds > 0:
            stored = await self._sandboxes.settled(name, seconds)
        return _pushed(stored, push.workload, made[0])

    async def compared(self, name: str, workload: str) -> list[PushedFile]:
        """In what the forks of a sandbox, or that of one workload, differ from the baseline. Raises NotFound."""
        found = self._sandboxes.get(name)
        forks = [fork for fork in found.spec.forks if workload in ("", fork.workload)]
        if not forks:
            raise NotFound(f"sandbox {name!r} does not fork {workload}")

        def work() -> list[PushedFile]:
            listed: list[PushedFile] = []
            for fork in forks:
                if fork.files is not None:
                    base = self._folder(self._base(fork))
                    listed += compared(self._tree(fork), base, self.files, fork.workload)
            return listed

        return await _blocking(work)

    async def packed(self, digest: str, namespace: str) -> bytes:
        """The files of a fork of this namespace, or of any (""), as a tar archive. Raises NotFound, StoreError."""
        forks = (fork for record in self._sandboxes.records() for fork in _forks(record))
        wanted = any(fork.files == digest and _within(fork, namespace) for fork in forks)
        tree = self.files.tree(digest) if wanted else None
        if tree is None:
            raise NotFound(f"there are no pushed files {digest}: push them again")
        return await _blocking(partial(packed, tree, self.files))

    async def sweep(self) -> None:
        """Remove what no sandbox uses, for as long as the registry lives."""
        while True:
            self._sandboxes.ended.clear()
            used = {fork.files for record in self._sandboxes.records() for fork in _forks(record) if fork.files}
            removed = await asyncio.to_thread(self.files.sweep, used)
            if removed:
                log.info("%d pushed files that no sandbox uses are removed", removed)
            if self._keeper is not None:
                await self._keeper.sweep()
            pause = self._clock.sleep(SWEEP_SECONDS)
            await self._tasks.first(self._sandboxes.ended.wait(), pause, name="next sweep of files")

    def _found(self, name: str) -> Sandbox | None:
        try:
            found = self._sandboxes.get(name)
        except NotFound:
            return None
        return None if found.status is not None and found.status.phase is Phase.DELETING else found

    def _fork(self, found: Sandbox | None, workload: str) -> Fork:
        """The fork as it is, or as it will be when there is none yet: the baseline's command. Raises DocumentError."""
        fork = _fork_of(found, workload)
        if fork is not None and fork.endpoints is not None:
            message = (
                f"{workload} is a fork whose endpoints somebody else runs: files can be pushed to one that we start"
            )
            raise invalid("workload", message)
        return fork or Fork(workload=workload, files=Tree().digest)

    def _base(self, fork: Fork) -> str:
        """The work folder that the files are laid over. Raises DocumentError."""
        if self._images is not None:
            return self._images(fork)
        definition = self._definitions.get(fork.workload)
        if definition is None:
            known = ", ".join(one.workload for one in self._definitions.all()[:20])
            advice = f"the workloads here are {known}" if known else "start it with `skycap up`"
            raise invalid("workload", f"no baseline of {fork.workload} is registered: {advice}")
        base = fork.cwd or definition.cwd
        if not base:
            raise invalid(
                "workload", f"the baseline of {fork.workload} has no work folder: it was not started by skycap"
            )
        return base

    def _tree(self, fork: Fork) -> Tree:
        """The files that the fork has. Raises DocumentError when they are gone."""
        if fork.files is None or fork.files == Tree().digest:
            return Tree()
        tree = self.files.tree(fork.files)
        if tree is None:
            raise invalid(
                "workload", f"the files that were pushed to {fork.workload} are gone: delete the sandbox first"
            )
        return tree

    def _changing(self, base: str, fork: Fork) -> Changing:
        return Changing(self.files, self._folder(base), self._tree(fork))

    def _folder(self, base: str) -> Base:
        """Raises DocumentError."""
        if self._images is not None:
            return ImageFolder(base)
        try:
            return WorkFolder(base)
        except OSError as error:
            raise invalid("workload", f"the work folder {base} cannot be read: {error.strerror}") from None


async def _blocking(work: Callable[[], _T]) -> _T:
    """In a thread. Raises TooMany and StoreError for what the disk says."""
    try:
        return await asyncio.to_thread(work)
    except StoreFullError as error:
        raise TooMany(str(error)) from None
    except DocumentError:
        raise
    except OSError as error:
        raise StoreError(f"pushed files cannot be kept: {error.strerror or error}", full=error.errno == 28) from None


def _within(fork: Fork, namespace: str) -> bool:
    return namespace in ("", fork.workload.partition("/")[0])


def _fork_of(found: Sandbox | None, workload: str) -> Fork | None:
    forks = found.spec.forks if found is not None else ()
    return next((fork for fork in forks if fork.workload == workload), None)


def _with(found: Sandbox | None, name: str, fork: Fork) -> Sandbox:
    """The sandbox with this fork in place of the one of its workload."""
    if found is None:
        metadata, spec = Metadata(name=name), Spec(forks=(fork,))
    else:
        metadata = found.metadata
        old = found.spec.forks
        there = any(one.workload == fork.workload for one in old)
        forks = tuple(fork if one.workload == fork.workload else one for one in old) + (() if there else (fork,))
        spec = found.spec.model_copy(update={"forks": forks})
    return Sandbox(api_version=API_VERSION, kind=SANDBOX, metadata=metadata, spec=spec)


def _pushed(sandbox: Sandbox, workload: str, changed: tuple[ChangedFile, ...]) -> Pushed:
    status = sandbox.status
    assert status is not None
    wanted = next(fork for fork in sandbox.spec.forks if fork.workload == workload)
    now = next(fork for fork in status.forks if fork.workload == workload)
    failure = None
    if now.message:
        message, _, lines = now.message.partition("\n")
        failure = Failure(message=message, log=lines)
    return Pushed(
        sandbox=sandbox.name,
        workload=workload,
        revision=status.revision,
        digest=wanted.files or "",
        files_changed=changed,
        phase=status.phase,
        failure=failure,
    )


def _forks(value: Any) -> Iterator[Fork]:
    """Every fork in a record, wherever it stands: what is wanted, what serves, what may be gone back to."""
    if isinstance(value, Fork):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _forks(getattr(value, name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _forks(item)

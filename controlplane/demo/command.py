"""`skycap demo`."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path

import click

from controlplane.asking.answer import NoAnswerError
from controlplane.cli.command import Command
from controlplane.cli.failures import FAILED, INTERRUPTED, USAGE, InvalidError
from controlplane.cli.output import Output, output_option
from controlplane.cli.registry import refusal
from controlplane.client import Client, RegistryError
from controlplane.demo.play import CHECKOUT, Forked, Play, Scene
from controlplane.demo.report import Report
from controlplane.demo.stage import FILE, Roll, elsewhere, shop
from controlplane.demo.story import Story
from controlplane.local.command import stop_signals
from controlplane.local.environment import Environment, NotReadyError
from controlplane.local.events import Event
from controlplane.local.next_steps import invocation

CHECK_SECONDS = 40.0
"""For the whole play with `--check`. It takes five on an idle machine; what hangs must not hang for ever."""


@click.command(
    cls=Command,
    exits={
        0: "every step went as it should, and it was stopped as asked",
        FAILED: "a step did not go as it should",
        USAGE: "wrong usage, or nothing could be started",
        INTERRUPTED: "stopped before the last step",
    },
)
@click.option("--check", is_flag=True, help="Check every step, then stop everything.")
@output_option
def demo(check: bool, output: Output) -> int:
    """See it work: a shop of six services, and two sandboxes that change the same one.

    Sends the same request without a key and with the key of each sandbox, shows who served it and how a broken
    contract comes to light, and leaves everything running to try more. Ctrl-C stops it.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="skycap-demo-")
    except OSError as error:
        raise InvalidError(f"no temporary folder can be made: {error.strerror or error}") from None
    with folder as path:
        return asyncio.run(_Performance(check, output, Path(path)).run())


class _Performance:
    """The play in an environment of its own.

    check:  report the steps and stop; otherwise tell the story and stay.
    folder: for the state of the environment.
    """

    def __init__(self, check: bool, output: Output, folder: Path) -> None:
        self._check = check
        self._output = output
        self._report = Report(output, printing=check)
        self._story = None if check else Story(output)
        self._roll = Roll()
        self._stop = asyncio.Event()
        self._patience: asyncio.Timeout | None = None
        self._environment = Environment(shop(well_known=not check), FILE.parent, folder, self._observe)

    def _observe(self, event: Event) -> None:
        self._roll.observe(event)
        if self._story:
            with suppress(OSError):  # a reader that went away must not keep the environment from stopping in order
                self._story.observe(event)

    async def run(self) -> int:
        """The exit code. Raises ConfigurationError when nothing could be started."""
        started = time.monotonic()
        with stop_signals(self._stopped, self._environment.kill):
            async with self._environment:
                done = await self._unless_stopped(self._play(), CHECK_SECONDS if self._check else None)
                if not done and not self._stop.is_set():
                    self._tell(Scene("the play comes to its end", (f"not within {CHECK_SECONDS:g} s",), CHECK_SECONDS))
                if self._story and done:
                    await self._stay(self._story)
                stopping = time.monotonic()
            if self._check:
                left = tuple(await self._roll.left())
                self._tell(Scene("everything is stopped", left, time.monotonic() - stopping))
                self._output.result(
                    {**self._report.document(), "seconds": round(time.monotonic() - started, 3)}, lambda: None
                )
        if not done and self._stop.is_set():
            return INTERRUPTED
        return 0 if self._report.good else FAILED

    async def _play(self) -> None:
        """Every scene, until one makes the rest pointless."""
        started = time.monotonic()
        if self._story:
            self._story.opening()
        problems: list[str] = []
        try:
            await self._environment.ready()
        except NotReadyError as error:
            problems = error.problems
        title = "six services, a sidecar beside each, and the registry are ready"
        self._tell(Scene(title, tuple(problems), time.monotonic() - started))
        if problems:
            return
        url = self._environment.registry_url
        try:
            async with Client(url) as registry:
                async for scene in Play(registry, self._shop).scenes():
                    self._tell(scene)
        except RegistryError as error:
            self._tell(Scene("the registry answers", (refusal(error, url).format_message(),), 0.0))
        except NoAnswerError as error:
            self._tell(Scene("the shop answers", (str(error),), 0.0))

    def _tell(self, scene: Scene) -> None:
        if isinstance(scene, Forked) and scene.sandbox.status:
            for fork in scene.sandbox.status.forks:
                self._roll.shadow(fork.endpoints)
        if scene.problems:
            scene = scene.with_problems(self._roll.ended)
        self._report.add(scene)
        if self._story:
            self._story.tell(scene)

    async def _stay(self, story: Story) -> None:
        """Leave everything running, if it is as it should be, until somebody wants it stopped."""
        story.told()
        url = f"{self._shop}{CHECKOUT}"
        registry = self._environment.registry_url
        document = {**self._report.document(), "url": url, "registry": registry}
        self._output.result(document, lambda: None)
        if self._report.good:
            story.closing(url, elsewhere(registry), invocation())
            await self._stop.wait()

    @property
    def _shop(self) -> str:
        return f"http://{self._environment.address('frontend')}"

    async def _unless_stopped(self, work: Awaitable[None], seconds: float | None) -> bool:
        """Whether `work` came to its end before a signal and before `seconds` were over. Raises what it raises."""
        try:
            async with asyncio.timeout(seconds) as self._patience:
                await work
        except TimeoutError:
            return False
        finally:
            self._patience = None
        return True

    def _stopped(self) -> None:
        self._stop.set()
        if self._patience is not None:
            self._patience.reschedule(0)  # long ago: it ends at once

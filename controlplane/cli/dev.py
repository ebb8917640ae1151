"""`skycap sandbox dev`: a folder, pushed on every save."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from controlplane.cli.candidates import sandbox_names, workload_names
from controlplane.cli.command import Command
from controlplane.cli.failures import REGISTRY_EXITS, USAGE, CommandError, InvalidError
from controlplane.cli.output import Output, output_option
from controlplane.cli.push import settled, show
from controlplane.cli.pushed import gather, left_out, send
from controlplane.cli.registry import Registry, registry_options, waiting
from controlplane.terminal import dumps

QUIET_MILLISECONDS = 50
"""Without another change, until what has changed is pushed: an editor writes several files for one save."""
LONGEST_MILLISECONDS = 500
"""Until it is pushed although files keep changing."""
AGAIN_MILLISECONDS = 1000
"""Until what could not be pushed is tried again, also when nothing has changed."""


@click.command(
    cls=Command,
    exits=REGISTRY_EXITS | {0: "ended with Ctrl-C", USAGE: "wrong usage, or the folder cannot be pushed at all"},
)
@click.argument("name", shell_complete=sandbox_names)
@click.argument("workload", shell_complete=workload_names)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--as", "place", metavar="PLACE", help="Where the folder goes in the work folder.  [default: its top]")
@click.option("--timeout", metavar="SECONDS", default=60.0, type=click.FloatRange(0, 3600), help="For one start.")
@registry_options
@output_option
def dev(
    name: str, workload: str, folder: Path, place: str | None, timeout: float, registry: Registry, output: Output
) -> None:
    """Push a folder to a sandbox now and on every save, until Ctrl-C.

    The files are laid over the service's work folder, as `skycap sandbox push` does it, and so is everything that is
    changed, added or removed from then on. The sandbox stays when this ends.

    \b
    skycap sandbox dev agent-42 shop/users ~/checkout/users/
    """
    following = _Following(name, workload, folder, place, timeout, registry)
    try:
        _tell(following.push(), output, 0.0)
        output.remark(f"watching {folder}: Ctrl-C ends it")
        for _ in _saves(folder):
            began = time.monotonic()
            try:
                answer = following.push()
            except CommandError as error:
                output.remark(error.format_message().strip())
            else:
                _tell(answer, output, time.monotonic() - began)
    except KeyboardInterrupt:
        output.remark(f"sandbox {name} stays as it is: `skycap sandbox delete {name}` removes it")


class _Following:
    """What of a folder the sandbox has."""

    def __init__(
        self, name: str, workload: str, folder: Path, place: str | None, timeout: float, registry: Registry
    ) -> None:
        self._name = name
        self._workload = workload
        self._folder = folder
        self._place = place
        self._timeout = timeout
        self._registry = registry
        self._known: set[str] = set()
        self._seen: dict[str, tuple[int, int, int]] | None = None

    def push(self) -> dict[str, Any] | None:
        """The whole folder, of which only what differs is sent: so nothing is missed, also by a sandbox that was made
        anew meanwhile. None: nothing has changed since the last time. Raises CommandError.
        """
        files = gather([str(self._folder)], self._place, self._folder)
        now = {place: (stat.st_mtime_ns, stat.st_size, stat.st_mode) for place, stat in _stats(files)}
        if now == self._seen:
            return None
        gone = sorted(self._known - set(files))
        answer = self._send(files, gone)
        self._known, self._seen = set(files), now
        return settled(answer, self._timeout, self._registry)

    def _send(self, files: dict[str, Path], gone: list[str]) -> dict[str, Any]:
        push = {"workload": self._workload}
        query = waiting(self._timeout)
        try:
            return send(self._registry, self._name, {**push, "removed": gone}, files, query)
        except InvalidError as error:
            problems = (error.document or {}).get("problems") or ()
            if not problems or not all(str(item.get("path", "")).startswith("removed[") for item in problems):
                raise
        return send(self._registry, self._name, {**push, "removed": []}, files, query)  # they are gone already


def _stats(files: dict[str, Path]) -> Iterator[tuple[str, Any]]:
    for place, path in files.items():
        try:
            yield place, path.stat()
        except OSError:
            continue  # it has gone since: the next look tells


def _saves(folder: Path) -> Iterator[None]:
    """Each time that something in the folder has changed, and now and then. Raises KeyboardInterrupt."""
    from watchfiles import Change, watch  # half of what this command imports: only who watches waits for it

    top = folder.resolve()

    def ours(_change: Change, path: str) -> bool:
        try:
            parts = Path(path).relative_to(top).parts
        except ValueError:
            parts = Path(path).parts[-1:]
        return not any(map(left_out, parts))

    for _ in watch(
        top,
        watch_filter=ours,
        debounce=LONGEST_MILLISECONDS,
        step=QUIET_MILLISECONDS,
        rust_timeout=AGAIN_MILLISECONDS,
        yield_on_timeout=True,
    ):
        yield None


def _tell(answer: dict[str, Any] | None, output: Output, seconds: float) -> None:
    if answer is None or (seconds and not answer.get("filesChanged")):
        return
    if output.json:
        click.echo(dumps(answer))
    else:
        show(answer, output)
        if seconds:
            output.remark(f"{seconds:.1f} s after the save")

"""What a waiting person sees: a bar on a terminal, one line per turn of the work elsewhere. On standard error."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar


class Progress:
    """Use as a context manager around all scenarios."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._group = ""
        self._began = time.monotonic()
        self._bar: Bar | None = None
        self._task = None
        if console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("[dim]{task.fields[detail]}"),
                console=console,
                transient=True,
                refresh_per_second=4,  # it draws on the load's core
            )

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, name: str, steps: int) -> None:
        """A scenario of so many steps."""
        self._group = ""
        if self._bar is None:
            self._say(name)
            return
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        self._bar.add_task(name, total=steps, detail="")

    def step(self, group: str, detail: str) -> None:
        """The next step begins. `group` is what a plain line reports, once; `detail` changes with every step."""
        if self._bar is None:
            if group != self._group:
                self._say(f"  {group}")
        else:
            task = self._bar.task_ids[-1]
            self._bar.update(task, advance=1, detail=f"{group} · {detail}")
        self._group = group

    def _say(self, text: str) -> None:
        elapsed = time.monotonic() - self._began
        self._console.print(f"{elapsed:5.0f} s  {text}", highlight=False, markup=False, soft_wrap=True)

"""The applications between two hops of a chain, all in one nginx."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import Process
from benchmarks.template import render

_TEMPLATE = Path(__file__).with_name("apps.conf")


@dataclass(frozen=True, slots=True)
class App:
    """One application, listening on `listen` and calling `next_port` for every request; ports of 127.0.0.1.

    carries_baggage: False for an application that passes on tracing headers and drops the baggage.
    """

    listen: int
    next_port: int
    carries_baggage: bool


def configuration(apps: Sequence[App], folder: Path) -> str:
    """The nginx.conf of all of them."""
    sections = [
        {
            "NUMBER": number,
            "LISTEN": app.listen,
            "NEXT": app.next_port,
            "BAGGAGE": "$http_baggage" if app.carries_baggage else '""',
        }
        for number, app in enumerate(apps)
    ]
    return render(_TEMPLATE.read_text(), {"FOLDER": folder}, {"app": sections})


def start(apps: Sequence[App], nginx: Path, cores: Sequence[int], folder: Path, stack: ExitStack) -> None:
    """Start them; they answer as soon as what they call does."""
    config = folder / "apps.conf"
    config.write_text(configuration(apps, folder))
    stack.enter_context(
        Process("apps", [str(nginx), "-p", str(folder), "-c", str(config), "-e", "stderr"], cores, folder)
    )

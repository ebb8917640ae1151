"""What a person or a program reads of an environment.

Writing happens in a thread of its own, because a terminal on Ctrl-S and a program that has stopped reading make
`write` block, and nothing here may stop the supervision: then lines are dropped, and their number is said.

    text    every line of output behind the name of its process, in the service's colour on a terminal
    json    one object per line: {"event": "output", "time": ..., "process": ..., "line": ...}
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from pydantic.alias_generators import to_camel

from controlplane.local.events import (
    Ended,
    Event,
    Leftover,
    NotReady,
    Output,
    Ready,
    Started,
    Stopped,
    Stopping,
    Up,
    Warned,
)
from controlplane.local.next_steps import invocation, next_steps
from controlplane.terminal import dumps, plain

PENDING_LINES = 10_000
"""Waiting to be written, about a megabyte: more than a terminal shows, less than anybody misses."""
CLOSE_SECONDS = 2.0
"""For the last lines to be written when nobody may be reading any more."""

_COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
_RED, _YELLOW, _BOLD = "31", "33", "1"
_US = "skycap"


class Writer:
    """Lines to a file descriptor, from a thread, never blocking who writes.

    It bypasses `sys.stdout`, whose lock a thread that is stuck in `write` would hold while the interpreter exits.

    on_closed: called from that thread when the reader has gone away.
    """

    def __init__(self, descriptor: int, on_closed: Callable[[], None] = lambda: None) -> None:
        self._descriptor = descriptor
        self._on_closed = on_closed
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        with self._changed:
            if len(self._lines) >= PENDING_LINES:
                self._dropped += 1
            else:
                self._lines.append(line)
                self._changed.notify()

    def close(self) -> None:
        """Write what is left, for at most CLOSE_SECONDS."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while lines := self._next():
            left = memoryview("".join(f"{line}\n" for line in lines).encode(errors="replace"))
            try:
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except OSError:
                self._on_closed()
                return

    def _next(self) -> list[str]:
        """What there is to write; blocks until there is something. Empty: that was all."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closing)
            lines = list(self._lines)
            self._lines.clear()
            if self._dropped:
                lines.append(f"... {self._dropped} lines were dropped: nobody read them in time")
                self._dropped = 0
            return lines


class JsonConsole:
    """One JSON object per event: its fields in camelCase, its name as `event`, seconds since 1970 as `time`."""

    def __init__(self, writer: Writer, clock: Callable[[], float] = time.time) -> None:
        self._writer = writer
        self._clock = clock

    def __call__(self, event: Event) -> None:
        name = type(event).__name__
        document = {"event": name[0].lower() + name[1:], "time": round(self._clock(), 3), **_camel(event)}
        self._writer.write(dumps(document))


def _camel(event: Event) -> dict[str, Any]:
    return dataclasses.asdict(event, dict_factory=lambda fields: {to_camel(name): value for name, value in fields})


class TextConsole:
    """Lines for people.

    names:  of all processes that will be heard of.
    colour: whether the stream understands ANSI escape sequences.
    """

    def __init__(self, writer: Writer, names: Iterable[str], *, colour: bool) -> None:
        self._writer = writer
        self._colour = colour
        self._width = max(map(len, [_US, *names]))
        self._colours: dict[str, str] = {}
        self._up = False

    def __call__(self, event: Event) -> None:
        match event:
            case Output():
                self._line(event.process, event.line)
            case Ended():
                again = event.restart_after
                then = "" if again is None else f", starts again in {again:.1f} s"
                self._say(f"{event.process} {event.how}{then}", _RED)
                for line in event.last_lines:
                    self._say(f"  {line}")
            case Ready() if self._up:
                self._say(f"{event.process} is ready after {event.seconds:.2f} s")
            case NotReady():
                self._say(f"{event.process} is not ready: {event.why}", _RED)
            case Warned():
                self._say(f"{event.process}: {event.what}", _YELLOW)
            case Leftover():
                self._say(f"{event.process} was left over from a run that was killed (process {event.pid}): ended")
            case Up():
                self._overview(event)
            case Stopping():
                self._say("stopping; Ctrl-C again ends everything at once")
            case Stopped():
                self._say("stopped")
            case Started() | Ready():
                pass

    def _overview(self, up: Up) -> None:
        self._up = True
        self._writer.write("")
        header = ("SERVICE", "ADDRESS", "APPLICATION", "CALLS", "STATE")
        rows = [
            (
                service.name,
                f"http://{service.address}",
                service.app,
                ", ".join(service.upstreams) or "-",
                "ready" if service.ready else "not ready",
            )
            for service in up.services
        ]
        registry_problem = any(problem.startswith("registry:") for problem in up.problems)
        rows.append(("registry", up.registry, "-", "-", "not ready" if registry_problem else "ready"))
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
        for number, row in enumerate((header, *rows)):
            text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            self._writer.write(self._paint(_BOLD, text) if number == 0 else text)
        for problem in up.problems:
            self._writer.write(self._paint(_RED, plain(problem)))
        self._writer.write("")
        page = f"The page is at {up.registry}/; `skycap page` prints a link that signs you in."
        where = f"Preview links begin with {up.gateway}; `skycap sandbox link NAME` makes one."
        for line in (*next_steps(up, invocation()), page, where, "Ctrl-C stops everything."):
            self._writer.write(line)
        self._writer.write("")

    def _say(self, text: str, colour: str = "") -> None:
        self._write(_BOLD, _US, self._paint(colour, plain(text)))

    def _line(self, process: str, text: str) -> None:
        """A service and its sidecar share a colour."""
        service = process.partition("/")[0]
        colour = self._colours.setdefault(service, _COLOURS[len(self._colours) % len(_COLOURS)])
        self._write(colour, process, plain(text))

    def _write(self, colour: str, name: str, text: str) -> None:
        """Nothing that a process wrote may drive the terminal: titles, the clipboard, the lines of others."""
        self._writer.write(f"{self._paint(colour, f'{name.ljust(self._width)} |')} {text}".rstrip())

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour and code and text else text

"""The log of both programs: one line per record, as text or as JSON, on standard error.

    2026-01-31T12:00:00.000Z info skycap.feed MESSAGE

What is logged may come from a stranger's request, from names of sandboxes or from the output of shadows. It is escaped,
so that no record looks like two and none drives a terminal.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TextIO

from proxy.base.text import one_line

OWN = ("skycap", "controlplane")
"""Where our own loggers' names begin."""


class _OneLine(logging.Formatter):
    def when(self, record: logging.LogRecord) -> str:
        """RFC 3339, UTC, milliseconds."""
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"

    def error(self, record: logging.LogRecord) -> str:
        return self.formatException(record.exc_info) if record.exc_info else ""


class TextFormatter(_OneLine):
    """`TIME LEVEL LOGGER MESSAGE`."""

    def format(self, record: logging.LogRecord) -> str:
        error = self.error(record)
        message = f"{record.getMessage()}: {error}" if error else record.getMessage()
        return f"{self.when(record)} {record.levelname.lower()} {record.name} {one_line(message)}"


class JsonFormatter(_OneLine):
    """An object with `time`, `level`, `logger`, `message` and, for an exception, `error`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.when(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if error := self.error(record):
            entry["error"] = error
        return json.dumps(entry)


FORMATS = {"text": TextFormatter, "json": JsonFormatter}
LEVELS = ("debug", "info", "warning", "error")


def configure(level: str = "info", form: str = "text", stream: TextIO | None = None) -> None:
    """Send all records to one place. Our own loggers speak at `level`, everybody else's from warnings on."""
    logging.raiseExceptions = False  # a broken log pipe must not print tracebacks
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(FORMATS[form]())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in OWN:
        logging.getLogger(name).setLevel(level.upper())
    # A malformed request is its sender's fault, is answered with 400, and would be a traceback of 2 KB in our log each
    # time. Faults of our own are logged where they become a 500.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)

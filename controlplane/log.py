"""The registry's log: one line per record on standard error, in the very form of the sidecar's.

    2026-01-31T12:00:00.000Z info controlplane.runtime MESSAGE

The two programs do not import each other, so each has its own few lines for it; a test holds the two forms together.
Names of sandboxes and the output of shadows come from strangers: control characters are written as escapes, so that
no record looks like two and none drives a terminal.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _when(record: logging.LogRecord) -> str:
    """RFC 3339, UTC, milliseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03}Z"


class TextFormatter(logging.Formatter):
    """`TIME LEVEL LOGGER MESSAGE`."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}: {self.formatException(record.exc_info)}"
        shown = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), message)
        return f"{_when(record)} {record.levelname.lower()} {record.name} {shown}"


class JsonFormatter(logging.Formatter):
    """An object with `time`, `level`, `logger`, `message` and, for an exception, `error`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _when(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry)


FORMATS: dict[str, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


def configure(level: str, form: str) -> None:
    """Send all records from `level` on to standard error. form: `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATS[form]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # A malformed request is its sender's fault, answered with 400, and would be a traceback in our log each time.
    # Faults of our own are logged where they become a 500 (`controlplane.api.refused`).
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)

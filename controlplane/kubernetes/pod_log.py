"""What the containers of a pod wrote, as one text: by time; where there are several, each line behind its container.

The kubelet keeps a time for every line, and gives it away when asked (`timestamps`, RFC 3339 with nanoseconds). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controlplane.kubernetes.laid import COPY, FETCH, LAY, REMOVE
from controlplane.kubernetes.names import INTERCEPT, PROXY
from controlplane.model.copy_log import Window

OURS = frozenset({PROXY, INTERCEPT, FETCH, COPY, LAY, REMOVE})


def containers_of(pod: Mapping[str, Any]) -> list[str]:
    """Those of its owner, init containers first."""
    spec = pod["spec"]
    listed = (*(spec.get("initContainers") or ()), *spec["containers"])
    return [item["name"] for item in listed if item["name"] not in OURS]


def merged(texts: Mapping[str, str], lines: int, window: Window) -> str:
    """The last lines of a window. texts: by container, with times."""
    found = []
    for container, text in texts.items():
        name = f"{container}: " if len(texts) > 1 else ""
        last = window.since
        for line in text.splitlines():
            stamp, _, said = line.partition(" ")
            last, known = _time(stamp, last)
            if window.since <= last <= window.until:
                found.append((last, f"{name}{said if known else line}"))
    found.sort(key=lambda item: item[0])  # stable: the lines of one moment stay in their order
    return "\n".join(line for _, line in found[-lines:])


def _time(stamp: str, before: float) -> tuple[float, bool]:
    """Seconds since 1970; what has no time belongs to the line before it."""
    whole, dot, rest = stamp.rstrip("Z").partition(".")
    try:
        seconds = datetime.fromisoformat(f"{whole}+00:00").timestamp()
        return seconds + (float(f"0.{rest}") if dot else 0.0), True
    except ValueError:
        return before, False

"""A sidecar that counts its objects: `python -m tests.faults.counted FILE FLAGS` is `python -m proxy FLAGS`.

On `COUNT` it writes to FILE, as JSON, how many objects of its own classes, tasks, futures and transports are alive.
What existed when it began to serve is frozen (`gc.freeze` in `proxy.runtime`) and not among them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
from collections import Counter
from pathlib import Path

from proxy.runtime import main

COUNT = signal.SIGRTMIN
"""One that a sidecar has no use for. It ignores SIGUSR1 and SIGUSR2."""

FOREIGN = (asyncio.Task, asyncio.Future, asyncio.TimerHandle)
UVLOOP = ("TCPTransport", "TimerHandle", "Handle", "PseudoSocket")


def count(where: Path) -> None:
    gc.collect()
    alive: Counter[str] = Counter()
    for one in gc.get_objects():
        kind = type(one)
        if kind.__module__.startswith("proxy.") or isinstance(one, FOREIGN) or kind.__name__ in UVLOOP:
            alive[f"{kind.__module__}.{kind.__qualname__}"] += 1
    unfinished = where.with_suffix(".new")
    unfinished.write_text(json.dumps(alive))
    unfinished.rename(where)


if __name__ == "__main__":
    file = Path(sys.argv[1])
    signal.signal(COUNT, lambda *_: count(file))
    sys.exit(main(sys.argv[2:]))

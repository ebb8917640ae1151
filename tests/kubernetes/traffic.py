"""Requests that go on while something happens: every answer counts."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.kubernetes.installation import Installation


class Traffic:
    """answers: (status, who served users) -> how many; failures: what was not answered with 200."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        self.failures: list[str] = []
        self.longest = 0.0

    def __repr__(self) -> str:
        return f"<Traffic {dict(self.answers)} longest {self.longest:.2f} s>"


@contextmanager
def going_on(installed: Installation, path: str, key: str = "", service: str = "users") -> Iterator[Traffic]:
    """Requests one after the other, on new connections, until the block ends; one at least."""
    traffic, over = Traffic(), threading.Event()

    def run() -> None:
        asked = False
        while not (over.is_set() and asked):
            asked, began = True, time.monotonic()
            try:
                reply = installed.request(service, path, key=key)
            except (subprocess.CalledProcessError, ValueError, IndexError) as error:
                traffic.failures.append(repr(error))
                continue
            traffic.longest = max(traffic.longest, time.monotonic() - began)
            traffic.answers[reply.status, reply.served_by] += 1
            if reply.status != 200:
                traffic.failures.append(f"{reply.status} {reply.body[:300]}")

    threads = [threading.Thread(target=run, name=f"traffic {number}") for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield traffic
    finally:
        over.set()
        for thread in threads:
            thread.join()

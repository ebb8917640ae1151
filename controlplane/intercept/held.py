"""A sidecar that came later, into a pod that runs: rules are in force only while it runs.

    start the sidecar as its own user -> it lives: install the rules -> it ends: remove them, start it again
                                      -> SIGTERM, or its time is over: remove them, end it

An ephemeral container is never restarted, and rules that lead to nobody would cut the application off.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType

from controlplane.intercept import nft
from controlplane.intercept.nft import InterceptError
from controlplane.intercept.ruleset import Interception

log = logging.getLogger(__name__)

LIVE_SECONDS = 30.0
"""For the sidecar to start."""

END_SECONDS = 5.0
AGAIN_SECONDS = 1.0

IN_FORCE = "connections are led through the sidecar"
"""What the log says then, for whoever waits for it."""


class Held:
    """
    command: of the sidecar, which gets `--token-file` and `--admin` behind it.
    token:   that it shows.
    seconds: until it ends by itself.
    """

    def __init__(self, options: Interception, command: Sequence[str], token: str, seconds: float) -> None:
        self._options = options
        self._command = list(command)
        self._token = token
        self._ends = time.monotonic() + seconds
        self._asked = False

    def run(self) -> None:
        """Until SIGTERM, or its time is over. Raises InterceptError when the rules cannot be installed at all."""
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "token"
            file.write_text(f"{self._token}\n")
            Path(folder).chmod(0o755)
            file.chmod(0o444)  # the sidecar runs as another user, and nobody else is in this container
            command = [*self._command, "--token-file", str(file), "--admin", f"0.0.0.0:{self._options.admin_port}"]
            try:
                while not self._over():
                    self._once(command)
            finally:
                nft.remove()
        log.info("the sidecar is detached")

    def _once(self, command: Sequence[str]) -> None:
        child = subprocess.Popen(  # noqa: S603 (the sidecar)
            command, user=self._options.proxy_uid, group=self._options.proxy_gid, extra_groups=[]
        )
        try:
            if self._lives(child):
                nft.install(self._options)
                log.info(IN_FORCE)
                while child.poll() is None and not self._over():
                    time.sleep(0.2)
                nft.remove()
            if not self._over():
                log.error("the sidecar has ended with %s; it is started again", child.poll())
                time.sleep(AGAIN_SECONDS)
        finally:
            child.terminate()
            try:
                child.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _lives(self, child: subprocess.Popen[bytes]) -> bool:
        end = time.monotonic() + LIVE_SECONDS
        while child.poll() is None and time.monotonic() < end and not self._over():
            connection = HTTPConnection("127.0.0.1", self._options.admin_port, timeout=1)
            try:
                connection.request("GET", "/live")
                if connection.getresponse().status == 200:
                    return True
            except (OSError, HTTPException):
                time.sleep(0.1)
            finally:
                connection.close()
        return False

    def _over(self) -> bool:
        return self._asked or time.monotonic() >= self._ends

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True


def hold(options: Interception, command: Sequence[str], token: str, seconds: float) -> None:
    """Raises InterceptError."""
    os.environ.pop("SKYCAP_HELD_TOKEN", None)  # the sidecar has it in a file
    if not token:
        raise InterceptError("SKYCAP_HELD_TOKEN is not set", hint="`skycap attach` sets it")
    Held(options, command, token, seconds).run()

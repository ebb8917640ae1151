"""The services behind the proxies: two nginx processes, `baseline` and `shadow`, that answer fixed bytes.

Their answers begin with their name, and each counts the requests that reached it (`stub_status`): what the load
sent is compared with what came, so a request that went to the wrong place cannot hide in 100,000 right ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import probe
from benchmarks.process import Process
from benchmarks.template import render
from benchmarks.traffic import Traffic

MIB = 1 << 20

SMALL_BYTES = 100
MEDIUM_BYTES = 1024
FILE_MIB = (1, 64)

UPLOAD_REQUESTS = 2
"""What one upload adds to the count: itself, and the request to the second server once its body is whole."""

_TEMPLATE = Path(__file__).with_name("origin.conf")


class Origin:
    """One of the two. Started when constructed, stopped with `stack`.

    port, http2: where it speaks HTTP/1.1, and HTTP/2.
    """

    def __init__(
        self,
        role: str,
        port: int,
        http2: int,
        nginx: Path,
        cores: Sequence[int],
        folder: Path,
        stack: ExitStack,
    ) -> None:
        self.role = role
        self.port = port
        self.http2 = http2
        self._asked = 0
        config = folder / f"{role}.conf"
        config.write_text(configuration(role, port, http2, folder))
        _write_files(folder / f"{role}-files", role)
        command = [str(nginx), "-p", str(folder), "-c", str(config), "-e", "stderr"]
        self.process = stack.enter_context(Process(f"origin-{role}", command, cores, folder))
        self.process.await_ready(lambda: probe.answers(port))

    def requests(self) -> int:
        """How many requests came so far, those that ask for this number not counted."""
        with probe.connect(self.port) as connection:
            answer = probe.exchange(connection, b"GET /status HTTP/1.1\r\nhost: status\r\nconnection: close\r\n\r\n")
        self._asked += 1
        return parse_status(answer.body.decode()) - self._asked


def configuration(role: str, port: int, http2: int, folder: Path) -> str:
    """The origin's nginx.conf."""
    values = {
        "ROLE": role,
        "PORT": port,
        "HTTP2": http2,
        "FOLDER": folder,
        "SMALL": role.ljust(SMALL_BYTES, "."),
        "MEDIUM": role.ljust(MEDIUM_BYTES, "."),
    }
    return render(_TEMPLATE.read_text(), values)


def parse_status(text: str) -> int:
    """The number of requests from what nginx's `stub_status` prints."""
    lines = text.splitlines()
    return int(lines[2].split()[2])


def file_traffic(mib: int, keys: tuple[str, ...], upload: bool) -> Traffic:
    """A download or upload of `mib` MiB."""
    return Traffic(keys, "/upload", body=mib * MIB) if upload else Traffic(keys, f"/files/{mib}m")


def _write_files(folder: Path, role: str) -> None:
    """Sparse files that begin with the role: they cost page cache when read, and no disk."""
    folder.mkdir()
    for mib in FILE_MIB:
        path = folder / f"{mib}m"
        with path.open("wb") as file:
            file.write(role.encode())
            file.truncate(mib * MIB)

"""Stands between the registry and one application: nothing that comes of it is lost, and neither is what it writes.

    registry -> keeper -> application -> whatever that starts

Run as a file, not imported: `python -I -S keeper.py READER LOG LEFT GROUPS PROGRAM [ARGUMENTS...]`. It joins the
control groups GROUPS (their `cgroup.procs`, with colons between them) before it starts the program.

* It is a subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)): a process that leaves its session and its parent, and clears its
  environment, becomes its child and no stranger's. When the application has ended by itself, all that is left of it is
  killed, and named in the file LEFT; then the keeper ends as the application did. It outlives the registry.
* It reads READER, a pipe into which the application and its sidecar write, and writes each line to LOG behind the time
  at which it came (`controlplane.process.stamped`). LOG never grows past MAX_BYTES: it becomes LOG.1 and another is
  begun. A disk that is full loses lines and holds nobody up.
* When it is killed itself, the kernel kills the application (PR_SET_PDEATHSIG).

It imports next to nothing: there is one beside every shadow, and each takes 3 MB and a fiftieth of a second to start.
"""

import _signal as signal  # type: ignore[import-not-found]  # the module `signal` takes as long to import as all the rest
import ctypes
import os
import select
import sys
import time

MAX_BYTES = 2 << 20
"""Of one of the two files: twenty thousand lines of a hundred bytes."""

CHUNK_BYTES = 64 << 10
SILENCE_MS = 1000
"""After so long, what stands without a line feed is a line: a question, the dots of a progress bar."""
ROUND_MS = 50
"""Between two looks at what is left, while it is being killed."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class Log:
    """Lines, each behind its time, in two files of bounded length."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1
        self._size = 0
        self._rest = b""
        self._second = 0
        self._clock = ""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > CHUNK_BYTES:
            lines.append(self._rest)
            self._rest = b""
        if lines:
            stamp = self._stamp()
            self._write(b"".join([b"%b %b\n" % (stamp, line) for line in lines]))

    def end_line(self) -> None:
        if self._rest:
            self.feed(b"\n")

    def _stamp(self) -> bytes:
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        return f"{self._clock}.{int(now * 1000) % 1000:03d}Z".encode()

    def _write(self, data: bytes) -> None:
        try:
            if self._file < 0:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                self._size = os.fstat(self._file).st_size
            if self._size and self._size + len(data) > MAX_BYTES:
                os.close(self._file)
                self._file = -1
                os.replace(self._path, f"{self._path}.1")  # noqa: PTH105 (pathlib is not imported here)
                self._write(data)
                return
            self._size += os.write(self._file, data)
        except OSError:
            return  # a full disk, or the folder has gone


def stat(pid: str) -> list[str]:
    """The fields of /proc/PID/stat from the state on, empty when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def descendants() -> dict[int, int]:
    """pid -> process group of all that has come of us and still runs, our own children first."""
    found = {pid: stat(pid) for pid in os.listdir("/proc") if pid.isdigit()}  # noqa: PTH208
    running = {int(pid): fields for pid, fields in found.items() if fields and fields[0] not in "ZXx"}
    ours: dict[int, int] = {}
    level = {os.getpid()}
    while level:
        level = {pid for pid, fields in running.items() if int(fields[1]) in level and pid not in ours}
        ours.update((pid, int(running[pid][2])) for pid in level)
    return ours


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def named(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
            words = file.read().decode(errors="replace").replace("\0", " ").strip()
    except OSError:
        words = ""
    return f"process {pid} ({words[:57] + '...' if len(words) > 60 else words})"


def run(argv: list[str], libc: ctypes.CDLL, keeper: int, reader: int) -> None:
    """In the child: become the application."""
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == keeper:
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)  # which Python ignores, and exec would pass on
            os.close(reader)
            os.execvpe(argv[0], argv, os.environ)  # noqa: S606
    except OSError as error:
        os.write(2, f"skycap: {argv[0]!r} cannot be run: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def main(reader: int, log: Log, left: str, argv: list[str]) -> int:
    """Returns the application's wait status."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    keeper = os.getpid()
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        run(argv, libc, keeper, reader)
    asked: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: asked.append(signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)  # the writing end is the others' alone, so that its end can be seen
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    poll.register(woken, select.POLLIN)
    status: int | None = None
    while True:
        events = dict(poll.poll(SILENCE_MS if status is None else ROUND_MS))
        if reader in events:
            data = os.read(reader, CHUNK_BYTES)
            log.feed(data)
            if not data:
                poll.unregister(reader)
        elif not events:
            log.end_line()
        if woken in events:
            os.read(woken, 4096)
        if asked:  # its group has been told by who told us
            for pid, group in descendants().items():
                if group != keeper:
                    send(pid, asked[-1])
            asked.clear()
        try:
            while True:
                pid, ended = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                if pid == child:
                    status = ended
                    note(left)
        except ChildProcessError:
            break
        if status is not None:
            for pid in descendants():
                send(pid, signal.SIGKILL)
    drain(reader, log)
    return status or 0


def join(groups: str) -> None:
    """Without the limits that were asked for nothing is started."""
    for path in filter(None, groups.split(":")):
        try:
            with open(path, "w") as file:  # noqa: PTH123
                file.write("0")  # whoever writes it
        except OSError as error:
            os.write(2, f"skycap: its limits cannot be set: {path}: {error.strerror}\n".encode())
            os._exit(127)


def note(path: str) -> None:
    """Who is left when the application has ended."""
    remaining = list(descendants())
    if remaining:
        try:
            with open(path, "w") as file:  # noqa: PTH123
                file.write("\n".join(map(named, remaining)))
        except OSError:
            return


def drain(reader: int, log: Log) -> None:
    """What is in the pipe: the last words. The sidecar may still hold its other end."""
    os.set_blocking(reader, False)
    try:
        while data := os.read(reader, CHUNK_BYTES):
            log.feed(data)
    except OSError:
        pass
    log.end_line()


def end_like(status: int) -> None:
    """So that who waits for us sees how the application ended."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file of ours would help nobody
    if -code not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    os._exit(128 - code)


if __name__ == "__main__":
    join(sys.argv[4])
    end_like(main(int(sys.argv[1]), Log(sys.argv[2]), sys.argv[3], sys.argv[5:]))

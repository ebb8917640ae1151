"""The node: everything of it lives in namespaces of its own, so that one end of one process ends it all.

Whoever talks to the cluster does so from a second network namespace, which has a route to the cluster and to nothing
else: a packet to a cluster address can never leave the machine. `inside` takes the calling thread there.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from ssl import CERT_NONE, create_default_context
from typing import IO

from tests.kubernetes.cluster.configuration import ADMIN_TOKEN, API, CLIENT, NODE, PODS, SERVICES, write
from tests.kubernetes.cluster.programs import BIN, CACHE, HERE, NAMESPACES, ROOT, found

FOLDER = CACHE / "run"
"""Of the one node that there is at a time."""

_SYSCTLS = ("vm.overcommit_memory", "kernel.panic", "kernel.panic_on_oops")
"""What a kubelet writes for the whole machine."""

_KUBECTL_SECONDS = 240
"""Longer than whatever it is told to wait for; without it, it waits for an API server that hangs for ever."""

_CGROUPS = Path("/sys/fs/cgroup")
_CLONE_NEWNET = 0x40000000


class NodeError(Exception):
    """The node does not come up."""


class Node:
    """tied: it ends with this process, however that ends."""

    def __init__(self, images: list[Path], *, tied: bool) -> None:
        self._images = images
        self._tied = tied
        self._lock: IO[str] | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self.folder = FOLDER
        self.kubeconfig = FOLDER / "admin.kubeconfig"
        self.authority = FOLDER / "pki/apiserver.crt"
        self.server = API
        self.token = ADMIN_TOKEN
        self.programs = f"{BIN}:{Path(sys.executable).parent}"
        """What a PATH begins with that finds kubectl and skycap."""

    def up(self) -> None:
        """Returns when the node is ready. Raises NodeError."""
        CACHE.mkdir(parents=True, exist_ok=True)
        self._lock = (CACHE / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NodeError("another process runs the node of this cache folder") from None
        down()
        write(self.folder)
        key = self.folder / "pki/sa.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        before = [
            subprocess.run([found("sysctl"), "-n", name], capture_output=True, text=True).stdout for name in _SYSCTLS
        ]
        (self.folder / "sysctls").write_text("".join(before))
        command = ["bash", str(HERE / "init.sh"), str(self.folder), str(BIN), str(ROOT), *map(str, self._images)]
        with (self.folder / "log/init.log").open("wb") as log:
            node = self._begin(["unshare", *NAMESPACES, *command], log)
            client = self._begin(["unshare", "-n", "--fork", "--kill-child", "sleep", "infinity"], log)
        (self.folder / "ends").write_text(f"{node.pid}\n{client.pid}\n")
        self._until(lambda: (self.folder / "mounted").exists(), 20, "mounts nothing")
        first, second = _child(node.pid), _child(client.pid)
        (self.folder / "namespaces").write_text(f"{first}\n{second}\n")
        _connect(first, second)
        (self.folder / "connected").touch()
        self._until(self._api_ready, 120, "has no API server that is ready")
        self._until(lambda: "node1" in self.kubectl("get", "nodes", "-o", "name", check=False), 60, "does not register")
        self.kubectl("wait", "--for=condition=Ready", "node/node1", "--timeout=90s")
        self._until(lambda: bool(self.kubectl("get", "sa", "default", check=False)), 30, "has no service account")

    def down(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        down()
        if self._lock is not None:
            self._lock.close()

    def kubectl(self, *arguments: str, given: str = "", check: bool = True) -> str:
        """What it prints. Raises NodeError with what it complains about."""
        command, environ = self._asks(*arguments)
        try:
            done = subprocess.run(
                command, input=given, capture_output=True, text=True, env=environ, timeout=_KUBECTL_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise NodeError(f"kubectl {' '.join(arguments)}: it has not ended after {_KUBECTL_SECONDS} s") from None
        if check and done.returncode != 0:
            raise NodeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """A kubectl that goes on."""
        command, environ = self._asks(*arguments)
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)

    def _asks(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        command = ["nsenter", f"--net=/proc/{self._client}/ns/net", str(BIN / "kubectl"), *arguments]
        return command, {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread, and what it starts, is a client of the cluster and of nothing else."""
        with _entered(self._client):
            yield

    def restart_api_server(self) -> None:
        """Kill it. Returns when the new one is ready."""
        (self.folder / "restart").touch()
        listed = [line.split() for line in (self.folder / "pids").read_text().splitlines()]
        pid = [number for name, number in listed if name == "kube-apiserver"][-1]
        subprocess.run(["nsenter", "-t", str(self._node), "-p", "-m", "kill", "-9", pid], check=True)
        self._until(lambda: not (self.folder / "restart").exists(), 30, "does not notice")
        self._until(self._api_ready, 60, "has no API server that is ready")

    @property
    def _node(self) -> int:
        return int((self.folder / "namespaces").read_text().split()[0])

    @property
    def _client(self) -> int:
        return int((self.folder / "namespaces").read_text().split()[1])

    def _begin(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        tie = ["setpriv", "--pdeathsig", "KILL"] if self._tied else []
        begun = subprocess.Popen(
            [*tie, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        self._processes.append(begun)
        return begun

    def _api_ready(self) -> bool:
        context = create_default_context()
        context.check_hostname, context.verify_mode = False, CERT_NONE
        question = urllib.request.Request(f"{API}/readyz", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
        with self.inside(), suppress(OSError), urllib.request.urlopen(question, timeout=2, context=context) as answer:
            return bool(answer.read() == b"ok")
        return False

    def _until(self, reached: object, seconds: float, otherwise: str) -> None:
        assert callable(reached)
        end = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > end:
                raise NodeError(f"the node {otherwise} after {seconds:g} s; see {self.folder}/log")
            time.sleep(0.1)


def down() -> None:
    """End the node, whoever began it, and leave nothing of it on the machine."""
    ends = FOLDER / "ends"
    if ends.exists():
        for text in ends.read_text().split():
            if _is_ours(int(text)):
                with suppress(ProcessLookupError):
                    os.kill(int(text), signal.SIGKILL)
                _gone(int(text))
    _remove_cgroups()
    sysctls = FOLDER / "sysctls"
    if sysctls.exists():
        for name, value in zip(_SYSCTLS, sysctls.read_text().split(), strict=True):
            subprocess.run([found("sysctl"), "-qw", f"{name}={value}"], check=True)
    end = time.monotonic() + 10
    while FOLDER.exists() and time.monotonic() < end:
        shutil.rmtree(FOLDER, ignore_errors=True)


def _is_ours(pid: int) -> bool:
    try:
        return b"unshare" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _gone(pid: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)


def _remove_cgroups() -> None:
    """What a kill leaves of them, depth first, in every hierarchy."""
    end = time.monotonic() + 10
    while True:
        tops = [top for name in ("kubepods", "k8s.io") for top in (*_CGROUPS.glob(f"*/{name}"), _CGROUPS / name)]
        tops = [top for top in tops if top.is_dir()]
        for top in tops:
            for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                with suppress(OSError):
                    folder.rmdir()
            with suppress(OSError):
                top.rmdir()
        if not tops or time.monotonic() > end:
            return
        time.sleep(0.05)


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _connect(node: int, client: int) -> None:
    def run(*command: str, at: int | None = None) -> None:
        enter = ["nsenter", f"--net=/proc/{at}/ns/net"] if at else []
        subprocess.run([*enter, *command], check=True)

    pair = ["type", "veth", "peer", "name", "eth0", "netns", str(node)]
    run("ip", "link", "add", "eth0", *pair, at=client)
    for at, address in ((client, CLIENT), (node, NODE)):
        run("ip", "link", "set", "lo", "up", at=at)
        run("ip", "addr", "add", f"{address}/30", "dev", "eth0", at=at)
        run("ip", "link", "set", "eth0", "up", at=at)
    for network in (PODS, SERVICES):
        run("ip", "route", "add", network, "via", NODE, "dev", "eth0", at=client)
    run("ip", "route", "add", "default", "via", CLIENT, at=node)
    run(found("sysctl"), "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.route_localnet=1", at=node)


@contextmanager
def _entered(pid: int) -> Iterator[None]:
    library = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as before, Path(f"/proc/{pid}/ns/net").open() as there:
        _set(library, there.fileno())
        try:
            yield
        finally:
            _set(library, before.fileno())


def _set(library: ctypes.CDLL, descriptor: int) -> None:
    if library.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

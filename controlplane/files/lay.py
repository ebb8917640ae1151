"""A tree laid over a work folder for one copy, so that the copy sees the service as it was changed.

    overlay   a file system of the kernel, seen by the copy alone: the baseline's folder below, the pushed files above.
              It is mounted at the path of the baseline's folder, in a mount namespace of the copy's own, so that
              absolute paths mean the changed service as well, and it is gone with the copy's last process
    copy      where the machine does not allow that: a copy of the folder, which shares blocks where the file system can
              (reflinks), and is hard-linked where the copy could not write to a file anyway. Arguments and variables
              that name the baseline's folder name the copy instead

Either way the baseline's folder is never written, whatever the copy does. Everything is below the folder of the copy
and is removed with it.

Who may not mount becomes the root of a user namespace of its own for that (5.11 and later), and itself again in a
second one inside, so that the application sees the user that it always was. Every call blocks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from controlplane.files.store import FileStore
from controlplane.files.tree import Tree
from controlplane.files.work import WorkFolder
from controlplane.process.command import Command

MAX_COPIED_FILES = 100_000
MAX_COPIED_BYTES = 2 << 30
"""Of a work folder that has to be copied for every revision: a minute of a slow disk."""
PROBE_SECONDS = 10.0
"""For a mount to be tried. It takes 10 ms."""

_FICLONE = 0x40049409  # ioctl_ficlone(2)
_SCRIPT = '"$1" -t overlay overlay -o "$2" "$3" && cd "$3" && shift 3 && exec "$@"'
_BAD_IN_OPTIONS = frozenset(':,\\"')
"""Characters of a path that mean something in the options of a mount."""


class LayError(Exception):
    """The files cannot be laid. `str()` is one sentence without a full stop."""


class Layer:
    """Lays trees over work folders.

    overlay: False: always by copying.
    """

    def __init__(self, store: FileStore, *, overlay: bool = True) -> None:
        self._store = store
        self._overlay = overlay
        self._allowed: dict[tuple[str, str], bool] = {}

    def __repr__(self) -> str:
        return f"<Layer {self._allowed}>"

    def lay(self, tree: Tree, base: str, folder: Path, command: Command) -> Command:
        """`command` as it has to be run to see the tree over `base`. Raises LayError; the caller removes `folder`.

        base:   the work folder, absolute.
        folder: of this copy; made when it is missing.
        """
        try:
            work = WorkFolder(base)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._overlay and self._may_mount(base, folder):
                return self._mounted(tree, work, folder, command)
            return self._copied(tree, work, folder, command)
        except OSError as error:
            where = error.filename if error.filename is not None else base
            raise LayError(f"the pushed files cannot be laid over {base}: {where}: {error.strerror}") from None

    def _may_mount(self, base: str, folder: Path) -> bool:
        """Whether an overlay can be mounted there: tried once for each file system that it would stand on."""
        known = base, str(folder.parent)
        if known not in self._allowed:
            with tempfile.TemporaryDirectory(prefix="overlay-", dir=folder) as place:
                self._allowed[known] = _mounts(base, Path(place))
        return self._allowed[known]

    def _mounted(self, tree: Tree, work: WorkFolder, folder: Path, command: Command) -> Command:
        upper, scratch = folder / "upper", folder / "scratch"
        for each in (upper, scratch):
            each.mkdir(exist_ok=True)
        shutil.copystat(work.path, upper)  # it becomes the folder that the copy stands in
        self._place(tree, work, upper)
        for path in tree.removed:
            if os.path.lexists(f"{work.path}/{path}"):
                _folders(work, upper, path)
                os.mknod(upper / path, stat.S_IFCHR, os.makedev(0, 0))  # a whiteout, as overlayfs writes it
        return replace(command, within=_within(work.path, upper, scratch))

    def _copied(self, tree: Tree, work: WorkFolder, folder: Path, command: Command) -> Command:
        target = folder / "work"
        target.mkdir(exist_ok=True)
        gone = {*tree.removed, *tree.files}
        total = 0
        for count, (path, status) in enumerate(_walk(work.path, str(folder.parent)), 1):
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
            if count > MAX_COPIED_FILES or total > MAX_COPIED_BYTES:
                raise LayError(
                    f"{work.path} is too large to be copied ({MAX_COPIED_FILES} files, {MAX_COPIED_BYTES >> 30} GiB), "
                    "and no overlay can be mounted here: give the fork a command and a cwd of its own"
                )
            if path not in gone:
                _copy(f"{work.path}/{path}", str(target / path), status)
        self._place(tree, work, target)
        moved = {name: _moved(value, work.path, str(target)) for name, value in command.env.items()}
        argv = tuple(_moved(argument, work.path, str(target)) for argument in command.argv)
        return replace(command, argv=argv, env=moved, cwd=str(target))

    def _place(self, tree: Tree, work: WorkFolder, target: Path) -> None:
        for path, content in tree.files.items():
            _folders(work, target, path)
            data = self._store.read(content.digest)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(target / path, flags, 0o755 if content.executable else 0o644), "wb") as file:
                file.write(data)


def _folders(work: WorkFolder, target: Path, path: str) -> None:
    """Make the folders above a path, each as it is in the work folder."""
    for part in reversed(Path(path).parents[:-1]):
        if not (target / part).is_dir():
            (target / part).mkdir()
            with suppress(OSError):
                shutil.copystat(f"{work.path}/{part}", target / part, follow_symlinks=False)


def _within(base: str, upper: Path, scratch: Path) -> tuple[str, ...]:
    """What has to stand before a command so that it sees the overlay: each part executes the next."""
    unshare, mount, shell = (shutil.which(name) for name in ("unshare", "mount", "sh"))
    if unshare is None or mount is None or shell is None:
        return ()
    options = f"lowerdir={base},upperdir={upper},workdir={scratch}"
    arguments = ("skycap", mount, options, base)
    if os.geteuid() == 0:
        return (unshare, "--mount", shell, "-c", _SCRIPT, *arguments)
    options = f"userxattr,{options}"
    back = (unshare, "--user", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}", "--")
    root = (unshare, "--user", "--map-root-user", "--mount", shell, "-c", _SCRIPT)
    return (*root, "skycap", mount, options, base, *back)


def _mounts(base: str, place: Path) -> bool:
    """Whether the overlay that would be mounted can be."""
    if _BAD_IN_OPTIONS & set(f"{base}{place}"):
        return False
    upper, scratch = place / "upper", place / "scratch"
    upper.mkdir()
    scratch.mkdir()
    try:
        (upper / "whiteout").touch()
        os.mknod(upper / "gone", stat.S_IFCHR, os.makedev(0, 0))
        within = _within(base, upper, scratch)
        if not within:
            return False
        tried = subprocess.run(  # noqa: S603 (programs of the system, by their absolute paths)
            [*within, "/bin/sh", "-c", ": > whiteout && test ! -e gone"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return tried.returncode == 0


def _walk(base: str, but: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below a folder, folders before what is in them; links are not followed. but: a folder left out."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(f"{base}/{folder}") as entries:
            found = [
                (f"{folder}/{entry.name}".lstrip("/"), entry.stat(follow_symlinks=False))
                for entry in entries
                if f"{base}/{folder}/{entry.name}".replace("//", "/") != but
            ]
        yield from found
        waiting += [path for path, status in found if stat.S_ISDIR(status.st_mode)]


def _copy(source: str, target: str, status: os.stat_result) -> None:
    """One entry. Sockets, pipes and devices are left out: they mean a process or a machine, not the service."""
    if stat.S_ISDIR(status.st_mode):
        Path(target).mkdir()
        shutil.copystat(source, target)
    elif stat.S_ISLNK(status.st_mode):
        Path(target).symlink_to(Path(source).readlink())
    elif stat.S_ISREG(status.st_mode):
        if not os.access(source, os.W_OK, follow_symlinks=False):
            with suppress(OSError):  # another file system, or links to others' files are forbidden
                os.link(source, target, follow_symlinks=False)
                return
        if not _cloned(source, target):
            shutil.copyfile(source, target, follow_symlinks=False)
        shutil.copystat(source, target, follow_symlinks=False)


def _cloned(source: str, target: str) -> bool:
    """Whether the file could share its blocks (btrfs, XFS, bcachefs)."""
    with Path(source).open("rb") as old, Path(target).open("wb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM):
                return False
            raise
    return True


def _moved(text: str, base: str, target: str) -> str:
    """A text with every path in it that is the base or lies below it; parts are separated as in a PATH."""
    if base not in text:
        return text
    parts = text.split(":")
    return ":".join(
        f"{target}{part[len(base) :]}" if part == base or part.startswith(f"{base}/") else part for part in parts
    )

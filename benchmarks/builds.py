"""The sidecar as it is measured: a copy of `proxy/` that is compiled as the wheel is, and one that runs as it stands.

Both are made from this checkout, whatever it is itself (`make compile`), and kept until a source changes: compiling
takes a minute.
"""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from benchmarks.errors import ToolMissing

COMPILED = "compiled"
INTERPRETED = "interpreted"

_PROJECT = Path(__file__).resolve().parent.parent
_KEPT = _PROJECT / ".builds"
_BUILDER = _PROJECT / "hatch_build.py"


def _digest() -> str:
    """Of all that a build follows from."""
    digest = sha256(sys.version.encode() + _BUILDER.read_bytes())
    for path in sorted(_PROJECT.joinpath("proxy").rglob("*.py")):
        source = path.read_bytes()
        digest.update(b"%s %d\n%s" % (path.relative_to(_PROJECT).as_posix().encode(), len(source), source))
    return digest.hexdigest()[:16]


def folder(kind: str) -> Path:
    """Where Python finds that build of `proxy`, when it has been made."""
    return _KEPT / _digest() / kind


def make(kind: str) -> None:
    """Make that build, unless it is there. Raises ToolMissing where nothing can be compiled."""
    target = folder(kind)
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    for other in _KEPT.iterdir():
        if other.is_dir() and other != target.parent:
            shutil.rmtree(other)
    with tempfile.TemporaryDirectory(dir=target.parent) as made:
        if kind == COMPILED:
            _compile(Path(made))
        else:
            leave = shutil.ignore_patterns("*.so", "*.manifest", "__pycache__")
            shutil.copytree(_PROJECT / "proxy", Path(made, "proxy"), ignore=leave)
        shutil.copytree(made, target)


def _compile(folder: Path) -> None:
    try:
        runpy.run_path(str(_BUILDER))["compile_into"](folder)
    except ImportError as error:
        raise ToolMissing(f"{error.name} not found; install with: pip install -e .[compile]") from None
    except subprocess.CalledProcessError as error:
        last = error.stdout.strip().splitlines()[-1:]
        raise ToolMissing(f"the C compiler failed ({' '.join(last)}); install with: {_COMPILER}") from None


_COMPILER = "sudo apt-get install -y --no-install-recommends gcc libc6-dev python3-dev"

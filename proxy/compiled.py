"""Whether the data path runs compiled, and whether it was compiled from the sources that stand beside it.

A compiled wheel, and `make compile` in a checkout, put an extension module beside each source of the data path, and
Python takes `head.cpython-311-x86_64-linux-gnu.so` before `head.py`. One that was made from other sources would run
without a word. So the build leaves a manifest, a digest of all sources of the package and the names of the extensions,
and whatever imports `proxy` compares it first: reading 100 files takes 3 ms, and only where something is compiled.
"""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

SUFFIX = EXTENSION_SUFFIXES[0]
"""How an extension for this interpreter ends; it does not load those of another one."""

MANIFEST = f"compiled{SUFFIX}.manifest"
"""In the folder of the package."""


class StaleBuildError(ImportError):
    """The compiled modules are not those of the sources beside them."""


def build(package: Path) -> str:
    """How the package in that folder runs: `compiled` or `interpreted`. Raises StaleBuildError."""
    path = package / MANIFEST
    if not path.exists() and not any(package.rglob(f"*{SUFFIX}")):
        return "interpreted"
    try:
        fits = path.read_text() == manifest(package)
    except (OSError, ValueError):
        fits = False
    if not fits:
        raise StaleBuildError(
            f"the compiled modules in {package} were made from other sources: run `make compile`, or `make decompile`",
            name="proxy",
        )
    return "compiled"


def manifest(package: Path) -> str:
    """What the manifest of that folder must say: the digest of its sources, and its extensions, one per line."""
    from hashlib import sha256  # a start without extensions does not need it

    digest = sha256()
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        digest.update(b"%s %d\n%s" % (path.relative_to(package).as_posix().encode(), len(source), source))
    extensions = sorted(path.relative_to(package).as_posix() for path in package.rglob(f"*{SUFFIX}"))
    return "\n".join([digest.hexdigest(), *extensions, ""])

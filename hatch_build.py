"""Compiles the data path with mypyc: a hook of hatchling for wheels, a program for a checkout.

The source stays Python, and where there is no compiler it runs as it stands. SKYCAP_COMPILE says what a wheel is to be:
`auto` (the default) compiled, or with a warning interpreted where that fails; `1` compiled or nothing; `0` interpreted.

    python hatch_build.py    # `make compile`: extensions beside the sources of this checkout
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
COMPILED = (
    "wire/*.py", "wire/h2/*.py", "routing/*.py", "exchange/*.py", "exchange/h2/*.py",
    "net/timers.py", "net/downstream.py", "net/upstream.py",
    "net/opaque.py",  # a subclass of what is compiled
    "telemetry/counters.py",
)  # fmt: skip
"""What a request passes through, in `proxy/`."""

PACKAGES = Path("skycap/packages")
"""Where a wheel has what stands at the top of the checkout."""

NEEDS = ["mypy[mypyc]>=1.11", "setuptools>=77"]

SETUP = """
import sys
from mypyc.build import mypycify
from setuptools import setup
flags = ["--config-file=", "--ignore-missing-imports"]
modules = mypycify([*flags, *sys.argv[1:]], opt_level="3", debug_level="0", group_name="skycap")
setup(name="skycap", packages=[], ext_modules=modules, script_args=["--quiet", "build_ext", "--inplace"])
"""
"""Run in a folder of its own: setuptools would read our pyproject.toml, and refuses what hatchling accepts there."""


def compile_into(folder: Path) -> list[Path]:
    """Copy the package into an empty folder and compile it there; the files that came of it, relative to the folder.
    Raises CalledProcessError with the compiler's output."""
    package = folder / "proxy"
    shutil.copytree(ROOT / "proxy", package, ignore=shutil.ignore_patterns("*.so", "*.manifest", "__pycache__"))
    sources = sorted(str(path.relative_to(folder)) for glob in COMPILED for path in package.glob(glob))
    modules = [source for source in sources if not source.endswith("__init__.py")]
    subprocess.run(
        [sys.executable, "-c", SETUP, *modules],
        cwd=folder, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    shutil.rmtree(folder / "build")
    known = runpy.run_path(str(ROOT / "proxy/compiled.py"))
    package.joinpath(known["MANIFEST"]).write_text(known["manifest"](package))
    return [path.relative_to(folder) for glob in ("*.so", "*.manifest") for path in folder.rglob(glob)]


class Compile(BuildHookInterface[Any]):
    """Puts the one package that Python finds, and the extensions, into a wheel. An editable installation runs the
    checkout, which `make compile` compiles."""

    folder: Path | None = None

    def dependencies(self) -> list[str]:
        return [] if os.environ.get("SKYCAP_COMPILE") == "0" else NEEDS

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        build_data["force_include"][str(ROOT / "controlplane/entry/skycap")] = "skycap"
        wish = os.environ.get("SKYCAP_COMPILE", "auto")
        if wish == "0":
            return
        self.folder = Path(tempfile.mkdtemp(prefix="skycap-"))
        try:
            made = compile_into(self.folder)
        except subprocess.CalledProcessError as error:
            self.app.display_warning(error.stdout[-2000:])
            if wish == "1":
                raise
            self.app.display_warning("skycap is built without compiled modules; SKYCAP_COMPILE=0 asks for that")
            return
        build_data["force_include"] |= {str(self.folder / path): str(PACKAGES / path) for path in made}
        build_data |= {"pure_python": False, "infer_tag": True}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder)


def main() -> None:
    """Compile this checkout."""
    with tempfile.TemporaryDirectory(prefix="skycap-") as folder:
        try:
            made = compile_into(Path(folder))
        except subprocess.CalledProcessError as error:
            sys.exit(f"{error.stdout}\nnot compiled: it takes a C compiler and the header files of Python")
        for path in made:
            shutil.copy2(Path(folder) / path, ROOT / path)


if __name__ == "__main__":
    main()

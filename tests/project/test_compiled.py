"""Compiled modules run when they were made from the sources beside them, and else nothing does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import proxy
from proxy import compiled
from proxy.compiled import MANIFEST, SUFFIX, StaleBuildError, build, manifest
from proxy.wire import head

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """One that imports what it is not told to import only when it fits: the real check, and one module."""
    folder = tmp_path / "proxy"
    (folder / "wire").mkdir(parents=True)
    (folder / "compiled.py").write_text(Path(compiled.__file__).read_text())
    (folder / "__init__.py").write_text((ROOT / "proxy/__init__.py").read_text())
    (folder / "__main__.py").write_text("from proxy import BUILD\nprint(BUILD)\n")
    (folder / "wire/head.py").write_text("CR = 13\n")
    return folder


def made(package: Path) -> None:
    """As after `make compile`."""
    (package / f"wire/head{SUFFIX}").write_bytes(b"\x7fELF")
    (package / MANIFEST).write_text(manifest(package))


def test_sources_alone_are_interpreted(package: Path) -> None:
    assert build(package) == "interpreted"


def test_extensions_of_these_sources_are_compiled(package: Path) -> None:
    made(package)
    assert build(package) == "compiled"


def test_extensions_for_another_interpreter_are_none(package: Path) -> None:
    (package / "wire/head.cpython-39-x86_64-linux-gnu.so").touch()
    (package / "__pycache__").mkdir()
    (package / "__pycache__/head.pyc").touch()
    assert build(package) == "interpreted"


def changed(package: Path) -> None:
    (package / "wire/head.py").write_text("CR = 12\n")


def added(package: Path) -> None:
    (package / "wire/body.py").touch()


def removed(package: Path) -> None:
    (package / "wire/head.py").unlink()


def renamed(package: Path) -> None:
    (package / "wire/head.py").rename(package / "wire/heads.py")


def left_behind(package: Path) -> None:
    (package / f"wire/gone{SUFFIX}").touch()


def taken_away(package: Path) -> None:
    (package / f"wire/head{SUFFIX}").unlink()


def without_manifest(package: Path) -> None:
    (package / MANIFEST).unlink()


def broken_manifest(package: Path) -> None:
    (package / MANIFEST).write_bytes(b"\xff")


EVENTS = (changed, added, removed, renamed, left_behind, taken_away, without_manifest, broken_manifest)


@pytest.mark.parametrize("event", EVENTS)
def test_what_does_not_fit_is_refused(package: Path, event: object) -> None:
    made(package)
    assert callable(event)
    event(package)
    with pytest.raises(StaleBuildError, match="were made from other sources: run `make compile`, or `make decompile`"):
        build(package)


def test_nothing_of_it_can_be_imported_and_one_line_says_why(package: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=package.parent, capture_output=True, text=True, check=False)

    made(package)
    assert run("-m", "proxy").stdout == "compiled\n"
    changed(package)
    done = run("-m", "proxy")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "were made from other sources: run `make compile`, or `make decompile`" in line
    assert "StaleBuildError" in run("-c", "import proxy.wire.head").stderr


def test_what_runs_here_is_what_is_said() -> None:
    assert head.__file__ is not None
    assert head.__file__.endswith({"compiled": SUFFIX, "interpreted": "head.py"}[proxy.BUILD])

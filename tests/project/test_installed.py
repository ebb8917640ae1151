"""An installation takes one name, `skycap`, and lives beside whatever else is called `proxy` or `controlplane`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.base.programs import PACKAGES, program

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")


def install(target: Path, *what: str) -> Path:
    environ = {**os.environ, "SKYCAP_COMPILE": "0", "PIP_BUILD_CONSTRAINT": str(ROOT / "constraints.txt")}
    done = subprocess.run([*PIP, "--target", str(target), *what], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    return target


def top(folder: Path) -> set[str]:
    """What Python can import there."""
    return {
        path.stem for path in folder.iterdir() if path.suffix in ("", ".py") and path.name not in ("bin", "__pycache__")
    }


def run(target: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Python with that folder before all others."""
    environ = {**os.environ, "PYTHONPATH": str(target)}
    return subprocess.run([sys.executable, "-P", *arguments], capture_output=True, text=True, env=environ, cwd=cwd)


def another(folder: Path) -> None:
    """Packages of others, as `pip install proxy.py` brings one."""
    for name in ("proxy", "controlplane"):
        (folder / name).mkdir()
        for file in ("__init__.py", "__main__.py"):
            (folder / name / file).write_text("raise SystemExit('another program')\n")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("installed"), str(ROOT))


@pytest.mark.timeout(300)
def test_a_wheel_takes_one_name(wheel: Path) -> None:
    assert top(wheel) == {"skycap"}


@pytest.mark.timeout(300)
def test_an_editable_installation_takes_one_name(tmp_path: Path) -> None:
    install(tmp_path, "--editable", str(ROOT))
    (path,) = tmp_path.glob("*.pth")
    shown = [Path(line) for line in path.read_text().splitlines()]
    assert shown == [ROOT / "controlplane/entry"]
    assert top(shown[0]) == {"skycap"}
    ended = run(shown[0], "-c", "import skycap, proxy; print(proxy.__file__)", cwd=tmp_path)
    assert ended.stdout.strip() == str(ROOT / "proxy/__init__.py"), ended.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "command", [(), ("proxy",), ("gateway",), ("controlplane",)], ids=lambda words: " ".join(words)
)
def test_packages_of_others_are_not_taken_for_ours(wheel: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    another(tmp_path)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(wheel)])}
    for python in ((sys.executable,), (sys.executable, "-P")):  # with and without the folder where the person stands
        ended = subprocess.run(
            [*python, "-m", "skycap", *command, "--help"], capture_output=True, text=True, env=environ, cwd=tmp_path
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.lower().startswith(" ".join(("usage: skycap", *command)))


@pytest.mark.timeout(300)
def test_what_is_loaded_already_is_one_clear_error(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "proxy.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import proxy, skycap"
    ended = run(wheel, "-c", code, cwd=tmp_path)
    said = f"skycap's package `proxy` cannot be had where another one is loaded: {tmp_path / 'proxy.py'}"
    assert ended.stderr.splitlines()[-1] == f"ImportError: {said}"


@pytest.mark.timeout(300)
def test_a_program_has_the_client(wheel: Path, tmp_path: Path) -> None:
    ended = run(wheel, "-c", "import skycap; from controlplane.client import Client; print(Client)", cwd=tmp_path)
    assert ended.stdout == "<class 'controlplane.client.Client'>\n", ended.stderr


@pytest.mark.parametrize("package", ["proxy", "controlplane", "controlplane/cli"])
def test_our_programs_start_by_their_files(package: str, tmp_path: Path) -> None:
    another(tmp_path)
    assert Path(program(package)[-1]).is_relative_to(PACKAGES)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run([*program(package), "--help"], capture_output=True, text=True, env=environ, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")

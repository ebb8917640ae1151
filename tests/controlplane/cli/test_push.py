"""`skycap sandbox push` against a real registry that starts real shadows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from controlplane.cli.pushed import left_out
from controlplane.model.workload import Readiness, Workload
from tests.controlplane.cli.conftest import Skycap, authorized, first_line
from tests.controlplane.cli.conftest import end as ended

APP = (Path(__file__).parents[1] / "launch" / "app.py").read_text()
CHANGED = APP.replace('"arguments": sys.argv[1:],', '"arguments": ["changed"],')
DIFF = """\
--- a/app.py
+++ b/app.py
@@ -1,3 +1,3 @@
-"arguments": sys.argv[1:],
+"arguments": ["by diff"],
"""
OTHER = "127.0.0.1:1"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("push")


@pytest.fixture(scope="module")
def registry(place: Path) -> Iterator[str]:
    """One that knows the baseline of shop/users, whose work folder is PLACE/service."""
    folder = place / "service"
    (folder / "lib").mkdir(parents=True)
    (folder / "app.py").write_text(APP)
    (folder / "lib" / "kept.txt").write_text("kept")
    with (place / "log").open("w") as log:
        command = [sys.executable, "-m", "controlplane", "--listen", "127.0.0.1:0", "--memory"]
        process = subprocess.Popen(
            [*command, "--state-dir", str(place / "shadows")], stdout=subprocess.PIPE, stderr=log, text=True
        )
        url = first_line(process).split()[-1]
        definition = Workload(
            workload="shop/users",
            address=OTHER,
            command=(sys.executable, "app.py"),
            cwd=str(folder),
            readiness=Readiness(path="/health"),
        )
        body = definition.model_dump(mode="json", exclude_none=True)
        requests.put(
            f"{url}/v1/workloads/shop/users", json=body, headers=authorized(url), timeout=10
        ).raise_for_status()
        yield url
        ended(process)
    assert {path.name for path in (place / "shadows").glob("*")} <= {".files"}, "a shadow's folder is left"
    assert (folder / "app.py").read_text() == APP


@pytest.fixture
def here(registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skycap: Skycap) -> Path:
    monkeypatch.setenv("SKYCAP_REGISTRY", registry)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def who(registry: str, name: str) -> list[str]:
    status = requests.get(f"{registry}/v1/sandboxes/{name}", headers=authorized(registry), timeout=10).json()["status"]
    endpoint = status["forks"][0]["endpoints"][0]
    answer = requests.get(f"http://{endpoint}/who", headers={"baggage": f"routing-key={name}"}, timeout=10)
    arguments: list[str] = answer.json()["arguments"]
    return arguments


def test_a_file_is_run_with_the_baselines_command_and_then_a_diff_of_it(
    here: Path, registry: str, skycap: Skycap, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "app.py").write_text(CHANGED)
    pushed = skycap("sandbox", "push", "one", "shop/users", "app.py")
    assert pushed.code == 0, pushed.err
    assert pushed.out.splitlines() == ["  ~ app.py", "shop/users in sandbox one, revision 1: Ready"]
    assert who(registry, "one") == ["changed"]

    diff = DIFF.replace("@@ -1,3", "@@ -40,3").replace("sys.argv[1:]", '["changed"]')
    diff = diff.replace('-"arg', '-                "arg').replace('+"arg', '+                "arg')
    monkeypatch.setattr("sys.stdin", _Input(diff))
    fixed = skycap("sandbox", "push", "one", "shop/users", "-", "-o", "json")
    answer = json.loads(fixed.out)
    assert (answer["revision"], answer["phase"]) == (2, "Ready")
    assert answer["filesChanged"] == [{"path": "app.py", "change": "changed"}]
    assert who(registry, "one") == ["by diff"]

    monkeypatch.setattr("sys.stdin", _Input(diff))
    again = skycap("sandbox", "push", "one", "shop/users", "-")
    assert again.code == 2
    assert "diff[app.py]: hunk 1: does not apply: line " in again.err
    assert skycap("sandbox", "delete", "one").code == 0


def test_a_folder_is_laid_over_the_work_folder_and_only_what_differs_is_sent(
    here: Path, registry: str, skycap: Skycap
) -> None:
    copy = here / "checkout"
    (copy / "lib").mkdir(parents=True)
    (copy / "app.py").write_text(CHANGED)
    (copy / "lib" / "kept.txt").write_text("kept")
    (copy / "lib" / "big.bin").write_bytes(os.urandom(300_000))
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "app.pyc").write_bytes(b"x")
    pushed = skycap("sandbox", "push", "two", "shop/users", "checkout/")
    assert pushed.code == 0, pushed.err
    assert pushed.out.splitlines()[:-1] == ["  ~ app.py", "  + lib/big.bin"]
    same = skycap("sandbox", "push", "two", "shop/users", "checkout")
    assert same.out.splitlines() == [
        "  nothing differs from what it runs already", "shop/users in sandbox two, revision 1: Ready",
    ]  # fmt: skip
    gone = skycap("sandbox", "push", "two", "shop/users", "--remove", "lib/kept.txt", "--remove", "lib/big.bin")
    assert gone.out.splitlines()[:-1] == ["  - lib/big.bin", "  - lib/kept.txt"]
    assert skycap("sandbox", "delete", "two").code == 0


def test_what_does_not_start_shows_its_traceback_and_what_served_serves_on(
    here: Path, registry: str, skycap: Skycap
) -> None:
    (here / "good.py").write_text(CHANGED)
    (here / "bad.py").write_text("import no_such_module\n")
    assert skycap("sandbox", "push", "three", "shop/users", "good.py", "--as", "app.py").code == 0
    bad = skycap("sandbox", "push", "three", "shop/users", "bad.py", "--as", "app.py")
    assert bad.code == 1
    assert "ModuleNotFoundError: No module named 'no_such_module'" in bad.out
    assert "revision 2 of three does not start; the revision before it serves on" in bad.err
    assert who(registry, "three") == ["changed"]

    built = skycap(
        "sandbox", "push", "three", "shop/users", "good.py", "--as", "app.py", "--build", "sh -c 'echo E42; exit 1'"
    )
    assert built.code == 1
    assert "the build `sh -c 'echo E42; exit 1'` ended with exit code 1" in built.out
    assert "E42" in built.out.splitlines()
    assert skycap("sandbox", "push", "three", "shop/users", "--build", "").code == 0
    assert skycap("sandbox", "delete", "three").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("users.py",), "skycap: users.py: No such file or directory"),
        (("link",), "link: is a link: push what it leads to, with --as to say where it goes"),
        (("folder",), "folder/out: is a link out of the folder, to /etc/hostname"),
        (("/etc/hostname",), "/etc/hostname: is not below "),
        (("/etc/hostname", "--as", "../x"), "'../x' leads out of the work folder"),
        ((), "say what to push"),
        (("a", "b", "--as", "c"), "--as names the place of one PATH"),
        (("file", "--build", "'"), "no closing quotation"),
    ],
)
def test_what_cannot_be_pushed_is_one_clear_line(
    here: Path, skycap: Skycap, arguments: tuple[str, ...], said: str
) -> None:
    (here / "file").write_text("x")
    (here / "link").symlink_to("file")
    (here / "folder").mkdir()
    (here / "folder" / "out").symlink_to("/etc/hostname")
    answer = skycap("sandbox", "push", "four", "shop/users", *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert skycap("sandbox", "get", "four").code == 3


@pytest.mark.parametrize("name", ["__pycache__", ".git", "node_modules", "a.pyc", "a.swp", "a.py~", "4913", ".#a"])
def test_what_tools_leave_behind_is_not_pushed(name: str) -> None:
    assert left_out(name)
    assert not left_out("users.py")


class _Input:
    """Standard input, not a terminal."""

    def __init__(self, text: str) -> None:
        self.buffer = self
        self._text = text

    def isatty(self) -> bool:
        return False

    def read(self) -> bytes:
        return self._text.encode()

"""`skycap sandbox dev`: a real process that watches a real folder, against a real registry and real shadows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.base.programs import program
from tests.controlplane.cli.test_push import APP, CHANGED, place, registry, who

__all__ = ["place", "registry"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "checkout"
    made.mkdir()
    (made / "app.py").write_text(CHANGED)
    return made


@pytest.fixture
def watching(registry: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    skycap = [*program("controlplane/cli")]
    process = subprocess.Popen(
        [*skycap, "sandbox", "dev", "live", "shop/users", str(folder), "-o", "json"],
        env={**os.environ, "SKYCAP_REGISTRY": registry, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr else ""
    answer: dict[str, Any] = json.loads(line)
    return answer


def changes(answer: dict[str, Any]) -> dict[str, str]:
    return {one["path"]: one["change"] for one in answer["filesChanged"]}


@pytest.mark.timeout(120)
def test_every_save_is_a_revision_until_ctrl_c(registry: str, folder: Path, watching: subprocess.Popen[str]) -> None:
    first = told(watching)
    assert (first["revision"], first["phase"], changes(first)) == (1, "Ready", {"app.py": "changed"})
    assert who(registry, "live") == ["changed"]

    (folder / "app.py").write_text(CHANGED.replace('["changed"]', '["saved"]'))
    (folder / "app.pyc").write_text("what tools write is nothing of the service")
    second = told(watching)
    assert (second["revision"], second["phase"], changes(second)) == (2, "Ready", {"app.py": "changed"})
    assert who(registry, "live") == ["saved"]

    fresh = folder / "app.py.new"
    fresh.write_text("import no_such_module\n")
    fresh.replace(folder / "app.py")  # as many editors save
    broken = told(watching)
    while broken["revision"] == 2 or "app.py" not in changes(broken):  # the file's other name may have been seen
        broken = told(watching)
    assert broken["phase"] == "Degraded"
    assert "no_such_module" in broken["failure"]["log"]
    assert who(registry, "live") == ["saved"]

    (folder / "app.py").write_text(APP)
    (folder / "more").mkdir()
    (folder / "more" / "x").write_text("x")
    seen: dict[str, str] = {}
    while not seen.keys() >= {"app.py", "more/x"}:
        seen |= changes(told(watching))
    assert seen["app.py"] == "restored"
    assert seen["more/x"] == "added"
    (folder / "more" / "x").unlink()
    assert changes(told(watching)) == {"more/x": "removed"}

    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=30)
    assert watching.returncode == 0, said

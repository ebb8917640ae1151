"""What becomes of the tests of this folder where there is no node, beside other tests, and when one of them hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kubernetes.cluster.images import REPOSITORY

pytestmark = pytest.mark.timeout(300)  # each starts pytest anew, some of them twice

PLUGINS = ("pytest_timeout", "pytest_asyncio.plugin", "xdist.plugin")
"""All that these want: others take seconds to be imported."""

WITH_A_NODE = "tests/kubernetes/test_access.py"
WITHOUT = "tests/kubernetes/test_image.py"


def run(folder: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    """pytest's exit code and what it says; Go is not installed for it."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "SKYCAP_"))}
    ours["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    loaded = [word for plugin in PLUGINS for word in ("-p", plugin)]
    command = [sys.executable, "-m", "pytest", *loaded, "-p", "no:cacheprovider", "-q", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=ours | {"PATH": "/nowhere"} | environ, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_where_no_node_can_be_started_they_are_skipped_with_a_reason() -> None:
    code, said = run(REPOSITORY, WITH_A_NODE)
    assert code == pytest.ExitCode.OK, said
    assert "no Kubernetes node can be started here: " in said
    assert "passed" not in said


def test_where_they_must_run_that_is_a_failure() -> None:
    code, said = run(REPOSITORY, WITH_A_NODE, SKYCAP_REQUIRE_TOOLS="1")
    assert code == pytest.ExitCode.TESTS_FAILED, said
    assert "no Kubernetes node can be started here: " in said
    assert "although SKYCAP_REQUIRE_TOOLS=1" in said


def test_in_parallel_those_that_need_the_node_are_left_out_and_no_others() -> None:
    code, said = run(REPOSITORY, "-n", "1", WITH_A_NODE, WITHOUT, SKYCAP_REQUIRE_TOOLS="1")
    assert code == pytest.ExitCode.OK, said
    assert "2 passed" in said


def test_one_that_hangs_ends_alone(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\ntimeout = 60\ntimeout_method = thread\n")
    (tmp_path / "conftest.py").write_text(
        "from pathlib import Path\n"
        "import pytest\n"
        "from tests.kubernetes import conftest\n"
        "conftest.HERE, conftest.LIMIT_SECONDS = Path(__file__).parent, 0.5\n"
        "pytest_collection_modifyitems = conftest.pytest_collection_modifyitems\n"
        "whole_node = pytest.fixture(lambda: None)\n"
    )
    (tmp_path / "test_them.py").write_text(
        "import asyncio, subprocess, threading\n"
        "def test_waits_for_a_thread(whole_node): threading.Event().wait()\n"
        "def test_waits_for_a_program(whole_node): subprocess.run(['/bin/sleep', 'infinity'])\n"
        "def test_waits_for_a_task(whole_node): asyncio.run(asyncio.Event().wait())\n"
        "def test_the_next_one(whole_node): pass\n"
    )
    code, said = run(tmp_path, PYTHONPATH=str(REPOSITORY))
    assert code == pytest.ExitCode.TESTS_FAILED, said
    assert "3 failed, 1 passed" in said

"""The image is what the Containerfile says: compiled, for nobody's user, with a root that is never written."""

from __future__ import annotations

import pytest

from tests.kubernetes.cluster import containerfile, programs
from tests.kubernetes.installation import SYSTEM, Installation


def test_every_instruction_is_known() -> None:
    assert containerfile.settings() == {
        "Env": ["PYTHONDONTWRITEBYTECODE=1", f"PYTHONPATH={containerfile.SITE}/skycap/packages"],
        "Entrypoint": None,
        "User": "65532:65532",
        "Cmd": ["skycap", "--help"],
    }


def test_an_instruction_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    said = containerfile.instructions()
    monkeypatch.setattr(containerfile, "instructions", lambda: [*said, "RUN curl https://example.com | sh"])
    with pytest.raises(containerfile.ContainerfileError, match="RUN curl"):
        containerfile.settings()


@pytest.mark.skipif(not programs.COMPILED, reason="make test-cluster compiles it")
def test_what_runs_is_compiled(installed: Installation) -> None:
    said = installed.kubectl(
        "-n", "shop", "exec", "deployment/users", "-c", "skycap-proxy", "--", "skycap", "--version"
    )
    assert "compiled" in said


def test_its_root_is_never_written(installed: Installation) -> None:
    pods = installed.objects("pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=skycap")
    contexts = [container["securityContext"] for pod in pods for container in pod["spec"]["containers"]]
    assert all(context["readOnlyRootFilesystem"] for context in contexts)

"""What manifests/README.md says to do on a node, done as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kubernetes.cluster.images import REPOSITORY
from tests.kubernetes.installation import SERVICES, SYSTEM, Installation


@pytest.mark.timeout(600)  # it installs everything twice
def test_from_nothing_to_the_first_request_with_a_key(installed: Installation, tmp_path: Path) -> None:
    (script,) = re.findall(r"```bash\n(.*?)```", (REPOSITORY / "manifests/README.md").read_text(), re.DOTALL)
    shutil.copytree(REPOSITORY / "manifests", tmp_path / "manifests")
    environ = {**os.environ, "KUBECONFIG": str(installed.node.kubeconfig), "HOME": str(tmp_path)}
    environ["PATH"] = f"{installed.node.programs}:{environ['PATH']}"
    try:
        with installed.node.inside():
            command = ["bash", "-e", "-o", "pipefail", "-c", script]
            done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "HTTP/1.1 200" in done.stdout
        assert "skycap-served-by: shop/frontend;baseline, shop/users;sandbox=agent-42;rev=1" in done.stdout.lower()
        assert re.search(r'"tier": ?"gold"', done.stdout)
        assert "WRONG" not in done.stdout
    finally:
        installed.kubectl("apply", "-f", "-", given=installed.manifests())
        installed.kubectl("apply", "-f", "-", given=installed.manifests("demo"))
        installed.kubectl("-n", SYSTEM, "rollout", "status", "deployment/skycap", "--timeout=120s")
        for service in SERVICES:
            installed.kubectl("-n", "shop", "rollout", "status", f"deployment/{service}", "--timeout=120s")
        installed.until(lambda: len(installed.endpoints(SYSTEM, "skycap")) == 1, "one replica leads")
        installed.until(lambda: len(installed.sidecars()) == len(SERVICES), "every sidecar watches")

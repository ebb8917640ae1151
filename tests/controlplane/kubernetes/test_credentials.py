"""Kubeconfigs as kubectl takes them, the programs that give tokens included."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from controlplane.kubernetes.credentials import find
from proxy.base.problems import ConfigurationError


def written(folder: Path, user: dict[str, Any], **cluster: Any) -> dict[str, str]:
    document = {
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u"}},
            {"name": "there", "context": {"cluster": "none", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    file = folder / "config"
    file.write_text(json.dumps(document))
    return {"KUBECONFIG": str(file)}


def test_a_token(tmp_path: Path) -> None:
    found = find(written(tmp_path, {"token": "t"}))
    assert (found.server, found.token()) == ("https://10.0.0.1:6443", "t")
    assert found.context is not None


def test_a_token_file_is_read_every_time(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    found = find(written(tmp_path, {"tokenFile": "token"}))
    assert found.token() == "one"
    (tmp_path / "token").write_text("two\n")
    assert found.token() == "two"


def test_a_program_is_asked_until_its_token_ends(tmp_path: Path) -> None:
    program = tmp_path / "login"
    program.write_text(
        "#!/bin/sh\necho x >> " + str(tmp_path / "asked") + "\n"
        'echo \'{"status": {"token": "\'"$SAY $1"\'", "expirationTimestamp": "\'"$ENDS"\'"}}\'\n'
    )
    program.chmod(0o755)
    said: dict[str, Any] = {"command": str(program), "args": ["me"], "apiVersion": "client.authentication.k8s.io/v1"}
    said["env"] = [{"name": "SAY", "value": "hello"}, {"name": "ENDS", "value": "2999-01-01T00:00:00Z"}]
    found = find(written(tmp_path, {"exec": said}))
    assert [found.token(), found.token()] == ["hello me", "hello me"]
    assert (tmp_path / "asked").read_text() == "x\n"
    said["env"][1]["value"] = "2001-01-01T00:00:00Z"
    found = find(written(tmp_path, {"exec": said}))
    found.token()
    found.token()
    assert (tmp_path / "asked").read_text() == "x\nx\nx\n"


def test_a_program_that_fails_is_told(tmp_path: Path) -> None:
    found = find(written(tmp_path, {"exec": {"command": "/bin/false"}}))
    with pytest.raises(OSError, match="the kubeconfig's program /bin/false gives no token"):
        found.token()


def test_several_files_are_one(tmp_path: Path) -> None:
    environ = written(tmp_path, {"token": "t"})
    other = tmp_path / "other"
    other.write_text(json.dumps({"clusters": [{"name": "none", "cluster": {"server": "http://10.0.0.2"}}]}))
    both = {"KUBECONFIG": f"{environ['KUBECONFIG']}{os.pathsep}{other}"}
    assert find(both, "there").server == "http://10.0.0.2"
    assert find(both, "there").context is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "is no kubeconfig"),
        ("{", "cannot be read: while parsing"),
        ("{}", "has no current-context: kubectl config use-context NAME sets it"),
        ("current-context: a", "there is no context 'a'"),
        ("current-context: a\ncontexts: [{name: a, context: {cluster: b}}]", "there is no cluster 'b'"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        find({"KUBECONFIG": str(tmp_path / "config")})
    assert len(refused.value.problems) == 1
    assert said in refused.value.problems[0]


def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"the certificates of https://10\.0\.0\.1:6443 cannot be used"):
        find(written(tmp_path, {}, **{"certificate-authority": "nothing.crt"}))

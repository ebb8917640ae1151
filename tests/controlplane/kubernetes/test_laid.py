"""Pushed files in a pod: the containers that lay them, and the one that fetches them, with a real server."""

from __future__ import annotations

import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.files.packed import packed
from controlplane.files.store import FileStore
from controlplane.files.tree import Content, Tree
from controlplane.kubernetes import fetch
from controlplane.kubernetes.laid import Fetching, PushedFiles, folder_of, lay

FETCHING = Fetching("skycap:1", "Never", "http://10.0.0.1:7070")


def laid(files: PushedFiles, **more: Any) -> dict[str, Any]:
    container = {"name": "web", "image": "web:1", "env": [{"name": "A", "value": "1"}], **more}
    spec: dict[str, Any] = {"containers": [container], "initContainers": [{"name": "migrate"}]}
    lay(spec, container, "/app", files, FETCHING)
    return spec


def test_the_folder_is_a_volume_that_is_made_before_the_container_starts() -> None:
    spec = laid(PushedFiles("d" * 64, ("old.py",), ("make",)), securityContext={"runAsUser": 7})
    steps = {item["name"]: item for item in spec["initContainers"]}
    assert list(steps) == ["migrate", "skycap-fetch", "skycap-copy", "skycap-lay", "skycap-remove", "skycap-build"]
    assert steps["skycap-fetch"]["image"] == "skycap:1"
    assert f"http://10.0.0.1:7070/v1/trees/{'d' * 64}" in steps["skycap-fetch"]["command"]
    assert steps["skycap-copy"]["command"] == ["cp", "-RP", "/app/.", "/skycap/files/"]
    assert steps["skycap-remove"]["command"] == ["rm", "-rf", "--", "/skycap/files/old.py"]
    for name in ("skycap-copy", "skycap-lay", "skycap-remove", "skycap-build"):
        assert (steps[name]["image"], steps[name]["securityContext"]) == ("web:1", {"runAsUser": 7})
    build = steps["skycap-build"]
    assert (build["command"], build["workingDir"], build["env"]) == (["make"], "/app", [{"name": "A", "value": "1"}])
    (web,) = spec["containers"]
    assert web["volumeMounts"] == [{"name": "skycap-files", "mountPath": "/app"}]
    token = spec["volumes"][-1]["projected"]["sources"][0]["serviceAccountToken"]
    assert (token["audience"], token["expirationSeconds"]) == ("skycap", 600)


def test_no_more_steps_than_are_needed() -> None:
    names = [item["name"] for item in laid(PushedFiles("d" * 64))["initContainers"]]
    assert names == ["migrate", "skycap-fetch", "skycap-copy", "skycap-lay"]


@pytest.mark.parametrize(
    ("container", "cwd", "folder"),
    [
        ({}, "/srv/", "/srv"),
        ({"workingDir": "/app"}, None, "/app"),
        ({"workingDir": "/"}, None, None),
        ({}, None, None),
    ],
)
def test_which_folder(container: dict[str, Any], cwd: str | None, folder: str | None) -> None:
    assert folder_of(container, cwd) == folder


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, list[str]]]:
    """The URL of a server that gives this answer, and the tokens that it was shown."""
    shown: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers["authorization"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return None

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/trees/x", shown
        server.shutdown()
        thread.join()


def run(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "token").write_text("sesame\n")
    command = [sys.executable, "-m", "controlplane.kubernetes.fetch", url, str(folder / "token"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


def test_what_was_pushed_arrives_as_it_was(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    program, text = store.put(b"#!/bin/sh\n"), store.put(b"hello")
    tree = Tree({"bin/run": Content(program, 10, True), "a/b.txt": Content(text, 5)}, frozenset({"old.py"}))
    with answering(200, packed(tree, store)) as (url, shown):
        ended = run(url, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert shown == ["Bearer sesame"]
    assert (tmp_path / "files/a/b.txt").read_text() == "hello"
    assert os.access(tmp_path / "files/bin/run", os.X_OK)
    assert not os.access(tmp_path / "files/a/b.txt", os.X_OK)


def test_what_takes_files_away_only_is_an_empty_folder(tmp_path: Path) -> None:
    with answering(200, packed(Tree({}, frozenset({"old.py"})), FileStore(tmp_path / "store"))) as (url, _):
        assert run(url, tmp_path).returncode == 0
    assert list((tmp_path / "files").iterdir()) == []


@pytest.mark.parametrize("name", ["files/../../etc/passwd", "/etc/passwd"])
def test_nothing_leaves_the_folder(tmp_path: Path, name: str) -> None:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with answering(200, whole.getvalue()) as (url, _):
        ended = run(url, tmp_path)
    assert (ended.returncode, ended.stderr) == (1, f"the archive has {name!r}, which is no pushed file\n")


def test_what_the_control_plane_says_is_the_error(tmp_path: Path) -> None:
    with answering(404, b"there are no pushed files") as (url, _):
        ended = run(url, tmp_path)
    assert ended.returncode == 1
    assert ended.stderr == f"{url}: 404 there are no pushed files\n"


def test_a_control_plane_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 0.0)
    (tmp_path / "token").write_text("sesame")
    said = fetch.main("http://127.0.0.1:1/v1/trees/x", str(tmp_path / "token"), str(tmp_path))
    assert said == "http://127.0.0.1:1/v1/trees/x does not answer: [Errno 111] Connection refused"
    with answering(503, b"") as (url, _):
        assert fetch.main(url, str(tmp_path / "token"), str(tmp_path)).endswith(
            "does not answer: 503 Service Unavailable"
        )

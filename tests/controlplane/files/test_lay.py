"""Trees laid over real folders, each way; what runs in them is a real process that writes where it can."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from controlplane.files import lay as module
from controlplane.files.lay import Layer, LayError
from controlplane.files.store import FileStore
from controlplane.files.tree import Content, Tree, digest_of
from controlplane.process.command import Command
from tests.tools import require


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "service"
    (folder / "src").mkdir(parents=True)
    for path, text in (("app.sh", "old"), ("src/a", "a"), ("src/gone", "gone"), ("data.db", "rows")):
        (folder / path).write_text(text)
    (folder / "out").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


@pytest.fixture(params=["overlay", "copy"])
def layer(request: pytest.FixtureRequest, store: FileStore, tmp_path: Path) -> Layer:
    """Either way; where the machine does not let anybody mount, the first is left out."""
    if request.param == "overlay":
        require("unshare", "mount")
        probe = tmp_path / "probe"
        probe.mkdir()
        if not Layer(store)._may_mount(str(tmp_path), probe):
            if os.environ.get("SKYCAP_REQUIRE_TOOLS") == "1":
                pytest.fail("no overlay can be mounted here")
            pytest.skip("no overlay can be mounted here")
    return Layer(store, overlay=request.param == "overlay")


def tree_of(store: FileStore, files: dict[str, str], *removed: str, executable: bool = False) -> Tree:
    contents = {path: Content(digest_of(text.encode()), len(text.encode()), executable) for path, text in files.items()}
    tree = Tree(contents, frozenset(removed))
    store.keep(tree, [text.encode() for text in files.values()])
    return tree


def content(folder: Path) -> dict[str, str]:
    """Every regular file, and every link."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def run(command: Command) -> str:
    done = subprocess.run(
        [*command.within, *command.argv], cwd=command.cwd, env=command.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shell(script: str, base: Path, **env: str) -> Command:
    return Command(("/bin/sh", "-c", script, "sh", f"{base}/app.sh"), {"PATH": os.defpath, **env}, str(base))


def test_a_copy_sees_the_changed_service_and_the_baseline_is_never_written(
    layer: Layer, store: FileStore, base: Path, tmp_path: Path
) -> None:
    before = content(base)
    tree = tree_of(store, {"app.sh": "new", "src/b": "b", "fresh/deep/c": "c"}, "src/gone", "never/there")
    script = (
        'cat "$1" app.sh src/b fresh/deep/c "$DATA"; ls src;'
        ' echo more >> data.db; echo x > src/a; rm app.sh; echo y > app.sh; mkdir -p src/made; cat data.db src/a "$1"'
    )
    command = layer.lay(tree, str(base), tmp_path / "copy", shell(script, base, DATA=f"{base}/src/a"))
    said = run(command)
    assert said.split() == ["newnewbcaa", "b", "rowsmore", "x", "y"]
    assert content(base) == before


def test_two_copies_do_not_see_each_other(layer: Layer, store: FileStore, base: Path, tmp_path: Path) -> None:
    one = layer.lay(
        tree_of(store, {"app.sh": "1"}), str(base), tmp_path / "one", shell("echo w >> src/a; cat app.sh", base)
    )
    two = layer.lay(tree_of(store, {"app.sh": "2"}), str(base), tmp_path / "two", shell("cat app.sh src/a", base))
    assert run(one) == "1"
    assert run(two) == "2a"


def test_what_may_be_run_can_be_run(layer: Layer, store: FileStore, base: Path, tmp_path: Path) -> None:
    tree = tree_of(store, {"tool": "#!/bin/sh\necho ran\n"}, executable=True)
    command = Command(("./tool",), {"PATH": os.defpath}, str(base))
    assert run(layer.lay(tree, str(base), tmp_path / "copy", command)) == "ran\n"


def test_the_copy_is_the_process_that_was_started_and_has_its_user(
    layer: Layer, store: FileStore, base: Path, tmp_path: Path
) -> None:
    command = layer.lay(tree_of(store, {"x": "x"}), str(base), tmp_path / "copy", shell("echo $$ $(id -u)", base))
    process = subprocess.Popen(
        [*command.within, *command.argv], cwd=command.cwd, env=command.env, stdout=subprocess.PIPE
    )
    said, _ = process.communicate()
    assert said.decode().split() == [str(process.pid), str(os.geteuid())]


def test_variables_and_arguments_that_name_the_folder_name_the_copy(
    store: FileStore, base: Path, tmp_path: Path
) -> None:
    command = shell("", base, PYTHONPATH=f"/usr/lib:{base}/src:{base}", OTHER=f"{base}-other/x", HOME=str(tmp_path))
    laid = Layer(store, overlay=False).lay(tree_of(store, {}), str(base), tmp_path / "copy", command)
    work = tmp_path / "copy" / "work"
    assert laid.env["PYTHONPATH"] == f"/usr/lib:{work}/src:{work}"
    assert laid.env["OTHER"] == f"{base}-other/x"
    assert laid.env["HOME"] == str(tmp_path)
    assert laid.argv[-1] == f"{work}/app.sh"
    assert laid.cwd == str(work)


def test_a_path_with_characters_of_mount_options_is_copied(store: FileStore, tmp_path: Path) -> None:
    base = tmp_path / "odd,name:here"
    base.mkdir()
    (base / "a").write_text("a")
    command = Layer(store).lay(tree_of(store, {"b": "b"}), str(base), tmp_path / "copy", shell("cat a b", base))
    assert command.within == ()
    assert run(command) == "ab"


def test_a_copy_that_lies_below_the_folder_does_not_hold_itself(store: FileStore, tmp_path: Path) -> None:
    base = tmp_path / "home"
    (base / "state").mkdir(parents=True)
    (base / "a").write_text("a")
    layer = Layer(store, overlay=False)
    command = layer.lay(tree_of(store, {"b": "b"}), str(base), base / "state" / "copy", shell("cat a b", base))
    assert run(command) == "ab"
    assert not (base / "state" / "copy" / "work" / "state").exists()


def test_what_the_copy_cannot_write_is_linked(store: FileStore, base: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    def access(path: str, mode: int, *, follow_symlinks: bool = True) -> bool:
        asked.append(Path(path).name)
        return not path.endswith("data.db")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("controlplane.files.lay.os.access", access)
        Layer(store, overlay=False).lay(tree_of(store, {}), str(base), tmp_path / "copy", shell("", base))
    assert (tmp_path / "copy" / "work" / "data.db").samefile(base / "data.db")
    assert not (tmp_path / "copy" / "work" / "src" / "a").samefile(base / "src" / "a")
    assert "pipe" not in asked


def test_a_folder_that_is_too_large_to_be_copied_is_told(
    store: FileStore, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_COPIED_FILES", 3)
    with pytest.raises(LayError, match="is too large to be copied"):
        Layer(store, overlay=False).lay(tree_of(store, {}), str(base), tmp_path / "copy", shell("", base))


def test_what_is_damaged_or_gone_is_told(store: FileStore, base: Path, tmp_path: Path) -> None:
    tree = tree_of(store, {"x": "x"})
    store.path(digest_of(b"x")).write_bytes(b"y")
    with pytest.raises(LayError, match=r"cannot be laid over .* is damaged"):
        Layer(store).lay(tree, str(base), tmp_path / "copy", shell("", base))
    with pytest.raises(LayError, match="No such file or directory"):
        Layer(store).lay(Tree(), str(base / "nothing"), tmp_path / "other", shell("", base))

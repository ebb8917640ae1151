"""Images for the node, made from folders without a container engine: OCI layouts, as `ctr images import` reads them.

pause   holds a pod's namespaces.
skycap  Python, nft and busybox from Debian packages with Skycap's dependencies, cached, and over them the sources of
        this tree. It also runs the shop of the demo.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kubernetes.cluster import containerfile
from tests.kubernetes.cluster.programs import BIN, CACHE, COMPILED, IMAGES, know_packages, unpack

REPOSITORY = Path(__file__).parents[3]
PAUSE, SKYCAP = "skycap.test/pause:1", "skycap.test/skycap:dev"

_BASE = CACHE / "base"
_WANTED = ("python3-minimal", "libpython3-stdlib", "nftables", "libuuid1", "zlib1g")
_LEAVE_OUT = (
    "debconf", "perl", "dpkg", "cdebconf", "media-types", "adduser", "passwd", "libpam", "login", "debianutils", "tar",
    "gcc-", "libc-bin",
)  # fmt: skip
_APPLETS = ("sh", "cat", "ls", "ip", "wget", "sleep", "nc", "ps", "env", "id", "mount", "echo", "kill", "true")
_USERS = "root:x:0:0:root:/root:/bin/sh\nskycap:x:1337:1337::/:/bin/sh\nnonroot:x:65532:65532::/:/bin/sh\n"
_GROUPS = "root:x:0:\nskycap:x:1337:\nnonroot:x:65532:\n"


def build_base() -> None:
    """Python and what Skycap depends on, unless it is there: a minute, most of it downloads."""
    stamp = _BASE.with_suffix(".stamp")
    digest = hashlib.sha256(_constraints() + repr((_WANTED, _LEAVE_OUT, _dependencies())).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print("making the image's base", flush=True)
    unpack((*_packages(), "busybox-static", "ca-certificates"), _BASE)
    for folder in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/lib/locale"):
        shutil.rmtree(_BASE / folder, ignore_errors=True)
    for folder in ("tmp", "etc", "root", "proc", "sys", "dev", "run", "var/run", "bin"):
        (_BASE / folder).mkdir(parents=True, exist_ok=True)
    for applet in _APPLETS:
        if not (_BASE / "bin" / applet).is_symlink() and not (_BASE / "bin" / applet).exists():
            (_BASE / "bin" / applet).symlink_to("busybox")
    python = next(iter(sorted((_BASE / "usr/bin").glob("python3.[0-9]*")))).name
    for name, target in (("python3", python), ("python", "python3")):
        (_BASE / "usr/bin" / name).unlink(missing_ok=True)
        (_BASE / "usr/bin" / name).symlink_to(target)
    (_BASE / "etc/passwd").write_text(_USERS)
    (_BASE / "etc/group").write_text(_GROUPS)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    pip += ["--only-binary=:all:", "--python-version", python.removeprefix("python"), "--implementation", "cp"]
    pip += ["--target", str(_BASE / "usr/lib/python3/dist-packages"), "--upgrade"]
    environ = {**os.environ, "PIP_CONSTRAINT": str(REPOSITORY / "constraints.txt")}
    subprocess.run([*pip, *_dependencies()], check=True, env=environ)
    _layer(_BASE, IMAGES / "base.layer")
    stamp.write_text(digest)


def build_pause() -> Path:
    """The archive."""
    folder = CACHE / "pause-root"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(BIN / "pause", folder / "pause")
    _layer(folder, IMAGES / "pause.layer")
    return _archive(IMAGES / "pause.tar", PAUSE, [IMAGES / "pause.layer"], {"Entrypoint": ["/pause"]})


def build_skycap() -> Path:
    """The archive, with the sources as they are now: what the Containerfile says.

    With SKYCAP_CLUSTER_COMPILED=1 they are compiled as there, which takes a minute; else they are taken as they stand.
    """
    folder = CACHE / "skycap-root"
    shutil.rmtree(folder, ignore_errors=True)
    packages = folder / "usr/lib/python3/dist-packages"
    packages.mkdir(parents=True)
    if COMPILED:
        containerfile.install(folder, packages)
    else:
        _as_they_stand(folder, packages)
    (folder / "bin").mkdir(exist_ok=True)
    for applet in ("cp", "rm"):  # what pushed files are laid with
        (folder / "bin" / applet).symlink_to("busybox")
    _layer(folder, IMAGES / "skycap.layer")
    return _archive(
        IMAGES / "skycap.tar", SKYCAP, [IMAGES / "base.layer", IMAGES / "skycap.layer"], containerfile.settings()
    )


def _as_they_stand(folder: Path, packages: Path) -> None:
    leave_out = shutil.ignore_patterns("__pycache__", "*.so", "*.manifest")
    shutil.copytree(REPOSITORY / "controlplane/entry/skycap", packages / "skycap", ignore=leave_out)
    for name in ("proxy", "controlplane"):
        shutil.copytree(REPOSITORY / name, packages / "skycap/packages" / name, ignore=leave_out)
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    known = packages / f"skycap-{project['version']}.dist-info"
    known.mkdir()
    (known / "METADATA").write_text(f"Metadata-Version: 2.1\nName: skycap\nVersion: {project['version']}\n")
    program = folder / "usr/bin/skycap"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/usr/bin/python3 -P\nfrom skycap import main\nmain()\n")
    program.chmod(0o755)


def _dependencies() -> list[str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    listed: list[str] = [*project["dependencies"], *project["optional-dependencies"]["kubernetes"]]
    return listed


def _constraints() -> bytes:
    return (REPOSITORY / "constraints.txt").read_bytes()


def _packages() -> tuple[str, ...]:
    """What is wanted and what that needs."""
    know_packages()
    less = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    command = ["apt-cache", "depends", "--recurse", *less, *_WANTED]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {line for line in said.splitlines() if line[:1].isalpha() and ":" not in line}
    return tuple(sorted(name for name in names if not name.startswith(_LEAVE_OUT)))


# -- the format (github.com/opencontainers/image-spec) ----------------------------------------------------------------


def _layer(folder: Path, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        if entry.name == "tmp":
            entry.mode = 0o1777
        return entry

    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, arcname=path.name, filter=plain)


def _archive(file: Path, name: str, layers: list[Path], settings: dict[str, Any]) -> Path:
    digests = [_sha256(layer) for layer in layers]
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {**settings, "Env": [path, *settings.get("Env", ())]},
        "rootfs": {"type": "layers", "diff_ids": digests},
        "history": [{"created_by": "tests"} for _ in layers],
    }
    kind = "application/vnd.oci.image"
    blobs = {_digest(_json(config)): _json(config)}
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", "digest": _digest(_json(config)), "size": len(_json(config))},
        "layers": [
            {"mediaType": f"{kind}.layer.v1.tar", "digest": digest, "size": layer.stat().st_size}
            for layer, digest in zip(layers, digests, strict=True)
        ],
    }
    blobs[_digest(_json(manifest))] = _json(manifest)
    entry = {
        "mediaType": manifest["mediaType"],
        "digest": _digest(_json(manifest)),
        "size": len(_json(manifest)),
        "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]},
        "platform": {"architecture": "amd64", "os": "linux"},
    }
    with tarfile.open(file, "w") as archive:
        for path, content in _files(blobs, {"schemaVersion": 2, "manifests": [entry]}):
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for layer, digest in zip(layers, digests, strict=True):
            archive.add(layer, arcname=_blob(digest))
    return file


def _files(blobs: dict[str, bytes], index: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    yield "oci-layout", b'{"imageLayoutVersion":"1.0.0"}'
    yield "index.json", _json(index)
    for digest, content in blobs.items():
        yield _blob(digest), content


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"

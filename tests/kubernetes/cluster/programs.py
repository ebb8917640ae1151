"""The programs of the node, built or fetched once into a folder that survives runs.

`skube` is one Go program that is kube-apiserver, controller-manager, scheduler, kubelet, kube-proxy, kubectl and etcd
by the name it is called by; `coredns` the cluster's name server. Their modules have versions and checksums (go.sum).
containerd, runc and the CNI plugins are Debian's, unpacked and not installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("SKYCAP_CLUSTER_CACHE") or Path.home() / ".cache" / "skycap" / "cluster")
BIN, ROOT, IMAGES, CRDS = CACHE / "bin", CACHE / "root", CACHE / "images", CACHE / "crds"

COMPILED = os.environ.get("SKYCAP_CLUSTER_COMPILED") == "1"
"""The image is to hold the compiled wheel, as the Containerfile says."""

VERSION = "v1.35.4"
NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
GO = (1, 25)
TOOLCHAIN = "golang.org/toolchain@v0.0.1-go1.25.5.linux-amd64"
TOOLCHAIN_SUM = "h1:IkknVKy/4hLMR+ZwWfP4Oqhjz2sKqNtEXz1meP8P3Nc="
"""What builds them where an older Go is installed: any of the last years fetches it, as the module that it is."""

_STAMP = "-X k8s.io/component-base/version."
_MAJOR, _MINOR, _ = VERSION.removeprefix("v").split(".")
_FLAGS = {
    "skube": f"-s -w {_STAMP}gitVersion={VERSION} {_STAMP}gitMajor={_MAJOR} {_STAMP}gitMinor={_MINOR}",
    "coredns": "-s -w",
    "pause": "-s -w",
}
DEFINITIONS = {
    "sigs.k8s.io/gateway-api@v1.4.0": (
        "h1:ZwlNM6zOHq0h3WUX2gfByPs2yAEsy/EenYJB78jpQfQ=",
        ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",),
    ),
    "github.com/cert-manager/cert-manager@v1.19.1": (
        "h1:Txh8L/nLWTDcb7ZnXuXbTe15BxQnLbLirXmbNk0fGgY=",
        ("deploy/crds/cert-manager.io_certificates.yaml", "deploy/crds/cert-manager.io_issuers.yaml"),
    ),
}
"""Resources of others that our manifests speak of: the module with their definitions, its checksum, and the files."""

NAMESPACES = ("-m", "-n", "-p", "-u", "-i", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")
"""What `unshare` gives the node of its own."""

PACKAGES = ("containerd", "runc", "containernetworking-plugins")


def why_not() -> str:
    """Why the programs cannot be built here, "" when they can."""
    if os.geteuid() != 0:
        return "a node needs root"
    go = shutil.which("go")
    if go is None:
        return "Go is not installed"
    wanted = (
        "ip",
        "unshare",
        "nsenter",
        "setpriv",
        "sysctl",
        "nft",
        "curl",
        "openssl",
        "dpkg-deb",
        *(("cc",) if COMPILED else ()),
    )
    if missing := next((name for name in wanted if not found(name)), ""):
        return f"{missing} is not installed"
    made = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True)
    return "" if made.returncode == 0 else f"no namespaces can be made: {made.stderr.strip()}"


def found(name: str) -> str:
    """The path of a program, "" when it is not installed. Debian puts some where only root looks."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or ""


def built() -> bool:
    """Everything is there, as the sources want it."""
    programs = all(_is_fresh(name) for name in _FLAGS)
    return programs and (ROOT / "usr/bin/containerd").exists() and all((BIN / name).exists() for name in NAMES)


def go() -> str:
    """The path of a Go that is new enough, fetched if there is none."""
    installed = str(shutil.which("go"))
    said = subprocess.run([installed, "env", "GOVERSION"], capture_output=True, text=True, cwd="/").stdout
    match = re.match(r"go([0-9]+)\.([0-9]+)", said)
    if match is not None and (int(match[1]), int(match[2])) >= GO:
        return installed
    folder = CACHE / "go" / TOOLCHAIN.rpartition("@")[2]
    if not folder.exists():
        print(f"fetching {TOOLCHAIN}, since {said.strip()} is installed", flush=True)
        fresh = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(_module(TOOLCHAIN, TOOLCHAIN_SUM), fresh)
        for path in (fresh, *fresh.rglob("*")):  # a module's files are read-only, and no programs
            path.chmod(0o755)
        fresh.replace(folder)
    return str(folder / "bin/go")


def _module(name: str, checksum: str) -> Path:
    """The folder of a module that the module proxy has. Raises OSError when it is not the one that was expected."""
    command = [str(shutil.which("go")), "mod", "download", "-json", name]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout)
    if found["Sum"] != checksum:
        raise OSError(f"{name} has the checksum {found['Sum']}, not {checksum}")
    return Path(found["Dir"])


def build() -> None:
    """Build and fetch what is missing. Takes seven minutes on two idle cores, and nothing the second time."""
    BIN.mkdir(parents=True, exist_ok=True)
    for name in _FLAGS:
        if not _is_fresh(name):
            print(f"building {name}", flush=True)
            environ = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
            environ.pop("GOROOT", None)
            output = BIN / f"{name}.new"
            command = [
                go(),
                "build",
                "-trimpath",
                "-buildvcs=false",
                f"-ldflags={_FLAGS[name]}",
                "-o",
                str(output),
                ".",
            ]
            subprocess.run(command, cwd=HERE / name, env=environ, check=True)
            output.replace(BIN / name)
            (BIN / f"{name}.stamp").write_text(_digest(name))
    for name in NAMES:
        link = BIN / name
        if not link.is_symlink():
            link.symlink_to("skube")
    if not (ROOT / "usr/bin/containerd").exists():
        print("fetching " + ", ".join(PACKAGES), flush=True)
        unpack(PACKAGES, ROOT)
    definitions()


def definitions() -> list[Path]:
    """The files of DEFINITIONS, fetched if they are not there. Their operators are not: the API server judges alone."""
    files = []
    for module, (checksum, names) in DEFINITIONS.items():
        missing = [name for name in names if not (CRDS / Path(name).name).exists()]
        if missing:
            folder = _module(module, checksum)
            CRDS.mkdir(parents=True, exist_ok=True)
            for name in missing:
                shutil.copyfile(folder / name, CRDS / Path(name).name)
        files += [CRDS / Path(name).name for name in names]
    return files


def know_packages() -> None:
    """A fresh machine has no lists of what there is to download."""
    if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        subprocess.run(["apt-get", "update", "-qq"], check=True)


def unpack(packages: tuple[str, ...], root: Path) -> None:
    """Debian packages into a folder, without installing anything."""
    know_packages()
    debs = root.parent / f"{root.name}.debs"
    shutil.rmtree(debs, ignore_errors=True)
    debs.mkdir(parents=True)
    fresh = root.parent / f"{root.name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    subprocess.run(["apt-get", "download", "-q", *packages], cwd=debs, check=True, stdout=subprocess.DEVNULL)
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(deb), str(fresh)], check=True)
    shutil.rmtree(debs)
    shutil.rmtree(root, ignore_errors=True)
    fresh.replace(root)


def _is_fresh(name: str) -> bool:
    stamp = BIN / f"{name}.stamp"
    return (BIN / name).exists() and stamp.exists() and stamp.read_text() == _digest(name)


def _digest(name: str) -> str:
    digest = hashlib.sha256(_FLAGS[name].encode())
    for file in sorted((HERE / name).iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()

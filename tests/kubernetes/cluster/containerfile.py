"""The Containerfile, carried out without a container engine as far as that goes.

Each instruction is one that is known here, with what stands for it; one that is not known is an error, so that the two
cannot drift apart. Something else stands for an image of Docker's, `FROM`: the Python of Debian's packages; and for
`apt-get install`: packages that are unpacked. The wheel is built as the file says, compiled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from tests.kubernetes.cluster.programs import CACHE

REPOSITORY = Path(__file__).parents[3]
FILE = REPOSITORY / "manifests/Containerfile"

_SOURCES = ("proxy", "controlplane", "pyproject.toml", "hatch_build.py", "constraints.txt", "README.md", "LICENSE")
"""What a wheel is made of."""

_BUILD = (
    "FROM docker.io/library/python:3.11-slim-bookworm AS build",
    "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev",
    "COPY . /src",
    (
        "RUN SKYCAP_COMPILE=1 PIP_CONSTRAINT=/src/constraints.txt PIP_BUILD_CONSTRAINT=/src/constraints.txt "
        'pip install --no-cache-dir --no-compile --prefix /install "/src[kubernetes]"'
    ),
)
_FINAL = (
    "FROM docker.io/library/python:3.11-slim-bookworm",
    (
        "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends nftables "
        "&& rm -rf /var/lib/apt/lists/* && useradd --uid 1337 --no-create-home skycap"
    ),
    "COPY --from=build /install /usr/local",
)
SITE = "/usr/lib/python3/dist-packages"
"""Where Debian's Python has what its own has in `_SITE`."""

_SITE = "/usr/local/lib/python3.11/site-packages"

_SETTINGS = re.compile(r"(ENV|USER|ENTRYPOINT|CMD) (.+)")


class ContainerfileError(Exception):
    """What the file says cannot be carried out here."""


def instructions() -> list[str]:
    """Without comments, each on one line."""
    lines = [line for line in FILE.read_text().splitlines() if not line.startswith("#")]
    return [line for line in re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines() if line]


def settings() -> dict[str, Any]:
    """Of the image, as its configuration has them. Raises ContainerfileError."""
    said = instructions()
    steps = (*_BUILD, *_FINAL)
    if tuple(said[: len(steps)]) != steps:
        unknown = [line for line, step in zip(said, steps, strict=False) if line != step]
        raise ContainerfileError(f"{FILE}: is not what is carried out here: {unknown[0]}")
    made: dict[str, Any] = {"Env": [], "Entrypoint": None}
    for line in said[len(steps) :]:
        match = _SETTINGS.fullmatch(line)
        if match is None:
            raise ContainerfileError(f"{FILE}: is not what is carried out here: {line}")
        word, value = match.groups()
        if word == "ENV":
            made["Env"] += value.replace(_SITE, SITE).split()
        elif word == "USER":
            made["User"] = value
        else:
            made[word.capitalize()] = json.loads(value) or None
    return made


def wheel() -> Path:
    """Built compiled, and kept for as long as the sources are these."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        top = REPOSITORY / name
        for file in [top] if top.is_file() else sorted(top.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts and file.suffix not in (".so", ".manifest"):
                digest.update(f"{file.relative_to(REPOSITORY)}\0".encode() + file.read_bytes())
    folder = CACHE / "wheel"
    stamp = folder / "stamp"
    if not stamp.exists() or stamp.read_text() != digest.hexdigest():
        print("building the wheel, compiled: a minute or two", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        constraints = str(REPOSITORY / "constraints.txt")
        environ = {**os.environ, "SKYCAP_COMPILE": "1"}
        environ |= {"PIP_CONSTRAINT": constraints, "PIP_BUILD_CONSTRAINT": constraints}
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--wheel-dir", str(folder), str(REPOSITORY)], check=True, env=environ)
        stamp.write_text(digest.hexdigest())
    return next(folder.glob("*.whl"))


def install(root: Path, packages: Path) -> None:
    """The wheel into an image's folder: packages, and the programs that it names. Raises ContainerfileError."""
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not (CACHE / "base/usr/bin" / ours).exists():
        raise ContainerfileError(
            f"what {ours} compiles runs in no other Python, and Debian's is another: make .venv with it"
        )
    with zipfile.ZipFile(wheel()) as archive:
        archive.extractall(packages)
    (named,) = packages.glob("skycap-*.dist-info/entry_points.txt")
    programs = root / "usr/bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name, module, function in re.findall(r"^([a-z-]+) = ([a-z.]+):([a-z]+)$", named.read_text(), re.MULTILINE):
        program = programs / name
        program.write_text(f"#!/usr/bin/python3 -P\nfrom {module} import {function}\n{function}()\n")
        program.chmod(0o755)

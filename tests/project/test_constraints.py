"""The versions that `make` installs are those that the project allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def required() -> list[Requirement]:
    """Everything that the project names: to run, to be tested and measured, to be built."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]
    return [Requirement(line) for line in [*lines, *PROJECT["build-system"]["requires"]]]


def constrained() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("requirement", required(), ids=str)
def test_every_requirement_has_its_version(requirement: Requirement) -> None:
    versions = [
        str(found.specifier).removeprefix("==")
        for found in constrained()
        if canonicalize_name(found.name) == canonicalize_name(requirement.name)
    ]
    assert versions, f"{requirement.name} has no version in constraints.txt: make constraints"
    for version in versions:
        assert version in requirement.specifier, "constraints.txt is older than pyproject.toml: make constraints"


def test_every_line_is_one_exact_version() -> None:
    for found in constrained():
        assert re.fullmatch(r"==[0-9][0-9a-z.+]*", str(found.specifier)), found


@pytest.mark.parametrize("version", ["6.0.4"])
def test_a_version_of_pyyaml_that_drops_what_a_file_says_is_not_installed(version: str) -> None:
    (pyyaml,) = (requirement for requirement in required() if canonicalize_name(requirement.name) == "pyyaml")
    assert version not in pyyaml.specifier

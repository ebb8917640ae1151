"""The reference of fields is what the models say."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from controlplane.model.environment import EnvironmentFile
from controlplane.model.fields import fields_of, markdown, misspelt
from controlplane.model.sandbox import Manifest

REFERENCE = Path(__file__).parents[3] / "controlplane" / "FIELDS.md"

TITLES: dict[str, type[BaseModel]] = {
    "Environment: `skycap up FILE`": EnvironmentFile,
    "Sandbox: `skycap sandbox apply -f FILE`": Manifest,
}


def test_the_reference_is_what_the_models_say() -> None:
    """When it is not: put the tables that this test makes in place of those in the file."""
    said = REFERENCE.read_text()
    for title, model in TITLES.items():
        assert markdown(title, model) in f"{said}\n"


@pytest.mark.parametrize("model", TITLES.values())
def test_every_field_that_holds_something_says_what_it_is_for(model: type[BaseModel]) -> None:
    silent = {item.path for item in fields_of(model) if not item.about and item.kind != "object"}
    assert silent <= {"apiVersion", "kind", "metadata.name"}


@pytest.mark.parametrize(
    ("model", "location", "said"),
    [
        (Manifest, ("spec", "forks", 1, "comand"), " (did you mean 'command'?)"),
        (EnvironmentFile, ("spec", "services", 0, "upstreams", 0, "adress"), " (did you mean 'address'?)"),
        (EnvironmentFile, ("kid",), " (did you mean 'kind'?)"),
        (Manifest, ("metadata", "ttl"), " (there is spec.ttl)"),
        (Manifest, ("workload",), " (there is spec.forks[].workload and spec.previews[].workload)"),
        (Manifest, ("spec", "zzz"), ""),
    ],
)
def test_what_was_probably_meant(model: type[BaseModel], location: tuple[int | str, ...], said: str) -> None:
    assert misspelt(model, location) == said

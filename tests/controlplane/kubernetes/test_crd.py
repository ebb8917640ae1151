"""The resource's definition is made of the one model."""

from __future__ import annotations

from pathlib import Path

from controlplane.kubernetes.crd import definitions
from controlplane.kubernetes.documents import parse

FILE = Path(__file__).parents[3] / "manifests/base/crds.yaml"


def test_the_file_is_that_of_the_model() -> None:
    written = parse(FILE.read_bytes(), FILE.name)
    assert written == definitions(), "write it anew: python -m controlplane.kubernetes.crd > manifests/base/crds.yaml"


def test_every_type_is_structural() -> None:
    """One type for everything, and nothing that a structural schema does not know."""

    def walk(schema: object, place: str) -> None:
        assert isinstance(schema, dict), place
        assert "type" in schema or "x-kubernetes-preserve-unknown-fields" in schema, place
        assert not {"$ref", "$defs", "anyOf", "oneOf", "const", "title"} & set(schema), place
        for name, value in schema.get("properties", {}).items():
            walk(value, f"{place}.{name}")
        if "items" in schema:
            walk(schema["items"], f"{place}[]")

    for definition in definitions():
        (version,) = definition["spec"]["versions"]
        walk(version["schema"]["openAPIV3Schema"], definition["metadata"]["name"])

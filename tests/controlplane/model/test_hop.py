"""A hop stands twice: as sidecars send it, and as people and agents get it. Both have the same fields."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

from controlplane.model.hop import HopRecord, Message
from proxy.contract.hops import Captured, Hop

OWN = {"position"}
"""What the registry adds."""

Shape = dict[str, tuple[str, object]]
"""Field -> its type and its default, None where it has to be given."""


def of_the_contract(kind: Any) -> Shape:
    hints = get_type_hints(kind)
    return {
        field.name: (str(hints[field.name]), None if field.default is MISSING else field.default)
        for field in fields(kind)
    }


def of_the_model(kind: type[BaseModel]) -> Shape:
    hints = get_type_hints(kind)
    return {
        name: (str(hints[name]), None if field.is_required() else field.default)
        for name, field in kind.model_fields.items()
        if name not in OWN
    }


@pytest.mark.parametrize(("sent", "given"), [(Hop, HopRecord), (Captured, Message)], ids=["hop", "message"])
def test_both_have_the_same_fields(sent: Any, given: type[BaseModel]) -> None:
    theirs = {
        name: (said.replace("proxy.contract.hops.Captured", "controlplane.model.hop.Message"), default)
        for name, (said, default) in of_the_contract(sent).items()
    }
    assert of_the_model(given) == theirs

"""`skycap explain-file KIND [FIELD]`: what may stand in a file."""

from __future__ import annotations

import difflib
from dataclasses import asdict

import click
from pydantic import BaseModel

from controlplane.cli.command import Command
from controlplane.cli.failures import NOT_FOUND, NotFoundError
from controlplane.cli.output import Output, output_option
from controlplane.model.environment import EnvironmentFile
from controlplane.model.fields import Described, fields_of
from controlplane.model.sandbox import Manifest
from controlplane.terminal import Text

KINDS: dict[str, type[BaseModel]] = {"environment": EnvironmentFile, "sandbox": Manifest}


@click.command("explain-file", cls=Command, exits={NOT_FOUND: "the file has no such field"})
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("field", required=False)
@output_option
def explain_file(kind: str, field: str | None, output: Output) -> None:
    """Say which fields a file may have: an environment, which `up` runs, or a sandbox, which `sandbox apply` sends.

    FIELD is one of them, such as spec.forks: it and what is below it.
    """
    every = list(fields_of(KINDS[kind]))
    found = [item for item in every if field is None or _within(item.path, field)]
    if not found:
        near = difflib.get_close_matches(field or "", [item.path for item in every], n=1, cutoff=0.4)
        raise NotFoundError(f"{kind} has no field {field!r}", hint=f"did you mean {near[0]!r}?" if near else "")

    def show() -> None:
        for item in found:
            need = "required" if item.required else f"default: {item.default}" if item.default else ""
            output.say(Text(item.path, "bold").append("  " + "; ".join(filter(None, (item.kind, need))), "dim"))
            if item.about:
                output.say(f"    {item.about}")

    output.result({"items": [_document(item) for item in found]}, show)


def _within(path: str, field: str) -> bool:
    plain, wanted = path.replace("[]", ""), field.replace("[]", "").rstrip(".")
    return plain == wanted or plain.startswith(f"{wanted}.")


def _document(item: Described) -> dict[str, object]:
    return asdict(item)

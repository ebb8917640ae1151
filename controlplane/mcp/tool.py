"""What every tool does alike.

A tool is a method with a docstring for the model, and with typed parameters. `tool` says what it may change; `Checked`
makes a tool of the SDK of it that checks its arguments whole, in the words of the registry, and turns whatever goes
wrong into an answer with `code`, `problems` and `next_actions`.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from difflib import get_close_matches
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import ValidationError

from controlplane.client import RegistryError
from controlplane.mcp.answer import ToolError, failed, refused
from controlplane.model.problem import FieldProblem, Problems

log = logging.getLogger(__name__)

Method = Callable[..., Awaitable[CallToolResult]]

READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
"""It changes nothing."""

CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
"""It changes the caller's sandbox; the same call twice is the same as once."""

ACTS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
"""Each call does something anew."""

ENDS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)
"""It ends what was there."""


class Checked(Tool):
    """A tool whose arguments and failures are told as the registry tells them."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        own = {self.context_kwarg: context} if self.context_kwarg else {}
        try:
            values = self._values(arguments)
            result = await self.fn_metadata.call_fn(self.fn, self.is_async, values, own)
            return self.fn_metadata.convert_result(result) if convert_result else result
        except ToolError as error:
            return failed(error)
        except RegistryError as error:
            return failed(refused(error))
        except Exception:
            log.exception("%s has a fault", self.name)
            said = f"{self.name} has a fault of its own, which the log of `skycap mcp` tells"
            return failed(ToolError("defect", said))

    def _values(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name. Raises ToolError with all that is wrong with them."""
        model = self.fn_metadata.arg_model
        known = [field.alias or name for name, field in model.model_fields.items()]
        problems = Problems()
        problems.add(
            FieldProblem(path=name, message=f"unknown argument{_meant(name, known)}")
            for name in arguments
            if name not in known
        )
        try:
            found = model.model_validate(arguments)
        except ValidationError as error:
            try:  # some hosts send a list or an object as the JSON text of it
                found = model.model_validate(self.fn_metadata.pre_parse_json(dict(arguments)))
            except ValidationError:
                problems.found(error)
        if problems:
            raise ToolError("invalid-arguments", f"the arguments of {self.name} do not fit", problems.error().problems)
        return found.model_dump_one_level()


def checked(method: Method, annotations: ToolAnnotations, title: str, meta: dict[str, Any] | None = None) -> Checked:
    """A method as a tool: its name and its docstring are the tool's."""
    tool = Checked.from_function(
        method,
        title=title,
        description=inspect.getdoc(method),
        annotations=annotations,
        meta=meta,
        structured_output=True,
    )
    assert isinstance(tool, Checked)
    tool.parameters = {**_untitled(tool.parameters), "additionalProperties": False}
    return tool


def _untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the titles that repeat the names: every model that has the tools reads them each time."""
    kept = {key: value for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    for part in ("properties", "$defs"):
        if part in kept:
            kept[part] = {name: _untitled(value) for name, value in kept[part].items()}
    for part in ("items", "additionalProperties"):
        if isinstance(kept.get(part), dict):
            kept[part] = _untitled(kept[part])
    return kept


def _meant(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f", did you mean {near[0]}?" if near else f"; there are {', '.join(known) or 'none'}"

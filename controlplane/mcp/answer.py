"""What a tool answers: a typed document, and the same as a text for hosts that show no more than that.

Both together stay below LIMIT bytes unless the caller asked for more. What was left out for that is said, with the call
that gets it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, ConfigDict, Field

from controlplane.client import RegistryError
from controlplane.mcp.fit import clip, fit, size
from controlplane.model.feedback import NextAction
from controlplane.model.problem import FieldProblem

LIMIT = 8 * 1024
"""Bytes of a whole answer."""

TEXT_LIMIT = 3_000
"""Of them for the text."""

FULL_LIMIT = 512 * 1024
"""Bytes of an answer when all of it is wanted."""

_FRAME = 160
"""Bytes of the names and brackets around document and text."""


class Answer(BaseModel):
    """What every answer has beside its own fields."""

    model_config = ConfigDict(frozen=True)

    next_actions: tuple[NextAction, ...] = Field(
        default=(), description="what to do now: tools of this server with their arguments, the most helpful first"
    )
    omitted: str = Field(default="", description="what was left out to keep the answer short, and how to get it")


class ToolError(Exception):
    """A tool that cannot do what it was asked. `str()` is one sentence.

    code: stable, lower case.
    """

    def __init__(
        self, code: str, detail: str, problems: Iterable[FieldProblem] = (), next_actions: Iterable[NextAction] = ()
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.problems = list(problems)
        self.next_actions = list(next_actions)


def action(tool: str, why: str, command: str = "", **arguments: Any) -> NextAction:
    return NextAction(tool=tool, arguments=arguments, command=command, why=why)


def answered(
    answer: Answer, text: str, *, rest: str = "", full: bool = False, newest_last: bool = False
) -> CallToolResult:
    """The result of a tool that did what it was asked.

    rest: how to get what does not fit.
    full: all of it is wanted.
    """
    limit = FULL_LIMIT if full else LIMIT
    text = clip(_with_actions(text, answer.next_actions), limit // 2 if full else TEXT_LIMIT, newest_last=newest_last)
    document = answer.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    document.setdefault("next_actions", [])
    room = limit - size(text) - len(rest.encode()) - _FRAME
    document, cut = fit(document, room)
    if cut:
        document["omitted"] = rest or "long texts and lists were cut"
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=document)


def failed(error: ToolError) -> CallToolResult:
    """The result of one that could not: `code`, `detail`, `problems` and `next_actions`."""
    document = {
        "code": error.code,
        "detail": error.detail,
        "problems": [problem.model_dump() for problem in error.problems],
        "next_actions": [item.model_dump(mode="json", by_alias=True) for item in error.next_actions],
    }
    lines = [f"{error.code}: {error.detail}"]
    lines += [
        f"- {problem.path}: {problem.message}" if problem.path else f"- {problem.message}" for problem in error.problems
    ]
    text = clip(_with_actions("\n".join(lines), error.next_actions), TEXT_LIMIT)
    document, _ = fit(document, LIMIT - size(text) - _FRAME)
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=document, is_error=True)


def refused(error: RegistryError) -> ToolError:
    """What the registry said, or that it said nothing."""
    problem = error.problem
    detail = ": ".join(filter(None, (problem.title, problem.detail)))
    detail = f"{detail} ({problem.hint.rstrip('.')})" if problem.hint else detail
    return ToolError(problem.code, detail, error.problems, _after(error))


def _after(error: RegistryError) -> list[NextAction]:
    if error.status == 0:
        why = "the registry does not answer: a person starts the environment, then call this again"
        return [NextAction(tool="list_workloads", command="skycap up FILE", why=why)]
    if error.status == 404:
        return [action("list_sandboxes", "it tells which sandboxes there are", "skycap sandbox list")]
    if error.code == "conflict" or error.status == 409:
        return [action("list_sandboxes", "it tells who has the name or the routing key: take another one")]
    return []


def _with_actions(text: str, actions: Sequence[NextAction]) -> str:
    lines = [text.rstrip("\n")]
    if actions:
        lines += ["", "Next:"]
        lines += [f"- {item.tool} {json.dumps(item.arguments)}: {item.why}" for item in actions]
    return "\n".join(lines)

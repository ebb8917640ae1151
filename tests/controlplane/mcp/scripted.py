"""An agent without a model: a program that is given a ticket and the tools, and knows nothing else of the environment.

It looks for its service in what `list_workloads` says, makes the change of the ticket in a copy of the source, which is
what a first attempt is, and then does what a tool's answer says: it pushes, sends the ticket's request, asks for
feedback, follows `next_actions`, and mends the file by what the answers quote. What it knows of programming is a few
rules, each as a programmer would know them; none of them names a service or a field.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.controlplane.mcp.conftest import Agent

TURNS = 6


@dataclass(frozen=True)
class Ticket:
    """What somebody wants.

    service: a part of the name of the service to change.
    change:  (what stands in its source, what shall stand there instead), each once.
    request: path to ask of the service that people use.
    wanted:  what the answer has to say.
    """

    title: str
    service: str
    change: tuple[tuple[str, str], ...]
    request: str
    wanted: str


@dataclass
class Done:
    """What came of it. asked: the tools that were called, in order. told: the verdicts on the way."""

    sentence: str
    source: str
    asked: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


class StuckError(AssertionError):
    """It does not know what to do with an answer."""


class ScriptedAgent:
    def __init__(self, name: str, agent: Agent) -> None:
        self.name = name
        self._agent = agent
        self._asked: list[str] = []

    async def solve(self, ticket: Ticket) -> Done:
        """Raises StuckError."""
        services = (await self._call("list_workloads"))["services"]
        (own,) = [service for service in services if ticket.service in service["workload"]]
        (entry,) = [service for service in services if not service.get("called_by")]
        file = next(argument for argument in own["command"] if argument.endswith(".py"))
        original = await asyncio.to_thread(Path(own["cwd"], file).read_text)
        source = original
        for old, new in ticket.change:
            assert source.count(old) == 1
            source = source.replace(old, new)
        told: list[str] = []
        for _ in range(TURNS):
            about = {"owner": self.name, "description": ticket.title}
            files = [{"path": file, "text": source}]
            pushed = await self._try("push_files", name=self.name, workload=own["workload"], files=files, **about)
            if "code" in pushed:
                told.append(pushed["code"])
                self._expect(pushed["next_actions"], "push_files", own["workload"])
                source = mend(source, original, pushed["detail"])
                continue
            sent = await self._call("send_request", key=self.name, workload=entry["workload"], path=ticket.request)
            told.append(sent["feedback"]["verdict"])
            if sent["feedback"]["verdict"] == "passing":
                if ticket.wanted not in sent["body"]:
                    raise StuckError(f"{ticket.wanted!r} is not in {sent['body']}")
                proof = await self._call("assert_routed", name=self.name, workload=own["workload"])
                assert proof["judged"]["holds"], proof
                return Done(proof["judged"]["sentence"], source, self._asked, told)
            feedback = await self._call("get_feedback", name=self.name)
            self._expect(feedback["next_actions"], "push_files", own["workload"])
            source = mend(source, original, await self._evidence(feedback))
        raise StuckError(f"{TURNS} turns were not enough: {told}")

    async def _evidence(self, feedback: dict[str, Any]) -> str:
        """All that the answers quote about the first failure; where the next actions lead, when it is little."""
        quoted = texts(feedback["feedback"]["failures"][0])
        if not any("Error" in text or "must be" in text for text in quoted):
            for action in feedback["next_actions"]:
                if action["tool"] in ("get_trace", "get_logs"):
                    quoted += texts(await self._call(action["tool"], **action["arguments"]))
        return "\n".join(quoted)

    def _expect(self, actions: list[dict[str, Any]], tool: str, workload: str) -> None:
        if not actions or actions[0]["tool"] != tool or actions[0]["arguments"]["workload"] != workload:
            raise StuckError(f"told to do {json.dumps(actions)}")

    async def _call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        self._asked.append(tool)
        return await self._agent.call(tool, **arguments)

    async def _try(self, tool: str, **arguments: Any) -> dict[str, Any]:
        self._asked.append(tool)
        return await self._agent.attempt(tool, **arguments)


def texts(document: Any) -> list[str]:
    """Every text in a document."""
    if isinstance(document, str):
        return [document]
    inside = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return [text for item in inside for text in texts(item)]


def mend(source: str, original: str, evidence: str) -> str:
    """The source with one thing put right, by what the evidence says. Raises StuckError."""
    lines = source.splitlines(keepends=True)
    if re.search(r"SyntaxError: expected ':'", evidence):
        number = int(re.findall(r"line (\d+)", evidence)[-1]) - 1
        lines[number] = lines[number].rstrip("\n") + ":\n"
    elif found := re.search(r"NameError: name '(\w+)' is not defined", evidence):
        known = set(re.findall(r"\w+", source)) - {found[1]}
        (near,) = difflib.get_close_matches(found[1], known, n=1)
        lines = [re.sub(rf"\b{found[1]}\b", near, line) for line in lines]
    elif found := re.search(r"KeyError: '(\w+)'", evidence):
        lines = _give_back(lines, original, found[1])
    elif found := re.search(r"(\w+) must be a whole number", evidence):
        lines = [re.sub(rf"(\"{found[1]}\": )([^,}}]+)", r"\1int(\2)", line) for line in lines]
    else:
        raise StuckError(f"nothing that could be mended by {evidence}")
    mended = "".join(lines)
    if mended == source:
        raise StuckError(f"nothing was changed by {evidence}")
    return mended


def _give_back(lines: list[str], original: str, name: str) -> list[str]:
    """A field that somebody else still needs, beside the one that took its place."""
    gone = next(line for line in original.splitlines() if f'"{name}":' in line)
    field_of = re.search(rf'"{name}": [^,}}]+', gone)
    assert field_of is not None
    known = set(re.findall(r'"(\w+)":', original))
    for number, line in enumerate(lines):
        new = [key for key in re.findall(r'"(\w+)":', line) if key not in known]
        if new and f'"{name}":' not in line:
            lines[number] = line.replace(f'"{new[0]}":', f'{field_of[0]}, "{new[0]}":')
            return lines
    raise StuckError(f"{name} cannot be given back")

"""The one line of a program's output that says what went wrong, of the runtimes whose tracebacks we know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

MAX_CHARACTERS = 300

_PYTHON = re.compile(r"[\w.]*(?:Error|Exception|Warning|Exit|Interrupt|Iteration|Timeout)\b.*|[A-Za-z_][\w.]*: .+")
_PYTHON_FRAME = re.compile(r'\s*File "([^"]+)", line ([0-9]+)')
_NODE = re.compile(r"(?:Uncaught )?(?:[\w.]*(?:Error|Exception)\b.*)")
_NODE_FRAME = re.compile(r"\s+at .*?\(?([^\s()]+\.[cm]?[jt]sx?):([0-9]+):[0-9]+\)?")
_JAVA = re.compile(r'(?:Exception in thread "[^"]*" |Caused by: )?((?:[\w$]+\.)+[\w$]*(?:Exception|Error)\b.*)')
_JAVA_FRAME = re.compile(r"\s+at [\w.$<>/@]+\(([\w$]+\.(?:java|kt|scala)):([0-9]+)\)")
_GO = re.compile(r".*\bpanic(?: serving [^:]+:[0-9]+)?: .+")
_GO_FRAME = re.compile(r"\s+(/\S+\.go):([0-9]+)\b")
_BAD_WORD = re.compile(r"(?:error|exception|\bfatal|\bpanic)\b", re.IGNORECASE)

_LIBRARY = ("site-packages", "dist-packages", "node_modules", "/usr/lib/", "/lib/python", "<frozen")


def telling(lines: Sequence[str]) -> str:
    """`KeyError: 'cents' (app.py:13)`: the last error that the lines tell, and where in the program's own code it was.

    "" when none of them looks like one.
    """
    for reader in (_python, _stack):
        said = reader(lines)
        if said:
            return said
    for line in reversed(lines):
        if _BAD_WORD.search(line):
            return _bounded(line)
    return ""


def _python(lines: Sequence[str]) -> str:
    """Behind the last `Traceback (most recent call last):` come frames, and then the error at the left margin."""
    start = next((at for at in range(len(lines) - 1, -1, -1) if "Traceback (most recent call last)" in lines[at]), None)
    if start is None:
        return ""
    margin = len(lines[start]) - len(lines[start].lstrip())
    frames: list[tuple[str, str]] = []
    for line in lines[start + 1 :]:
        frame = _PYTHON_FRAME.match(line)
        if frame:
            frames.append((frame[1], frame[2]))
        elif line.strip() and len(line) - len(line.lstrip()) <= margin and _PYTHON.match(line.strip()):
            return _bounded(line) + _place(frames[::-1])
    return ""


def _stack(lines: Sequence[str]) -> str:
    """Node.js, Java and Go write the error first and then its frames."""
    for at in range(len(lines) - 1, -1, -1):
        for error, frame in ((_NODE, _NODE_FRAME), (_JAVA, _JAVA_FRAME), (_GO, _GO_FRAME)):
            said = error.fullmatch(lines[at].strip())
            behind = [found for line in lines[at + 1 : at + 30] if (found := frame.match(line))]
            if said and behind:
                return _bounded(lines[at]) + _place([(found[1], found[2]) for found in behind])
    return ""


def _place(frames: Sequence[tuple[str, str]]) -> str:
    """The innermost frame in the program's own code, or the innermost at all."""
    own = [frame for frame in frames if not any(part in frame[0] for part in _LIBRARY)]
    found = (own or frames)[:1]
    return f" ({PurePath(found[0][0]).name}:{found[0][1]})" if found else ""


def _bounded(line: str) -> str:
    line = line.strip()
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 3] + "..."

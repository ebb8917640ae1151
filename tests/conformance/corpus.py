"""The corpus: exact bytes, a verdict, and the reason for it. `tests/corpus/README.md` tells the format.

A file is a theme. Its first lines set defaults for the cases that follow; a case begins with `== name`. Lines of
bytes start with a mark and one space, as in `curl -v`:

    >   the client sends                     =   must arrive: at the origin (request), at the client (response)
    <   the origin answers                   ~   the origin sends when the connection is idle again

The line break of the file is not part of the bytes. Escapes: `\\r \\n \\t \\0 \\s` (space) `\\\\` `\\xHH`,
`\\(BYTES)*N;` for a repetition and `\\{origin}` for the origin's authority. A line never ends in white space, so that
no editor changes a case.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

CORPUS = Path(__file__).parent.parent / "corpus"

SIDES = ("inbound", "outbound", "forward")
"""Beside the app; carrying the app's calls to one upstream; as the app's forward proxy."""

DEFAULT_REQUEST = b"GET /case HTTP/1.1\r\nHost: shop\r\n\r\n"
"""What the client sends in a response case that has no `>` lines."""

ORIGIN = b"\0origin\0"
"""Stands for the origin's authority until a lane fills it in. NUL at both ends: no case says it by chance."""


class Kind(Enum):
    REQUEST = "request"
    PIPELINE = "pipeline"
    RESPONSE = "response"


class Forward(Enum):
    """What has to become of the leading good messages."""

    NOTHING = "nothing"
    SAME = "same"
    GIVEN = "given"
    OPAQUE = "opaque"


class End(Enum):
    """What has to become of the rest.

    REFUSE: we answer the error and close; not one byte of it went on.
    CUT:    the error was found inside a body: what went on is an incomplete message on a connection that was
            closed, and the other side sees our error if there was still time, or a cut connection. Without a
            status there is nobody to tell: the sender has ended.
    DROP:   the message before it was the last of its connection: the rest is ignored and the connection closed.
    """

    NOTHING = "nothing"
    REFUSE = "refuse"
    CUT = "cut"
    DROP = "drop"


@dataclass(frozen=True)
class Verdict:
    """`count` messages go on as `forward` says; the rest meets `end`."""

    forward: Forward
    count: int = 0
    end: End = End.NOTHING
    status: int = 0
    code: str = ""

    def __str__(self) -> str:
        parts = []
        if self.forward is not Forward.NOTHING:
            word = {Forward.SAME: "accept", Forward.GIVEN: "normalised", Forward.OPAQUE: "opaque"}[self.forward]
            parts.append(word if self.count <= 1 else f"{word} {self.count}")
        if self.end is not End.NOTHING:
            parts.append(f"{self.end.value} {self.status} {self.code}" if self.status else self.end.value)
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class Case:
    """One case.

    client, origin, expected, idle: the bytes of the `>`, `<`, `=`, `~` lines
    stays:        the client's connection is open afterwards, which a probe on it proves; None: as the proxy likes
    half_close:   the client ends its side behind its bytes
    origin_close: the origin closes its connection behind its answer
    framing:      a refusal by HAProxy can only be about framing, so it binds us
    objections:   panel member -> why it may refuse what we forward, or call it by another name
    """

    theme: str
    name: str
    line: int
    kind: Kind
    sides: tuple[str, ...]
    verdict: Verdict
    rfc: str
    why: str
    client: bytes
    origin: bytes = b""
    expected: bytes = b""
    idle: bytes = b""
    stays: bool | None = True
    half_close: bool = False
    origin_close: bool = False
    framing: bool = True
    objections: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.theme}/{self.name}"

    @property
    def comparable(self) -> bool:
        """Other proxies can be asked about it: they take nothing but HTTP."""
        return self.verdict.forward is not Forward.OPAQUE

    def fill(self, data: bytes, origin: bytes) -> bytes:
        """`data` of this case with the origin's authority in its place."""
        return data.replace(ORIGIN, origin)


class CorpusError(Exception):
    """A file that cannot be read; the message names file, line and what is wrong."""


_ESCAPE = re.compile(
    rb"\\(?:(?P<char>[rnt0s\\])|x(?P<hex>[0-9A-Fa-f]{2})|\((?P<text>[^()]*)\)\*(?P<times>[0-9]{1,7});"
    rb"|\{(?P<var>[a-z]+)\}|(?P<bad>.?))",
    re.DOTALL,
)
_CHARS = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"s": b" ", b"\\": b"\\"}
_VERDICT = re.compile(
    r"(?:(?P<forward>accept|normalised|opaque)(?: (?P<count>[1-9][0-9]*))?)?(?:, )?"
    r"(?:(?P<end>refuse|cut) (?P<status>[45][0-9]{2}) (?P<code>[a-z-]+)|(?P<bare>cut|drop))?"
)
_FORWARDS = {
    None: Forward.NOTHING,
    "accept": Forward.SAME,
    "normalised": Forward.GIVEN,
    "opaque": Forward.OPAQUE,
}
_KEYS = ("kind", "sides", "verdict", "rfc", "why", "after", "client", "origin", "framing", "panel")
_DEFAULTS = {"kind": "request", "sides": "inbound outbound", "framing": "yes", "client": "stays", "origin": "stays"}
_MARKS = {">": "client", "<": "origin", "=": "expected", "~": "idle"}


def unescape(text: bytes) -> bytes:
    """The bytes that an escaped line means. Raises ValueError for an escape that is none."""

    def one(match: re.Match[bytes]) -> bytes:
        if match["char"]:
            return _CHARS[match["char"]]
        if match["hex"]:
            return bytes([int(match["hex"], 16)])
        if match["times"]:
            return unescape(match["text"]) * int(match["times"])
        if match["var"] == b"origin":
            return ORIGIN
        raise ValueError(f"{match[0].decode()} is no escape")

    return _ESCAPE.sub(one, text)


def parse_verdict(text: str) -> Verdict:
    """`accept`, `accept 2`, `normalised`, `refuse 400 bad-request`, `accept, refuse …`, `accept, drop`, `cut …`."""
    match = _VERDICT.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"{text!r} is no verdict")
    forward = _FORWARDS[match["forward"]]
    count = int(match["count"] or 1) if forward is not Forward.NOTHING else 0
    if match["bare"]:
        return Verdict(forward, count, End(match["bare"]))
    if match["end"]:
        return Verdict(forward, count, End(match["end"]), int(match["status"]), match["code"])
    return Verdict(forward, count)


def load_corpus(folder: Path = CORPUS) -> list[Case]:
    """Every case of every file, in order. Raises CorpusError."""
    cases = [case for path in sorted(folder.glob("*.http")) for case in load_theme(path)]
    if not cases:
        raise CorpusError(f"{folder}: no cases")
    return cases


def load_theme(path: Path) -> list[Case]:
    """The cases of one file."""
    return _Theme(path).cases()


class _Theme:
    """One file on its way to cases."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = 0

    def _fail(self, message: str) -> CorpusError:
        return CorpusError(f"{self._path.name}:{self._line}: {message}")

    def cases(self) -> list[Case]:
        defaults, name, start = dict(_DEFAULTS), "", 0
        words: dict[str, str] = defaults
        blocks: dict[str, bytes] = {}
        cases: list[Case] = []
        key = ""
        for number, line in enumerate(self._path.read_bytes().decode("ascii").splitlines(), 1):
            self._line = number
            if line != line.rstrip():
                raise self._fail("ends in white space; write \\s")
            if line.startswith("== "):
                if name:
                    cases.append(self._case(name, start, words, blocks))
                    self._line = number
                name, start, words, blocks, key = line[3:], number, dict(defaults), {}, ""
                if not re.fullmatch(r"[a-z0-9-]+", name) or any(case.name == name for case in cases):
                    raise self._fail(f"{name!r} is no name of its own in this file")
            elif line[:1] in _MARKS and line[1:2] in ("", " "):
                if not name:
                    raise self._fail("bytes before the first case")
                block = _MARKS[line[0]]
                try:
                    blocks[block] = blocks.get(block, b"") + unescape(line[2:].encode())
                except ValueError as error:
                    raise self._fail(str(error)) from None
            elif line.startswith("  ") and key == "why":
                words["why"] += " " + line.strip()
            elif line and not line.startswith("#"):
                key, colon, value = line.partition(": ")
                if not colon or key not in _KEYS:
                    raise self._fail(f"{line!r} is neither bytes nor one of {', '.join(_KEYS)}")
                words[key] = f"{words[key]}\n{value}" if key == "panel" and key in words else value
        if name:
            cases.append(self._case(name, start, words, blocks))
        return cases

    def _case(self, name: str, start: int, words: dict[str, str], blocks: dict[str, bytes]) -> Case:
        self._line = start
        for key in ("rfc", "why", "verdict"):
            if not words.get(key):
                raise self._fail(f"{name} has no {key}")
        try:
            kind = Kind(words["kind"])
            verdict = parse_verdict(words["verdict"])
        except ValueError as error:
            raise self._fail(f"{name}: {error}") from None
        sides = tuple(words["sides"].split())
        after = words.get("after", _after(kind, verdict.end))
        objections = dict(line.split(": ", 1) for line in words.get("panel", "").splitlines())
        wrong = [
            *[f"side {side!r}" for side in sides if side not in SIDES],
            *[f"{key} {words[key]!r}" for key, allowed in _CHOICES.items() if words[key] not in allowed],
        ]
        if after not in _AFTER:
            wrong.append(f"after {after!r}")
        if kind is Kind.RESPONSE and "origin" not in blocks:
            wrong.append("no answer of the origin")
        if kind is not Kind.RESPONSE and "client" not in blocks:
            wrong.append("no bytes of the client")
        if (verdict.forward is Forward.GIVEN) != ("expected" in blocks):
            wrong.append("`normalised` and `=` lines belong together")
        if wrong:
            raise self._fail(f"{name}: {'; '.join(wrong)}")
        return Case(
            theme=self._path.stem, name=name, line=start, kind=kind, sides=sides, verdict=verdict,
            rfc=words["rfc"], why=words["why"], client=blocks.get("client", DEFAULT_REQUEST),
            origin=blocks.get("origin", b""), expected=blocks.get("expected", b""), idle=blocks.get("idle", b""),
            stays=_AFTER[after], half_close=words["client"] == "half-closes",
            origin_close=words["origin"] == "closes", framing=words["framing"] == "yes", objections=objections,
        )  # fmt: skip


def _after(kind: Kind, end: End) -> str:
    """A bad request ends its connection; a bad answer is not the client's fault, unless its head has gone on."""
    if kind is Kind.RESPONSE:
        return "either" if end is End.CUT else "open"
    return "open" if end is End.NOTHING else "closed"


_AFTER = {"open": True, "closed": False, "either": None}
_CHOICES = {"client": ("stays", "half-closes"), "origin": ("stays", "closes"), "framing": ("yes", "no")}

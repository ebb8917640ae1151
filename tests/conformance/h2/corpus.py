"""The corpus of HTTP/2: exact frames, a verdict, and the reason. `tests/corpus/h2/README.md` tells the format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.corpus import CORPUS, CorpusError, unescape

FOLDER = CORPUS / "h2"

CODES = {
    "PROTOCOL_ERROR": 1, "INTERNAL_ERROR": 2, "FLOW_CONTROL_ERROR": 3, "STREAM_CLOSED": 5, "FRAME_SIZE_ERROR": 6,
    "REFUSED_STREAM": 7, "CANCEL": 8, "COMPRESSION_ERROR": 9, "ENHANCE_YOUR_CALM": 11,
}  # fmt: skip
"""RFC 9113 section 7."""

TYPES = {
    "DATA": 0, "HEADERS": 1, "PRIORITY": 2, "RST_STREAM": 3, "SETTINGS": 4, "PUSH_PROMISE": 5, "PING": 6, "GOAWAY": 7,
    "WINDOW_UPDATE": 8, "CONTINUATION": 9,
}  # fmt: skip
FLAGS = {"END_STREAM": 1, "ACK": 1, "END_HEADERS": 4, "PADDED": 8, "PRIORITY": 32}

REQUEST = (b"\x82\x86\x84", b":authority", b"users")
"""What `request` stands for: GET, http, / by the static table, and an authority."""

VERDICTS = {
    "client": ("accept", "reset", "goaway"),
    "opening": ("accept", "goaway"),
    "answer": ("accept", "refuse", "cut"),
}
_CODED = ("reset", "goaway", "cut")
_KEYS = ("kind", "stream", "verdict", "rfc", "why", "arrives")
_LINE = re.compile(
    r"> (?P<type>[A-Z_]+|[0-9]{1,3}) (?P<stream>[0-9]{1,10})(?P<flags>(?: [A-Z_]+)*)(?: length=(?P<length>[0-9]{1,8}))?"
    r"(?: times=(?P<times>[1-9][0-9]{0,4}))?(?: (?P<payload>(?:hex |\").*))?"
)


@dataclass(frozen=True)
class Case:
    """One case.

    kind:    who speaks: `client`, on a connection that has a stream of good manners (1) already; `opening`, a client
             before anything else but the preface; `answer`, the server, to stream 1
    word:    the verdict's first word
    code:    its error code, 0 where it has none
    stream:  which stream the verdict is about
    data:    the frames
    arrives: the content that must come through, None: not looked at
    """

    theme: str
    name: str
    line: int
    kind: str
    word: str
    code: int
    stream: int
    rfc: str
    why: str
    data: bytes
    arrives: bytes | None

    @property
    def id(self) -> str:
        return f"{self.theme}/{self.name}"


def integer(value: int, bits: int = 7, first: int = 0) -> bytes:
    """RFC 7541 section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    rest, value = bytes([first | most]), value - most
    while value >= 128:
        rest, value = rest + bytes([value % 128 + 128]), value // 128
    return rest + bytes([value])


def literal(name: bytes, value: bytes) -> bytes:
    """A field that enters no table and is not Huffman coded (RFC 7541 section 6.2.2)."""
    return b"\0" + integer(len(name)) + name + integer(len(value)) + value


def load_corpus(folder: Path = FOLDER) -> list[Case]:
    """Every case of every file, in order. Raises CorpusError."""
    cases = [case for path in sorted(folder.glob("*.h2")) for case in load_theme(path)]
    if not cases:
        raise CorpusError(f"{folder}: no cases")
    return cases


def load_theme(path: Path) -> list[Case]:
    """The cases of one file. Raises CorpusError."""
    return _Theme(path).cases()


class _Frame:
    """A frame on its way to bytes."""

    def __init__(self, match: re.Match[str]) -> None:
        word = match["type"]
        if word not in TYPES and not word.isdigit():
            raise ValueError(f"{word} is no type of frame")
        self._type = TYPES[word] if word in TYPES else int(word)
        self._flags = 0
        for flag in match["flags"].split():
            if flag not in FLAGS:
                raise ValueError(f"{flag} is no flag")
            self._flags |= FLAGS[flag]
        self._stream = int(match["stream"])
        if self._type > 255 or self._stream >= 1 << 32:
            raise ValueError(f"{word} {self._stream} does not fit into a frame")
        self._length = match["length"]
        self._times = int(match["times"] or 1)
        self._payload = payload(match["payload"]) if match["payload"] else b""

    def add(self, text: str) -> None:
        self._payload += payload(text)

    def made(self) -> bytes:
        length = int(self._length) if self._length else len(self._payload)
        head = length.to_bytes(3, "big") + bytes([self._type, self._flags]) + self._stream.to_bytes(4, "big")
        return (head + self._payload) * self._times


def payload(text: str) -> bytes:
    """A piece of a payload: `"text"`, `hex 00ff`, `request`, or a field `name: value`. Raises ValueError."""
    if text == "request":
        return REQUEST[0] + literal(*REQUEST[1:])
    if text.startswith("hex "):
        return bytes.fromhex(text[4:])
    if len(text) > 1 and text[0] == text[-1] == '"':
        return unescape(text[1:-1].encode())
    start = text.find(":", 1)
    if start < 0 or text[start + 1 : start + 2] not in ("", " "):
        raise ValueError(f"{text!r} is no part of a payload")
    return literal(unescape(text[:start].encode()), unescape(text[start + 2 :].encode()))


class _Theme:
    """One file on its way to cases."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = 0
        self._cases: list[Case] = []
        self._start("", {"kind": "client", "stream": "3"})
        self._defaults = self._words

    def _start(self, name: str, words: dict[str, str]) -> None:
        self._name, self._begun, self._words = name, self._line, dict(words)
        self._frames: list[_Frame] = []
        self._key = ""

    def cases(self) -> list[Case]:
        try:
            lines = self._path.read_bytes().decode("ascii").splitlines()
            for self._line, line in enumerate(lines, 1):
                self._take(line)
            self._finish()
        except ValueError as error:
            raise CorpusError(f"{self._path.name}:{self._line}: {error}") from None
        return self._cases

    def _take(self, line: str) -> None:
        if line != line.rstrip():
            raise ValueError("ends in white space; write \\s")
        if line.startswith("== "):
            self._finish()
            self._start(line[3:], self._defaults)
            if not re.fullmatch(r"[a-z0-9-]+", line[3:]) or any(case.name == line[3:] for case in self._cases):
                raise ValueError(f"{line[3:]!r} is no name of its own in this file")
        elif line.startswith("> "):
            match = _LINE.fullmatch(line)
            if not match or not self._name:
                raise ValueError(f"{line!r} is no frame of a case: `> TYPE STREAM FLAGS length=N times=N PAYLOAD`")
            self._frames.append(_Frame(match))
        elif line.startswith("  ") and self._frames:
            self._frames[-1].add(line[2:])
        elif line.startswith("  ") and self._key == "why":
            self._words["why"] += " " + line.strip()
        elif line and not line.startswith("#"):
            self._key, colon, value = line.partition(": ")
            if not colon or self._key not in _KEYS:
                raise ValueError(f"{line!r} is neither a frame nor one of {', '.join(_KEYS)}")
            self._words[self._key] = value

    def _finish(self) -> None:
        if not self._name:
            return
        words, self._line, last = self._words, self._begun, self._line
        for key in ("rfc", "why", "verdict"):
            if not words.get(key):
                raise ValueError(f"{self._name} has no {key}")
        if not self._frames:
            raise ValueError(f"{self._name} has no frame")
        if words["kind"] not in VERDICTS or not re.fullmatch(r"[1-9][0-9]{0,8}", words["stream"]):
            raise ValueError(f"{self._name}: no such kind or stream: {words['kind']}, {words['stream']}")
        word, _, code = words["verdict"].partition(" ")
        if word not in VERDICTS[words["kind"]] or (code not in CODES if word in _CODED else code):
            raise ValueError(f"{self._name}: {words['verdict']!r} is no verdict of {words['kind']!r}")
        arrives = unescape(words["arrives"].encode()) if "arrives" in words else None
        self._cases.append(Case(
            theme=self._path.stem, name=self._name, line=self._begun, kind=words["kind"], word=word,
            code=CODES.get(code, 0), stream=int(words["stream"]), rfc=words["rfc"], why=words["why"],
            data=b"".join(each.made() for each in self._frames), arrives=arrives,
        ))  # fmt: skip
        self._line = last

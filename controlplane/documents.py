"""Documents from a person's YAML or JSON file. What is wrong is one line: `FILE:LINE:COLUMN: WHAT`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from proxy.base.problems import ConfigurationError
from proxy.base.strict import DocumentError
from proxy.base.strict_yaml import parse_documents as parse

MAX_BYTES = 1 << 20
"""Two hundred services with long environments are a tenth of it, and the registry takes no larger sandbox either."""


def read_documents(path: Path) -> list[Any]:
    """All documents of a file. Raises ConfigurationError, one line that begins with the file's name."""
    try:
        with path.open("rb") as file:
            return parse_documents(file, str(path))
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read: {error.strerror}"]) from None


def parse_documents(file: BinaryIO, name: str) -> list[Any]:
    """All documents of an open file, which is called `name`. Raises ConfigurationError."""
    try:
        data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError([f"{name}: cannot be read: {error.strerror}"]) from None
    if len(data) > MAX_BYTES:
        raise ConfigurationError([f"{name}: has more than {MAX_BYTES} bytes"])
    try:
        return parse(data)
    except DocumentError as error:
        raise ConfigurationError([error.at(name)]) from None

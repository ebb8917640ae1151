"""Documents from a person's YAML or JSON file. What is wrong is one line: `FILE:LINE:COLUMN: WHAT`.

YAML lets a mapping name a key twice and silently keeps the last: here that is an error, because the first one is
still in the file for everybody to see.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import yaml

from proxy.errors import ConfigurationError

MAX_BYTES = 1 << 20
"""Two hundred services with long environments are a tenth of it, and the registry takes no larger sandbox either."""


class _Loader(yaml.SafeLoader):
    """Plain objects only, and every key once."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # As it is written: merging (`<<`) later puts keys in front of those that override them.
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
                seen.add(key.value)
        return node


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
        text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError([f"{name}: cannot be read: {error.strerror}"]) from None
    if len(text) > MAX_BYTES:
        raise ConfigurationError([f"{name}: has more than {MAX_BYTES} bytes"])
    try:
        return list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError, TypeError) as error:
        raise ConfigurationError([f"{name}{_where(error)}"]) from None


def _where(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f":{mark.line + 1}:{mark.column + 1}: {error.problem}"
    if isinstance(error, yaml.reader.ReaderError | UnicodeDecodeError):
        return f": is not text: {error.reason}"
    if isinstance(error, LookupError | AttributeError | TypeError):
        return ": holds a value that does not fit its tag"  # PyYAML trusts `!!bool` and its like
    # Also a date in month 13 and a number of more than 4,300 digits.
    return ": is nested too deeply" if isinstance(error, RecursionError) else f": {' '.join(str(error).split())}"

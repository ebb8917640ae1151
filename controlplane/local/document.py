"""An environment file from its text, with every problem of it, each as one line that names the place.

YAML lets a mapping name a key twice and silently keeps the last: here that is an error, because the first one is
still in the file for everybody to see.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from controlplane.model.environment import EnvironmentFile, parse_environment
from controlplane.model.problem import DocumentError
from proxy.errors import ConfigurationError

MAX_BYTES = 1 << 20
"""Two hundred services with long environments are a tenth of it."""


class _Loader(yaml.SafeLoader):
    """Plain objects only, and every key once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_file(path: Path) -> EnvironmentFile:
    """Raises ConfigurationError with one line per problem, each of which begins with the file's name."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"]) from None
    if len(text) > MAX_BYTES:
        raise ConfigurationError([f"{path}: has more than {MAX_BYTES} bytes"])
    try:
        return parse_environment(yaml.load(text, Loader=_Loader))  # noqa: S506 (a subclass of the safe one)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError([f"{path}: {_where(error)}"]) from None
    except DocumentError as error:
        lines = [f"{item.path}: {item.message}" if item.path else item.message for item in error.problems]
        raise ConfigurationError([f"{path}: {line}" for line in lines]) from None


def _where(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    if isinstance(error, yaml.reader.ReaderError | UnicodeDecodeError):
        return f"is not text: {error.reason}"
    return "is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())

"""An environment file from its text, with every problem of it, each as one line that names the place."""

from __future__ import annotations

from pathlib import Path

from controlplane.documents import read_documents
from controlplane.model.environment import EnvironmentFile, parse_environment
from controlplane.model.problem import DocumentError
from proxy.base.problems import ConfigurationError


def read_file(path: Path) -> EnvironmentFile:
    """Raises ConfigurationError with one line per problem, each of which begins with the file's name."""
    documents = read_documents(path)
    if len(documents) > 1:
        raise ConfigurationError([f"{path}: holds {len(documents)} documents: one environment per file"])
    try:
        return parse_environment(documents[0] if documents else None)
    except DocumentError as error:
        lines = [f"{item.path}: {item.message}" if item.path else item.message for item in error.problems]
        raise ConfigurationError([f"{path}: {line}" for line in lines]) from None

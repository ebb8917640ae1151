"""What a person has to put right before a program can run."""

from __future__ import annotations


class ConfigurationError(Exception):
    """Settings or files that cannot work. `problems` has one line per problem, all of them."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems

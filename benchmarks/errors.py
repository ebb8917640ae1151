"""How a benchmark run ends early."""

from __future__ import annotations


class BenchmarkError(Exception):
    """The run cannot go on; the message is one line for a person."""


class ToolMissing(BenchmarkError):  # noqa: N818 (it says what it is)
    """A program without which nothing can be measured is not installed."""


class WrongAnswer(BenchmarkError):  # noqa: N818 (it says what it is)
    """A peer misrouted, lost or spoiled an answer: its figures mean nothing, and the run has failed."""

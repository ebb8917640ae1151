"""One target under atheris: `python -m tests.fuzz.engine TARGET [libFuzzer's options and folders]`.

A process of its own, because libFuzzer ends the process it runs in.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

TRACED = ("proxy.wire", "proxy.routing", "proxy.exchange", "proxy.errors")
"""Whose branches guide the fuzzer."""


def main(arguments: list[str]) -> None:
    atheris: Any = importlib.import_module("atheris")
    name, *options = arguments
    with atheris.instrument_imports(include=list(TRACED)):
        target = importlib.import_module(f"tests.fuzz.{name}")
    atheris.Setup([f"fuzz-{name}", *options], target.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])

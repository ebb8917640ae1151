"""The command line: thin commands over the registry's client. `skycap` is `main`."""

from __future__ import annotations

from controlplane.cli.program import main

__all__ = ["main"]

"""The command line: thin commands over the registry's client. `skycap` is `main`, `kubectl-skycap` is `kubectl`."""

from __future__ import annotations

import sys

try:
    from controlplane.cli.program import kubectl, main
except ImportError as error:
    if error.name != "proxy":  # `proxy.compiled`: compiled modules that are not those of the sources
        raise
    sys.exit(f"skycap: {error}")

__all__ = ["kubectl", "main"]

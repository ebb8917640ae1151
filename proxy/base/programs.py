"""How to start a program of ours anew."""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGES = Path(__file__).resolve().parents[2]
"""The folder with `proxy` and `controlplane`."""


def program(package: str) -> tuple[str, ...]:
    """The command that runs `proxy` or `controlplane`, to which arguments are added.

    By its file, and -P: it is the code that stands beside this, whatever else Python finds by such a name, in the
    folder where a person stands or among what is installed.
    """
    return (sys.executable, "-P", str(PACKAGES / package / "__main__.py"))

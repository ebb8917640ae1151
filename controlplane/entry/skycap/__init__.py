"""The one name that an installation of skycap takes: the program `skycap`, and the way to its two packages.

`proxy` and `controlplane` are names that others use as well: proxy.py brings a package `proxy`, and whichever of two
is installed later would lie over the other. So they stand in a folder that Python looks into, before any other, once
this is imported: `packages` in an installation, and the checkout itself where that is installed with `pip install -e`.
A program of yours that wants the client begins like this:

    import skycap
    from controlplane.client import Client
"""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_INSTALLED = _HERE / "packages"
PACKAGES = str(_INSTALLED if _INSTALLED.is_dir() else _HERE.parents[2])
"""The folder with `proxy` and `controlplane`."""

_taken = sys.modules.get("proxy")
if _taken is not None and Path(str(_taken.__file__)).resolve().parents[1] != Path(PACKAGES):
    raise ImportError(f"skycap's package `proxy` cannot be had where another one is loaded: {_taken.__file__}")
if PACKAGES not in sys.path[:1]:
    sys.path.insert(0, PACKAGES)


def main() -> None:
    """The program `skycap`."""
    from controlplane.cli import main as program

    program()


def kubectl() -> None:
    """The same, which kubectl finds as `kubectl skycap`."""
    from controlplane.cli import kubectl as program

    program()

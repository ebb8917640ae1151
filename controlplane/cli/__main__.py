"""`skycap`, by the path of this file (`proxy.base.programs`)."""

import sys
from pathlib import Path

if not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from controlplane.cli import main

if __name__ == "__main__":
    main()

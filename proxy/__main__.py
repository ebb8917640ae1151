"""The sidecar: this file by its path (`proxy.base.programs`), and in a checkout `python -m proxy`."""

import gc
import sys
from pathlib import Path

# Until the sidecar serves: what a start makes stays, and looking through it again and again is 12 of 94 ms.
gc.disable()

if not __package__:  # by its path: `proxy` is what stands here, whoever else has that name
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from proxy.runtime import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

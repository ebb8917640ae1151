"""`python -m proxy`."""

import gc
import sys

# Until the sidecar serves: what a start makes stays, and looking through it again and again is 12 of 94 ms.
gc.disable()

from proxy.runtime import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

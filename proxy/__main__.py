"""`python -m proxy`."""

import sys

from proxy.runtime import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

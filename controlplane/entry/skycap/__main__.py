"""`python -m skycap`."""

import sys

from . import main

if __name__ == "__main__":
    sys.argv[0] = "skycap"
    main()

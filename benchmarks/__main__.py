"""Entry point of `python -m benchmarks`."""

import os
import sys

from benchmarks.cli import main

if "kubernetes" in sys.argv[1:]:  # it has no peers and no rounds
    os.environ["SKYCAP_CLUSTER_COMPILED"] = "1"
    from benchmarks import kubernetes

    kubernetes.main()
else:
    main(prog_name="python -m benchmarks")

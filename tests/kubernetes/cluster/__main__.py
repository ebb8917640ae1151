"""`python -m tests.kubernetes.cluster check | build | up | down`: what `make cluster` and `make cluster-down` call."""

from __future__ import annotations

import sys

from tests.kubernetes.cluster import node, programs
from tests.kubernetes.cluster.containerfile import ContainerfileError
from tests.kubernetes.cluster.images import build_base, build_pause, build_skycap


def main() -> None:
    what = sys.argv[1] if len(sys.argv) == 2 else ""
    if what == "check":
        print(programs.why_not() or "a node can be started here")
        sys.exit(bool(programs.why_not()))
    if what == "down":
        node.down()
        return
    if what not in ("build", "up"):
        sys.exit("usage: python -m tests.kubernetes.cluster check | build | up | down")
    if why := programs.why_not():
        sys.exit(f"no node can be started here: {why}")
    programs.build()
    build_base()
    try:
        images = [build_pause(), build_skycap()]
    except ContainerfileError as error:
        sys.exit(str(error))
    if what == "build":
        return
    started = node.Node(images, tied=False)
    try:
        started.up()
    except node.NodeError as error:
        sys.exit(str(error))
    inside = f"nsenter --net=/proc/{(started.folder / 'namespaces').read_text().split()[1]}/ns/net"
    print(f"a node runs Kubernetes {programs.VERSION}. From a shell that is a client of it and of nothing else:\n")
    print(f"  KUBECONFIG={started.kubeconfig} PATH={started.programs}:$PATH {inside} bash\n")
    print("`make cluster-down` ends it and leaves nothing.")


if __name__ == "__main__":
    main()

"""`make demo-kubernetes`: the shop on a real node of this machine, from plain manifests to a fixed contract.

With CHECK=1 every step is asserted and the node goes at the end; without, it stays until `make cluster-down`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.kubernetes.cluster import programs
from tests.kubernetes.cluster.images import build_base, build_pause, build_skycap
from tests.kubernetes.cluster.node import Node, NodeError
from tests.kubernetes.installation import SYSTEM, Installation, Reply, users


def main() -> None:
    check = "--check" in sys.argv
    if why := programs.why_not():
        sys.exit(f"no node can be started here: {why}")
    programs.build()
    build_base()
    node = Node([build_pause(), build_skycap()], tied=check)
    try:
        _say("starting a Kubernetes node, in namespaces of its own")
        node.up()
        with tempfile.TemporaryDirectory() as folder, node.inside():
            _play(Installation(node, Path(folder)))
    except (NodeError, AssertionError) as error:
        sys.exit(f"the demo failed: {error}")
    finally:
        if check:
            node.down()
    if check:
        _say("the node is gone; nothing of it is left")
        return
    inside = f"nsenter --net=/proc/{(node.folder / 'namespaces').read_text().split()[1]}/ns/net"
    print(f"\nThe shop goes on. A shell that is a client of the cluster:\n\n  KUBECONFIG={node.kubeconfig} ", end="")
    print(f"PATH={node.programs}:$PATH {inside} bash\n\nThen `kubectl get sbx`; `make cluster-down` ends it.")


def _play(shop: Installation) -> None:
    _say("kubectl apply -k manifests, and the shop from plain manifests in a namespace with skycap.dev/inject=enabled")
    shop.install()
    print(shop.kubectl("-n", "shop", "get", "pods"), end="")

    _say("kubectl apply: Sandbox loyalty forks shop/users")
    shop.apply("loyalty", users("users_v2"))
    shop.ready("loyalty")
    print(shop.kubectl("get", "sbx"), end="")
    plain, keyed = shop.checkout(), shop.checkout("loyalty")
    _show("without a key", plain)
    _show("baggage: routing-key=loyalty", keyed)
    _holds(_price(plain) == "12.00 EUR" and not plain.served_by, "without a key the baseline answers, untouched")
    _holds(_price(keyed) == "10.80 EUR", "with the key the shadow's loyalty has its discount")
    _holds("shop/users;sandbox=loyalty;rev=1" in keyed.served_by, "and the answer says who served it")

    _say("Sandbox agent-42 breaks a contract")
    shop.apply("agent-42", users("users_v3_buggy"))
    shop.ready("agent-42")
    broken = shop.checkout("agent-42")
    _show("baggage: routing-key=agent-42", broken)
    _holds(broken.status == 400, "its own requests fail, and nobody else's")
    feedback = shop.skycap("sandbox", "feedback", "agent-42").stdout
    print(feedback)
    _holds("currency must be one of EUR, CHF, GBP" in feedback, "feedback tells the real error of who refused")

    _say("the same Sandbox, fixed in place")
    shop.apply("agent-42", users("users_v3_fixed"))
    shop.until(lambda: "rev=2" in shop.checkout("agent-42").served_by, "revision 2 serves", seconds=120)
    fixed = shop.checkout("agent-42")
    _show("baggage: routing-key=agent-42", fixed)
    _holds(fixed.status == 200, "the fix serves under the same key")
    _holds(shop.checkout().status == 200, "and the baseline was never touched")

    _say("kubectl delete sandbox --all")
    shop.clear()
    pods = shop.kubectl("-n", "shop", "get", "pods", "-l", "skycap.dev/sandbox", "-o", "name")
    _holds(not pods, "no shadow is left")
    _holds(bool(shop.leader()), f"one replica of {SYSTEM}/skycap leads")


def _price(reply: Reply) -> str:
    return str(json.loads(reply.body)["price"])


def _show(how: str, reply: Reply) -> None:
    print(f"  {how}\n    {reply.status} {reply.body.strip()}")
    if reply.served_by:
        print(f"    skycap-served-by: {reply.served_by}")


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _holds(true: bool, what: str) -> None:
    assert true, f"it is not so that {what}"
    print(f"  ok  {what}", flush=True)


if __name__ == "__main__":
    main()

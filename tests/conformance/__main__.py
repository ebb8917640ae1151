"""By hand: run cases, look at differences, print the table.

    python -m tests.conformance run [PATTERN] [--peer NAME] [--splits N]
    python -m tests.conformance compare
    python -m tests.conformance table

PATTERN is a regular expression for the names of cases (`host/`, `chunked/size-.*zeros`).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from tests.conformance.corpus import Case, CorpusError, load_corpus
from tests.conformance.deliveries import PIPED, deliveries
from tests.conformance.differences import Outcome, breaks_the_rule, compare, load_reviewed, outcome
from tests.conformance.judge import judge
from tests.conformance.peers import HAProxy, Nginx, Proxy, Relay, Skycap
from tests.conformance.play import Run
from tests.conformance.rig import rig
from tests.conformance.table import table

PROXIES: dict[str, type[Proxy]] = {proxy.name: proxy for proxy in (Skycap, HAProxy, Nginx, Relay)}


def watch(proxy: Proxy, cases: Sequence[Case]) -> dict[Case, Outcome]:
    """What becomes of each case on its way through the proxy."""
    with rig(proxy) as stand:
        runs = [Run(case, "inbound", PIPED) for case in cases]
        seen = {result.run.case: outcome(result) for result in stand.watch(runs)}
        return {case: seen[case] for case in cases}


def comparable(cases: Sequence[Case]) -> list[Case]:
    """The cases that every proxy can be asked about, and whose outcome is not a matter of time."""
    return [case for case in cases if "inbound" in case.sides and case.comparable and not case.half_close]


def _run(cases: Sequence[Case], proxy: Proxy, splits: int) -> int:
    guilty = 0
    with rig(proxy) as stand:
        runs = [
            Run(case, side, delivery)
            for case in cases
            for side in case.sides
            if side in proxy.sides
            for delivery in deliveries(case, splits)
        ]
        for result in sorted(stand.run(runs), key=lambda result: str(result.run)):
            complaints = judge(result.run, result.seen, result.authority)
            guilty += bool(complaints)
            for complaint in complaints:
                print(f"{result.run}: {complaint}")
    print(f"{len(runs)} runs of {len(cases)} cases, {guilty} not as they should be")
    return 1 if guilty else 0


def _compare(cases: Sequence[Case]) -> int:
    chosen = comparable(cases)
    ours = watch(Skycap(), chosen)
    reviewed = load_reviewed()
    unknown = 0
    for peer in (HAProxy(), Nginx()):
        for difference in compare(peer.name, ours, watch(peer, chosen)):
            if breaks_the_rule(difference) or not reviewed.knows(peer.name, difference.case.id, difference.kind):
                unknown += 1
                print(difference)
    print(f"{unknown} differences that nobody has reviewed")
    return 1 if unknown else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run cases through a proxy")
    run.add_argument("pattern", nargs="?", default="", help="regular expression for names of cases")
    run.add_argument("--peer", choices=sorted(PROXIES), default="skycap")
    run.add_argument("--splits", type=int, default=6, metavar="N", help="cuts per case [6]")
    commands.add_parser("compare", help="print differences to HAProxy and nginx that nobody has reviewed")
    commands.add_parser("table", help="print the table of the corpus")
    options = parser.parse_args(arguments)
    try:
        cases = load_corpus()
    except CorpusError as error:
        print(error, file=sys.stderr)
        return 2
    if options.command == "run":
        chosen = [case for case in cases if re.search(options.pattern, case.id)]
        return _run(chosen, PROXIES[options.peer](), options.splits)
    if options.command == "compare":
        return _compare(cases)
    print(table(cases, load_reviewed().differences))
    return 0


if __name__ == "__main__":
    sys.exit(main())

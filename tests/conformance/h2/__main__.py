"""By hand: run cases of HTTP/2, look at differences.

    python -m tests.conformance.h2 run [PATTERN]
    python -m tests.conformance.h2 compare

PATTERN is a regular expression for the names of cases (`requests/`, `blocks/table`).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from tests.conformance.corpus import CorpusError
from tests.conformance.differences import load_reviewed
from tests.conformance.h2.corpus import Case, load_corpus
from tests.conformance.h2.differences import REVIEWED, compare, outcome
from tests.conformance.h2.judge import judge
from tests.conformance.h2.peers import Envoy, Nghttpx
from tests.conformance.h2.rig import rig
from tests.conformance.peers import Proxy, Skycap


def watch(proxy: Proxy, cases: Sequence[Case]) -> dict[Case, str]:
    """What becomes of each case on its way through the proxy."""
    with rig(proxy) as stand:
        return {case: outcome(case, seen) for case, seen in stand.play(cases)}


def _run(cases: Sequence[Case]) -> int:
    with rig(Skycap()) as stand:
        found = [f"{case.id}: {complaint}" for case, seen in stand.play(cases) for complaint in judge(case, seen)]
    print(*found, f"{len(cases)} cases, {len(found)} complaints", sep="\n")
    return 1 if found else 0


def _compare(cases: Sequence[Case]) -> int:
    ours = watch(Skycap(), cases)
    reviewed = load_reviewed(REVIEWED)
    unknown = 0
    for peer in (Nghttpx(), Envoy()):
        for difference in compare(peer.name, ours, watch(peer, cases)):
            if difference.breaks_the_rule or not reviewed.knows(peer.name, difference.case.id, difference.kind):
                unknown += 1
                print(difference)
    print(f"{unknown} differences that nobody has reviewed")
    return 1 if unknown else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.h2", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run cases through the sidecar")
    run.add_argument("pattern", nargs="?", default="", help="regular expression for names of cases")
    commands.add_parser("compare", help="print differences to nghttpx and Envoy that nobody has reviewed")
    options = parser.parse_args(arguments)
    try:
        cases = load_corpus()
    except CorpusError as error:
        print(error, file=sys.stderr)
        return 2
    if options.command == "run":
        return _run([case for case in cases if re.search(options.pattern, case.id)])
    return _compare(cases)


if __name__ == "__main__":
    sys.exit(main())

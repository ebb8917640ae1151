"""A report as Markdown, and in what a fork differs."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.asking.changes import differences
from controlplane.asking.report import DIFF_LINES, markdown
from controlplane.model.sandbox import Fork
from controlplane.model.workload import Workload

USERS = "shop/users"
BASELINE = Workload(workload=USERS, address="127.0.0.1:1", command=("python", "users.py"), cwd="/shop", env={"A": "1"})


@pytest.mark.parametrize(
    ("fork", "said"),
    [
        ({"command": ("python", "v2.py")}, ("runs `python v2.py` instead of `python users.py`",)),
        ({"command": ("python", "users.py"), "cwd": "/mine"}, ("runs in /mine",)),
        ({"command": ("python", "users.py"), "env": {"A": "1", "B": "secret"}}, ("sets B",)),
        ({"endpoints": ("127.0.0.1:9",)}, ("is answered by 127.0.0.1:9, which somebody else runs",)),
        ({"image": "users:pr-7"}, ("runs the image users:pr-7",)),
    ],
)
def test_in_what_a_fork_differs(fork: dict[str, Any], said: tuple[str, ...]) -> None:
    assert differences(Fork(workload=USERS, **fork), BASELINE) == said


def test_without_a_baseline_everything_is_new() -> None:
    assert differences(Fork(workload=USERS, command=("x",), cwd="/y"), None) == ("runs `x`", "runs in /y")


REPORT: dict[str, Any] = {
    "sandbox": "agent-42", "revision": 3, "verdict": "passing", "summary": "3 requests, none failed",
    "description": "a *bold* try", "note": "the price",
    "changes": [{
        "workload": USERS, "state": "ready", "revision": 3, "differences": ["runs `x`", "sets A|B"], "message": "late",
        "files": [{"path": "a.py", "change": "changed", "diff": "-1\n+```2"}, {"path": "b.bin", "change": "added"}],
    }],
    "evidence": [
        {"title": "pytest | x", "passed": True, "revision": 3, "sentence": "all"},
        {"title": "curl", "passed": False, "revision": 2},
    ],
    "sample": {"hops": [
        {"side": "inbound", "workload": "shop/frontend", "depth": 0, "method": "GET", "path": "/", "status": 200,
         "durationMs": 9},
        {"side": "outbound", "workload": "shop/frontend", "depth": 1},
        {"side": "inbound", "workload": USERS, "depth": 2, "method": "GET", "path": "/u", "error": "cut",
         "sandbox": "a", "revision": 3},
    ]},
    "previews": [{"workload": "shop/frontend", "url": "http://t/", "handoff": "http://t/~skycap/"}, {"workload": "x"}],
    "reviews": [
        {"author": "Ada", "revision": 3, "verdict": "approved", "text": "two\nlines"},
        {"revision": 1, "verdict": "comment", "text": "hm"},
    ],
}  # fmt: skip


def test_the_whole_of_it() -> None:
    lines = markdown(REPORT).splitlines()
    assert lines[0] == "## Sandbox `agent-42`, revision 3: passing"
    for line in (
        r"a \*bold\* try", "**What to look at:** the price", rf"- `{USERS}`: runs `x`; sets A\|B", "````diff", "-1",
        "  - does not serve what is wanted: late", "  - added: `b.bin`", r"| passed | pytest \| x | 3 | all |",
        "| **failed** | curl | 2 |  |", "shop/frontend (baseline): GET / -> 200, 9 ms",
        f"  {USERS} (revision 3 of a): GET /u -> cut, 0 ms", "- Ada, on revision 3, approved: two lines",
        "- somebody, on revision 1, comment: hm",
        "- shop/frontend: <http://t/> ([what changed, and room for a review](http://t/~skycap/))",
    ):  # fmt: skip
        assert line in lines, line


def test_nothing_is_made_up() -> None:
    bare = {"sandbox": "a", "revision": 1, "verdict": "no-traffic", "summary": "no request"}
    assert "Nothing was run against it, or nobody has told." in markdown(bare)


def test_a_long_difference_is_cut() -> None:
    diff = "\n".join("+x" for _ in range(DIFF_LINES + 5))
    files = [{"path": "a", "change": "added", "diff": diff}, {"path": "b", "change": "added", "diff": "+y"}]
    text = markdown({**REPORT, "changes": [{"workload": USERS, "files": files}]})
    assert "... 5 more lines" in text
    assert "... 1 more lines" in text

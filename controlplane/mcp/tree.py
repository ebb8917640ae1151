"""The calls of a trace as lines of text."""

from __future__ import annotations

from controlplane.asking.calls import Call, Placed, drawn
from controlplane.model.hop import Trace
from proxy.base.text import one_line
from proxy.contract.hops import read_hop


def placed(trace: Trace) -> list[Placed]:
    return [
        Placed(hop.depth, read_hop(hop.model_dump(mode="json", by_alias=True, exclude_none=True)), hop.detached)
        for hop in trace.hops
    ]


def tree(tops: list[Call]) -> str:
    """The calls of a trace, a line each: status, milliseconds, who served, and what is not as usual."""
    lines = drawn(tops)
    requests = [f"{line.branch}{one_line(line.call.hop.method)} {one_line(line.call.hop.path[:80])}" for line in lines]
    width = max(map(len, requests), default=0)
    return "\n".join(
        f"{request:<{width}}  {line.call.hop.status or 'none'}  {line.call.hop.duration_ms:.0f} ms  "
        f"{one_line(line.call.who)}" + "".join(f"  [{one_line(remark)}]" for remark in line.call.remarks)
        for request, line in zip(requests, lines, strict=True)
    )

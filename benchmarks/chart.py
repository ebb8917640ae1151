"""The picture for the README: CPU per request, per MiB and per gRPC call, and added latency, where they were measured.

python -m benchmarks.chart RESULTS.json OUT.svg
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_PANELS = (
    # scenario, case, metric, title
    ("http1", "shadow", "cpu_us", "CPU per request, keyed (µs)"),
    ("http1", "unkeyed", "cpu_us", "CPU per request, no key (µs)"),
    ("bodies", "download-1", "cpu_us_per_mib", "CPU per MiB, 1 MiB answers (µs)"),
    ("grpc", "16x8", "cpu_us", "CPU per gRPC call, keyed, 16 connections x 8 streams (µs)"),
    ("latency", "1000", "added_p50_us", "added p50 at 1,000 requests/s (µs)"),
)
_COLOURS = {"skycap": "#0b7a75", "skycap-interpreted": "#74b6b1"}
_THEIRS = "#b8bcc2"


def draw(document: dict[str, Any], path: Path) -> str:
    """Write the chart of a results document. Returns why there is none, or nothing."""
    panels = [
        (title, figures)
        for scenario, case, metric, title in _PANELS
        if (figures := _bars(document["scenarios"], scenario, case, metric))
    ]
    if not panels:
        return "nothing that it shows was measured"
    if find_spec("matplotlib") is None:
        return "matplotlib is not installed: pip install matplotlib"
    matplotlib = import_module("matplotlib")
    matplotlib.use("Agg")
    # Text stays text: small, sharp, and the same bytes for the same figures.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "skycap", "font.size": 9})
    pyplot = import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(len(panels), 1, figsize=(7.5, 0.6 + 1.5 * len(panels)), squeeze=False)
    for axis, (title, bars) in zip(axes[:, 0], panels, strict=True):
        names = [name for name, _, _, _ in bars]
        values = [value for _, value, _, _ in bars]
        errors = [[value - low for _, value, low, _ in bars], [high - value for _, value, _, high in bars]]
        colours = [_COLOURS.get(name, _THEIRS) for name in names]
        axis.barh(names, values, xerr=errors, color=colours, height=0.65, error_kw={"lw": 0.8, "ecolor": "#555555"})
        axis.invert_yaxis()
        axis.set_title(title, loc="left", fontsize=9, fontweight="bold")
        axis.bar_label(axis.containers[-1], fmt="%.0f", padding=4)
        axis.margins(x=0.12)
        axis.spines[["top", "right"]].set_visible(False)
    machine = document["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items() if name != "uvloop")
    figure.text(0.01, 0.005, f"{machine['processor']}, one core per proxy; {versions}", fontsize=6, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
    return ""


def _bars(scenarios: dict[str, Any], name: str, case: str, metric: str) -> list[tuple[str, float, float, float]]:
    """(peer, median, low, high) of every peer that has the figure, the best first."""
    peers = scenarios.get(name, {}).get("figures", {}).get(case, {})
    found = [
        (peer, row[metric]["median"], row[metric]["low"], row[metric]["high"])
        for peer, row in peers.items()
        if metric in row
    ]
    return sorted(found, key=lambda bar: bar[1])


if __name__ == "__main__":
    source, target = sys.argv[1:]
    if problem := draw(json.loads(Path(source).read_text()), Path(target)):
        sys.exit(f"chart: {problem}")

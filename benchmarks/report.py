"""The results for people: one table per case, the targets below, and what to know about the figures."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.figures import Figure, in_order, ratio, summarize
from benchmarks.results import Finished, Results
from benchmarks.scenario import SKYCAP, SKYCAP_INTERPRETED, Bound, Metric, Verdict


def print_header(console: Console, results: Results) -> None:
    """Where and with what."""
    machine = results.machine
    console.print(
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
        f"{', virtual' if machine['virtual'] else ''}, Linux {machine['kernel']}",
        highlight=False,
    )
    console.print(", ".join(f"{name} {number}" for name, number in results.versions.items()), highlight=False)
    for peer, line in results.skipped.items():
        console.print(Text(f"{peer} is left out: {line}", style="yellow"))


def print_scenario(console: Console, finished: Finished) -> None:
    """All tables of one scenario."""
    scenario = finished.scenario
    console.print()
    console.print(Text(f"{scenario.name}: {scenario.summary}", style="bold"))
    for case in in_order(sample.case for sample in finished.samples):
        console.print(_table(finished, case))
    verdicts = finished.verdicts()
    if verdicts:
        console.print(_targets(finished, verdicts))
    for note in finished.notes:
        console.print(Text(f"note: {note}", style="yellow"))


def _table(finished: Finished, case: str) -> Table:
    """One case: a row per peer, a column per metric that was taken, and Skycap in relation to the peer."""
    samples = [sample for sample in finished.samples if sample.case == case]
    metrics = [metric for metric in finished.scenario.metrics if any(metric.name in s.values for s in samples)]
    peers = in_order(peer for metric in metrics for peer in _peers_in_order(finished))
    peers = [peer for peer in peers if any(sample.peer == peer for sample in samples)]
    compared = metrics[0] if metrics and SKYCAP in peers and len(peers) > 1 else None
    table = Table(title=finished.scenario.cases[case], title_justify="left", title_style="italic")
    table.add_column("")
    for metric in metrics:
        table.add_column(f"{metric.label}{f' ({metric.unit})' if metric.unit else ''}", justify="right")
    if compared:
        table.add_column(f"{SKYCAP} / this", justify="right")
    for peer in peers:
        cells = [_cell(summarize(samples, case, peer, metric.name), metric) for metric in metrics]
        if compared:
            cells.append(_ratio(ratio(samples, case, SKYCAP, peer, compared.name)) if peer != SKYCAP else "")
        table.add_row(peer, *cells, style="bold" if peer in (SKYCAP, SKYCAP_INTERPRETED) else "")
    return table


def _peers_in_order(finished: Finished) -> list[str]:
    first = min((sample.round for sample in finished.samples), default=0)
    return in_order(sample.peer for sample in finished.samples if sample.round == first)


def _cell(found: Figure | None, metric: Metric) -> str:
    if found is None:
        return "-"
    spread = f" ±{found.spread * 100:.0f}%" if found.rounds > 1 else ""
    return f"{found.median:,.{metric.digits}f}{spread}"


def _ratio(found: Figure | None) -> str:
    return "-" if found is None else f"{found.median:.2f} x"


def _targets(finished: Finished, verdicts: list[Verdict]) -> Table:
    """Every target: whether it was met, by whom, what was measured, what was promised, and where."""
    table = Table(title="targets", title_justify="left", title_style="italic")
    for column in ("", "who", "measured", "target", "figure", "case"):
        table.add_column(column)
    for verdict in verdicts:
        target, measured = verdict.target, verdict.measured
        metric = next(metric for metric in finished.scenario.metrics if metric.name == target.metric)
        bound = "at most" if target.bound is Bound.AT_MOST else "at least"
        digits = 2 if target.against else metric.digits
        unit = " x" if target.against else f" {metric.unit}".rstrip()
        span = f" ({measured.low:,.{digits}f} to {measured.high:,.{digits}f})" if measured.rounds > 1 else ""
        table.add_row(
            Text("met", style="green") if verdict.met else Text("NOT MET", style="bold red"),
            target.peer,
            f"{measured.median:,.{digits}f}{unit}{span}",
            f"{bound} {target.limit:g}{unit} {target.against}".rstrip(),
            metric.label,
            finished.scenario.cases[verdict.case],
        )
    return table

"""`python -m benchmarks [SCENARIO...]`.

Exit codes: 0 everything was measured (targets that were missed are shown, and are no failure of the run);
1 a peer answered wrongly or a program broke; 2 a bad argument or a missing tool; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from benchmarks import chart, machine, report, tools
from benchmarks.errors import BenchmarkError, ToolMissing
from benchmarks.peers import ALL_PEERS
from benchmarks.peers.known import INTERPRETER, Skycap
from benchmarks.progress import Progress
from benchmarks.results import Finished, Results
from benchmarks.run import Candidate, Run
from benchmarks.scenario import Scenario
from benchmarks.scenarios import SCENARIOS

RESULTS_FOLDER = Path(__file__).with_name("results")
_PLAIN_WIDTH = 120

_BUSY_LOAD = 0.7
"""Of the minute before the start; above it, somebody else needs one of the cores."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line; None stands for the scenario's own value."""

    scenarios: Sequence[Scenario]
    rounds: int | None
    duration: float | None
    peers: tuple[str, ...]


def _show_list(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        for scenario in SCENARIOS.values():
            click.echo(f"{scenario.name:<12} {scenario.summary}")
        context.exit()


@click.command(help="Measure Skycap beside Envoy, HAProxy, nginx and a plain aiohttp proxy. No SCENARIO: all of them.")
@click.argument("names", metavar="[SCENARIO]...", nargs=-1, type=click.Choice(list(SCENARIOS)))
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_show_list, help="List the scenarios."
)
@click.option(
    "--rounds", type=click.IntRange(1, 100), default=None, help="Turns of every peer, instead of the scenario's."
)
@click.option(
    "--duration", type=click.FloatRange(1, 600), default=None, help="Seconds per turn, instead of the scenario's."
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Choice([peer.name for peer in ALL_PEERS]),
    help="Only these; may be repeated.",
)
@click.option("--output", type=click.Choice(["table", "json"]), default="table", help="What standard output gets.")
@click.option("--install", is_flag=True, help="Install missing Debian packages first (needs root).")
def main(
    names: tuple[str, ...],
    rounds: int | None,
    duration: float | None,
    peers: tuple[str, ...],
    output: str,
    install: bool,
) -> None:
    wish = Wish([SCENARIOS[name] for name in names or SCENARIOS], rounds, duration, peers)
    # Ctrl-C and a polite kill end in the same place: everything that was started is stopped on the way out.
    signal.signal(signal.SIGTERM, _interrupt)
    messages = Console(stderr=True)
    try:
        if install:
            tools.install(tools.PACKAGES)
        results = measure(wish, messages, _console() if output == "table" else None)
    except ToolMissing as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(2)
    except BenchmarkError as error:
        click.echo(f"benchmarks: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("benchmarks: interrupted; everything that was started has been stopped", err=True)
        sys.exit(130)
    path = results.write(RESULTS_FOLDER)
    messages.print(f"\nresults: {_shown(path)}", highlight=False, soft_wrap=True)
    document = results.document()
    drawing = path.with_suffix(".svg")
    problem = chart.draw(document, drawing)
    messages.print(
        f"chart:   {f'not drawn: {problem}' if problem else _shown(drawing)}", highlight=False, soft_wrap=True
    )
    if output == "json":
        click.echo(json.dumps(document, indent=1))


def measure(wish: Wish, messages: Console, tables: Console | None) -> Results:
    """Run the scenarios of `wish` one after the other. `tables` gets each one's tables as soon as it is done."""
    programs = tools.require()
    cores = machine.assign(os.sched_getaffinity(0), machine.thread_siblings)
    machine.raise_file_limit()
    messages.print("preparing the sidecar's two builds; the first time it is compiled, which takes a minute")
    candidates, skipped = choose_peers(wish.peers)
    results = Results(
        started=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        commit=machine.commit(Path(__file__).parent),
        machine=machine.describe(cores),
        versions=machine.versions() | {c.peer.name: c.peer.version(c.program) for c in candidates},
        skipped=skipped,
    )
    report.print_header(tables or messages, results)
    if os.getloadavg()[0] > _BUSY_LOAD:
        messages.print(f"this machine is busy (load average {os.getloadavg()[0]:.1f}): do not publish what follows")
    if cores.shared:
        messages.print("only one core: throughput and latency mean little here, CPU per request still does")
    os.sched_setaffinity(0, cores.load)
    with Progress(messages) as progress:
        for scenario in wish.scenarios:
            finished = _run(scenario, wish, candidates, programs, cores, progress)
            results.finished.append(finished)
            if tables:
                report.print_scenario(tables, finished)
    return results


def choose_peers(names: Sequence[str]) -> tuple[list[Candidate], dict[str, str]]:
    """The installed peers among `names` (none: all), and why the others are missing. Compiles the sidecar."""
    found, skipped = [], {}
    for peer in ALL_PEERS:
        if names and peer.name not in names:
            continue
        program = tools.find(peer.program) if peer.program else INTERPRETER
        if isinstance(peer, Skycap):
            try:
                peer.prepare()
            except ToolMissing as error:
                skipped[peer.name] = str(error)
                continue
        if program is None:
            skipped[peer.name] = f"not found; install with: {tools.how_to_install([peer.program])}"
        else:
            found.append(Candidate(peer, program))
    return found, skipped


def _run(
    scenario: Scenario,
    wish: Wish,
    candidates: Sequence[Candidate],
    programs: dict[str, Path],
    cores: machine.Cores,
    progress: Progress,
) -> Finished:
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="skycap-bench-"))
    try:
        with ExitStack() as stack:
            run = Run(
                scenario=scenario,
                rounds=wish.rounds or scenario.rounds,
                duration=wish.duration or scenario.duration,
                candidates=candidates,
                tools=programs,
                cores=cores,
                folder=folder,
                progress=progress,
                stack=stack,
            )
            scenario.run(run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Finished(scenario, run.samples, run.notes, run.rounds, run.duration, time.monotonic() - began)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_PLAIN_WIDTH)


def _shown(path: Path) -> str:
    """Relative to where the person is, when it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

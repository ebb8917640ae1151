"""What a run leaves: JSON, tables, a chart; and the command line around it."""

from __future__ import annotations

import json
import signal
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from benchmarks import chart, cli, measure, report
from benchmarks.errors import ToolMissing, WrongAnswer
from benchmarks.figures import Sample
from benchmarks.results import Finished, Results
from benchmarks.scenarios import SCENARIOS


@pytest.fixture
def results() -> Results:
    samples = [
        Sample("shadow", peer, number, {"cpu_us": cpu + number, "rps": 1e6 / cpu, "busy": 99.0})
        for number in range(3)
        for peer, cpu in (("skycap", 20.0), ("envoy", 60.0))
    ]
    samples.append(Sample("shadow", "direct", 0, {"rps": 60_000.0}))
    machine: dict[str, object] = {
        "processor": "Test", "cores": 2, "memory_gib": 1.0, "virtual": True, "kernel": "6", "layout": {},
    }  # fmt: skip
    found = Results("2026-01-02T03:04:05Z", "abc123", machine, {"envoy": "1.2.3"}, {"nginx": "apt-get install nginx"})
    found.finished.append(Finished(SCENARIOS["http1"], samples, ["a note"], 3, 2.0, 10.0))
    return found


def test_the_json_has_figures_targets_and_every_sample(results: Results, tmp_path: Path) -> None:
    path = results.write(tmp_path / "results")
    assert path.name == "20260102T030405Z-abc123.json"
    document = json.loads(path.read_text())
    entry = document["scenarios"]["http1"]
    assert entry["figures"]["shadow"]["skycap"]["cpu_us"] == {"median": 21.0, "low": 20.0, "high": 22.0, "rounds": 3}
    assert len(entry["samples"]) == 7
    (target,) = [t for t in entry["targets"] if t["metric"] == "cpu_us" and t["against"] == "envoy"]
    assert target["met"] is True
    assert target["median"] == pytest.approx(21 / 61, abs=1e-4)
    assert document["skipped"] == {"nginx": "apt-get install nginx"}


def test_the_tables_show_figures_ratios_targets_and_notes(results: Results) -> None:
    out = StringIO()
    console = Console(file=out, width=120)
    report.print_header(console, results)
    report.print_scenario(console, results.finished[0])
    text = out.getvalue()
    assert "nginx is left out: apt-get install nginx" in text
    assert "21.0 ±5%" in text
    assert "0.34 x" in text
    assert "at most 0.36 x envoy" in text
    assert "note: a note" in text
    assert "NOT MET" not in text


def test_a_missed_target_is_said(results: Results) -> None:
    slow = [Sample("shadow", "skycap", number, {"cpu_us": 90.0}) for number in range(3)]
    others = [sample for sample in results.finished[0].samples if sample.peer != "skycap"]
    out = StringIO()
    report.print_scenario(Console(file=out, width=120), Finished(SCENARIOS["http1"], slow + others, [], 3, 2.0, 1.0))
    assert "NOT MET" in out.getvalue()


def test_the_chart_is_drawn_from_the_document(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "chart.svg"
    assert chart.draw(results.document(), path) == ""
    text = path.read_text()
    assert "CPU per request, keyed" in text
    assert "skycap" in text


def test_a_chart_of_nothing_says_so(results: Results, tmp_path: Path) -> None:
    results.finished.clear()
    assert chart.draw(results.document(), tmp_path / "chart.svg") == "nothing that it shows was measured"


def test_arrivals_must_match_the_answers() -> None:
    measure.check_arrivals("p", {"baseline": 0, "shadow": 103}, "shadow", 100, 4)
    with pytest.raises(WrongAnswer, match="p: 1 of 100 requests for shadow went elsewhere"):
        measure.check_arrivals("p", {"baseline": 1, "shadow": 100}, "shadow", 100, 4)
    for count in (99, 105):
        with pytest.raises(WrongAnswer, match=f"{count} requests reached shadow"):
            measure.check_arrivals("p", {"baseline": 0, "shadow": count}, "shadow", 100, 4)


def test_the_list_names_every_scenario() -> None:
    done = CliRunner().invoke(cli.main, ["--list"])
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.output.splitlines()] == list(SCENARIOS)


@pytest.mark.parametrize("arguments", [["nonsense"], ["--rounds", "0"], ["--duration", "-1"], ["--peer", "apache"]])
def test_bad_arguments_exit_with_two(arguments: list[str]) -> None:
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("error", "code"),
    [(ToolMissing("wrk not found"), 2), (WrongAnswer("envoy misrouted"), 1), (KeyboardInterrupt(), 130)],
)
def test_every_end_has_one_line_and_an_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> Results:
        raise error

    monkeypatch.setattr(cli, "measure", fail)
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    done = CliRunner().invoke(cli.main, ["http1"])
    assert done.exit_code == code
    assert done.stderr.startswith("benchmarks: ")
    assert done.stderr.count("\n") == 1

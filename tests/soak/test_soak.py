"""A short soak: the machinery works, and finds nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.soak.__main__ import main
from tests.soak.run import soak

SECONDS = 20.0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_short_soak_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    said: list[str] = []
    verdicts, problems = asyncio.run(soak(SECONDS, said.append))
    assert not [str(verdict) for verdict in verdicts if not verdict.good], problems
    assert len(verdicts) == 19
    assert problems == []
    assert len(said) > SECONDS / 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [["--minutes", "0"], ["--minutes", "x"], ["--hours", "1"], ["now"]])
def test_what_cannot_run(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err

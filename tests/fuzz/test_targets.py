"""The entry points hold on what we have: every seed, and a few hundred careless changes to each kind of them.

Coverage-guided runs are longer: a short one stands below under `slow`, a long one is `make fuzz`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.__main__ import TARGETS, fuzz, main
from tests.fuzz.frames import one_input
from tests.fuzz.seeds import seeds

CHANGES = 400
SLOW_SECONDS = int(os.environ.get("SKYCAP_FUZZ_SECONDS", "8"))


def _target(name: str) -> Callable[[bytes], None]:
    entry: Callable[[bytes], None] = importlib.import_module(f"tests.fuzz.{name}").one_input
    return entry


@pytest.mark.parametrize("name", TARGETS)
def test_the_first_line_is_an_invariant(name: str) -> None:
    first = (importlib.import_module(f"tests.fuzz.{name}").__doc__ or "").splitlines()[0]
    assert first.endswith(".")
    assert len(first) > 40


@pytest.mark.parametrize("name", TARGETS)
def test_the_invariant_holds_for_every_seed(name: str) -> None:
    entry, all_seeds = _target(name), list(seeds(name))
    assert len(all_seeds) >= 10
    for seed in all_seeds:
        entry(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_the_invariant_holds_for_changed_seeds(name: str) -> None:
    entry, all_seeds = _target(name), list(seeds(name))
    chance = random.Random(name)
    for _ in range(CHANGES):
        data = bytearray(chance.choice(all_seeds))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data) + 1)
            data[at : at + chance.randint(0, 2)] = chance.choice([b"", b"\r\n", b"\n", b" ", b"\0", b":", b"5", b","])
        entry(bytes(data))


@pytest.mark.slow
@pytest.mark.interpreted  # the fuzzer is guided by branches of Python code
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", TARGETS)
def test_the_invariant_survives_a_short_fuzz(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        reason = "needs atheris, which is not installed"
        if os.environ.get("SKYCAP_REQUIRE_TOOLS") == "1":
            pytest.fail(f"{reason} although SKYCAP_REQUIRE_TOOLS=1")
        pytest.skip(reason)
    assert fuzz(name, SLOW_SECONDS, tmp_path)


def test_an_unknown_target_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    assert capsys.readouterr().err.startswith("no target nothing; there are request_heads, ")


def test_an_input_can_be_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    assert main(["request_heads", "--replay", str(path)]) == 0
    assert capsys.readouterr().out == "the invariant holds\n"


def test_a_fault_behind_a_frame_that_has_ended_the_connection() -> None:
    """An upstream of HTTP/2 says GOAWAY and breaks a rule in the same read."""
    goaway = bytes.fromhex("0000080700000000000080")
    one_input(b"\x01\x05" + goaway + bytes(41) + b"\x01" + bytes(15) + b"\xff" * 14 + bytes(3))

"""One record, one line, whatever is in it."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from proxy.base import log
from proxy.base.text import one_line


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in (None, *log.OWN, "aiohttp.server")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    raising = logging.raiseExceptions
    yield
    logging.raiseExceptions = raising
    for logger, handlers, level in before:
        logger.handlers[:], logger.level = handlers, level


def written(form: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    log.configure(level, form, stream)
    return stream


def test_text() -> None:
    stream = written("text")
    logging.getLogger("skycap.feed").warning("%s is %d", "it", 7)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning skycap\.feed it is 7\n", stream.getvalue())


def test_json() -> None:
    stream = written("json")
    logging.getLogger("skycap.feed").warning("it is %d", 7)
    entry = json.loads(stream.getvalue())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry == {"level": "warning", "logger": "skycap.feed", "message": "it is 7"}


@pytest.mark.parametrize("form", sorted(log.FORMATS))
def test_a_record_is_one_line_and_drives_no_terminal(form: str) -> None:
    stream = written(form)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("skycap").exception("a\r\nforged \x1b[31mline\x00\x7f\x9b\u2028end")
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", line)
    assert "forged" in line
    assert "ValueError" in line


def test_levels() -> None:
    stream = written("text", "error")
    logging.getLogger("skycap").warning("ours, below the level")
    logging.getLogger("aiohttp").info("theirs, below warning")
    logging.getLogger("aiohttp").warning("theirs")
    logging.getLogger("skycap").error("ours")
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["theirs", "ours"]


def test_configuring_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    first = written("text")
    log.configure()
    logging.getLogger("skycap").info("hello")
    assert first.getvalue() == ""
    assert capsys.readouterr().err.endswith(" info skycap hello\n")


def test_a_log_that_cannot_be_written_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    stream = written("text")
    stream.close()
    logging.getLogger("skycap").error("lost")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "shown"), [("plain", "plain"), ("a\nb", r"a\nb"), ("\x1b", r"\x1b"), ("\u2029", r"\u2029"), ("é", "é")]
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_a_stranger_cannot_fill_it_with_tracebacks() -> None:
    """A malformed request at a listener of aiohttp's was 2 KB of them, for 18 bytes."""
    stream = written("text")
    logging.getLogger("aiohttp.server").error("Error handling request", exc_info=(ValueError, ValueError("x"), None))
    assert stream.getvalue() == ""

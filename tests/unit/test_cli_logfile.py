"""A server's log: lines in UTC on stderr, and a file a day where one is asked for."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taskyard.cli.logfile import DailyFile, start_logging

DAY = datetime(2026, 5, 1, 23, 59, 59, 500_000, tzinfo=UTC)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(before):
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)


def record(when: datetime, text: str) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": text})
    made.created = when.timestamp()
    return made


def test_each_day_has_its_file(tmp_path: Path) -> None:
    file = DailyFile(tmp_path)
    file.emit(record(DAY, "late"))
    file.emit(record(DAY.replace(day=2, hour=0), "early"))
    file.emit(record(DAY.replace(day=2, hour=1), "then"))
    file.close()
    assert (tmp_path / "executor-2026-05-01.log").read_text() == "late\n"
    assert (tmp_path / "executor-2026-05-02.log").read_text() == "early\nthen\n"


def test_a_restarted_server_goes_on_in_the_same_file(tmp_path: Path) -> None:
    for text in ("first", "second"):
        file = DailyFile(tmp_path)
        file.emit(record(DAY, text))
        file.close()
    assert (tmp_path / "executor-2026-05-01.log").read_text() == "first\nsecond\n"


def test_lines_go_to_stderr_and_to_the_file_in_utc(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start_logging("info", tmp_path / "logs")
    logging.getLogger("taskyard.server").info("at %s", "work")
    logging.getLogger("taskyard.server").debug("not said")
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO taskyard.server at work", line
    )
    (file,) = (tmp_path / "logs").iterdir()
    assert re.fullmatch(r"executor-\d{4}-\d\d-\d\d\.log", file.name)
    assert file.read_text() == f"{line}\n"


def test_a_planted_link_is_not_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    (tmp_path / "executor-2026-05-01.log").symlink_to(target)
    file = DailyFile(tmp_path)
    file.emit(record(DAY, "late"))
    assert target.read_text() == "mine"

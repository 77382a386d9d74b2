"""How a handler is tested: as a function, and on its way through the queue."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import handlers
import pytest
import sync

from taskyard import testing


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "HERE", tmp_path)


@pytest.fixture
def stage() -> Iterator[testing.Stage]:
    with testing.rehearse(handlers.yard) as stage:
        yield stage


def test_only_what_has_changed_is_copied() -> None:
    sync.fill(25)
    assert handlers.sync(batch_size=10)["rows"] == 25
    sync.fill(3)
    assert handlers.sync(batch_size=10)["rows"] == 3
    assert handlers.sync()["rows"] == 0


def test_an_attempt_goes_on_where_the_one_before_broke(
    stage: testing.Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync.fill(30)
    write, calls = handlers.write, []

    def break_once(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise sqlite3.OperationalError("the disk is full")
        write(*arguments)

    monkeypatch.setattr(handlers, "write", break_once)
    handlers.sync.enqueue(batch_size=10)
    assert [run.status for run in stage.drain(allow_failures=True)] == ["failed"]
    stage.travel("10m")
    (run,) = stage.drain()
    assert run.output["rows"] == 20

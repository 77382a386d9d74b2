"""The judge must be able to condemn: each promise is broken here once, by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.history import Attempt, Journal, busiest, judge_table, outlived, overlaps, repeats
from harness.sql import Database

KILLED = 99


def attempt(
    task: int, fence: int, start: float, end: float | None, supervisor: int = 1, pid: int = 10
) -> Attempt:
    return Attempt("jobs", task, fence, 1, supervisor, pid, start, end, None, end or start)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """One completed Task with its Run: the blameless history."""
    database = Database(f"sqlite:///{tmp_path}/history.db")
    database.run("CREATE TABLE jobs (id integer, status integer, fence integer, owner text)")
    database.run("CREATE TABLE ty_runs (task_table text, task_id int, fence int, status text)")
    database.run("INSERT INTO jobs VALUES (1, 2, 2, NULL)")
    database.run("INSERT INTO ty_runs VALUES ('jobs', 1, 1, 'lost'), ('jobs', 1, 2, 'completed')")
    yield database
    database.close()


def test_a_blameless_history_has_no_findings(db: Database) -> None:
    assert judge_table(db, "jobs", [1]) == []
    calm = [attempt(1, 1, 0, 1), attempt(2, 1, 0.5, 2)]
    assert overlaps(calm) == repeats(calm) == []


@pytest.mark.parametrize(
    ("crime", "word"),
    [
        ("DELETE FROM jobs", "lost"),
        ("UPDATE jobs SET status = 1", "lost"),
        ("UPDATE jobs SET status = 0", "lost"),
        ("UPDATE jobs SET owner = 'somebody'", "owner"),
        ("UPDATE jobs SET fence = 3", "fence"),
        ("INSERT INTO jobs VALUES (2, 4, 0, NULL)", "unexpected"),
        ("DELETE FROM ty_runs WHERE fence = 1", "fence"),
        ("INSERT INTO ty_runs VALUES ('jobs', 1, 2, 'lost')", "fence"),
        ("UPDATE ty_runs SET status = 'completed'", "stale accepted"),
        ("UPDATE ty_runs SET status = 'lost'", "stale accepted"),
        (
            "UPDATE ty_runs SET status = CASE fence WHEN 1 THEN 'completed' ELSE 'lost' END",
            "repeat",
        ),
    ],
)
def test_a_broken_promise_in_the_tables_is_found(db: Database, crime: str, word: str) -> None:
    db.run(crime)
    assert word in {finding.split(":")[0] for finding in judge_table(db, "jobs", [1])}


def test_two_attempts_at_the_same_time_are_found_unless_the_first_was_killed() -> None:
    found = overlaps([attempt(1, 1, 0.0, 2.0), attempt(1, 2, 1.0, 3.0)])
    assert len(found) == 1
    assert found[0].startswith("overlap: jobs/1 fence 2")
    assert overlaps([attempt(1, 1, 0.0, 2.0, KILLED), attempt(1, 2, 1.0, 3.0)], {KILLED}) == []


def test_an_attempt_that_never_ended_overlaps_every_later_one() -> None:
    assert overlaps([attempt(1, 1, 0.0, None), attempt(1, 2, 50.0, 51.0)])


def test_a_task_that_ended_and_ran_again_is_found_unless_its_server_was_killed() -> None:
    runs = [attempt(1, 1, 0.0, 1.0, KILLED), attempt(1, 2, 2.0, 3.0)]
    assert repeats(runs)
    assert repeats(runs, {KILLED}) == []


def test_a_handler_that_goes_on_after_the_kill_of_its_supervisor_is_found() -> None:
    runs = [attempt(1, 1, 0.0, 9.0, KILLED)]
    assert outlived(runs, {KILLED: 5.0}, grace=2.0)
    assert outlived(runs, {KILLED: 8.0}, grace=2.0) == []


def test_the_busiest_moment_counts_only_what_goes_on_after_the_given_time() -> None:
    runs = [attempt(1, 1, 0, 4), attempt(2, 1, 1, 2), attempt(3, 1, 3, 5), attempt(4, 1, 3, 5, 2)]
    assert busiest(runs, supervisor=1, since=0) == 2
    assert busiest(runs, supervisor=1, since=4.5) == 1
    assert busiest(runs, supervisor=1, since=6) == 0


def test_the_journal_is_read_while_its_last_line_is_still_being_written(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    start = {
        "event": "start", "table": "jobs", "id": 7, "fence": 2, "run": 5, "supervisor": 3,
        "pid": 4, "at": 1.5,
    }  # fmt: skip
    end = {**start, "event": "end", "at": 2.5}
    path.write_text(json.dumps(start) + "\n" + json.dumps(end) + "\n" + json.dumps(start)[:20])
    journal = Journal(path)
    assert journal.attempts() == [Attempt("jobs", 7, 2, 5, 3, 4, 1.5, 2.5, None, 2.5)]
    assert (journal.count("start"), journal.count("end")) == (1, 1)

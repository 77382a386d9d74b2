"""Poison: handlers that die, hang, swallow memory or can't be shown hurt only their own Task."""

from __future__ import annotations

import json
from collections.abc import Callable

import psutil
import pytest

from harness.history import runs_of
from harness.lanes import one_lane
from harness.servers import Fleet
from harness.sql import Database, Row, insert_tasks, is_adopted
from harness.waiting import wait_until

pytestmark = pytest.mark.crash

KINDS = ("exit_now", "spin", "unspeakable", "leave", "segfault", "big", "nan")
SAYS = {
    "exit_now": ("exit", "7"),
    "spin": ("2",),
    "spin_async": ("2",),
    "unspeakable": ("Unspeakable",),
    "leave": ("SystemExit", "3"),
    "segfault": ("SIGSEGV", "signal 11"),
    "hoard": ("MemoryError", "memory"),
}
"""Words of which at least one must stand in the error of a Task that this kind has poisoned."""

RESULT_LIMIT = 256 * 1024 + 4096


@one_lane
@pytest.mark.parametrize("isolation", ["shared", "process"])
def test_poison_ends_failed_with_a_readable_error_while_good_tasks_all_complete(
    fleet: Fleet, db: Database, jobs: Callable[..., None], isolation: str
) -> None:
    kinds = [*KINDS, "spin_async" if isolation == "shared" else "hoard"]
    jobs(max_workers=20)
    half = 500
    before = insert_tasks(db, "jobs", "work", [json.dumps({"seconds": 0.01})] * half)
    poisoned = {
        kind: insert_tasks(db, "jobs", f"{kind}_{isolation}", [None], max_retries=0)[0]
        for kind in kinds
    }
    after = insert_tasks(db, "jobs", "work", [json.dumps({"seconds": 0.01})] * half)
    server = fleet.start("server-001", runners=2)
    pid, supervisor = server.pid, psutil.Process(server.pid)

    wait_until(
        lambda: db.value("SELECT COUNT(*) AS n FROM jobs WHERE status IN (0, 1)", patient=10) == 0,
        60,
        "every row has come to an end",
        every=0.2,
        detail=lambda: f"{unfinished(db)} {fleet.logs()}",
    )

    assert server.pid == pid and server.alive
    assert supervisor.memory_info().rss < 300 * 1024 * 1024
    good = f"({', '.join(str(i) for i in [*before, *after])})"
    assert db.run(f"SELECT status, COUNT(*) AS n FROM jobs WHERE id IN {good} GROUP BY status") == [
        {"status": 2, "n": 2 * half}
    ]
    assert db.value(f"SELECT COUNT(*) AS n FROM jobs WHERE id IN {good} AND retry_count <> 0") == 0
    problems = [
        problem
        for kind, task in poisoned.items()
        for problem in judge_poison(db, kind, task, len(fleet.journal.starts_of(task)))
    ]
    assert problems == []


def unfinished(db: Database) -> list[Row]:
    return db.run(
        "SELECT id, task_type, status, retry_count, fence, error_msg FROM jobs"
        " WHERE status IN (0, 1)"
    )


def judge_poison(db: Database, kind: str, task: int, starts: int) -> list[str]:
    """What is wrong with the end of one poisoned Task."""
    [row] = db.run("SELECT status, error_msg, owner, fence FROM jobs WHERE id = ?", task)
    runs = db.run(
        "SELECT status, error, output FROM ty_runs WHERE task_id = ? ORDER BY fence", task
    )
    told = f"{kind}: {row}, Runs {[str(run)[:300] for run in runs]}"
    found = []
    if row["owner"] is not None or starts == 0 or len(runs) != row["fence"]:
        found.append(f"badly ended: {told}")
    if kind in ("big", "nan"):
        # Cut or refused, both are fair; what must not be is a huge or an unreadable output.
        if row["status"] not in (2, 3) or any(bad_output(run["output"]) for run in runs):
            found.append(f"bad output: {told}"[:2000])
    elif row["status"] != 3:
        found.append(f"not failed: {told}")
    if row["status"] == 3:
        message = str(row["error_msg"] or "")
        wanted = SAYS.get(kind, ())
        if not message.strip() or (
            wanted and not any(w.lower() in message.lower() for w in wanted)
        ):
            found.append(f"unreadable error_msg: {told}")
    last = str(runs[-1]["status"]) if runs else ""
    if kind.startswith("spin") and last != "timeout":
        found.append(f"not a timeout: {told}")
    return found


def bad_output(output: object) -> bool:
    if output is None:
        return False
    text = output if isinstance(output, str) else json.dumps(output)
    if len(text) > RESULT_LIMIT:
        return True
    try:
        json.loads(text, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return True
    return False


@one_lane
def test_a_task_that_kills_its_process_each_time_is_given_up_after_its_retries(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    # retry_interval keeps the default back-off of seconds out of the test.
    server = fleet.start("server-001")
    wait_until(lambda: is_adopted(db, "jobs"), 40, "the table is adopted", detail=fleet.logs)
    for kind in ("exit_now_process", "exit_now_shared"):
        db.run(
            "INSERT INTO jobs (task_type, schedule_time, max_retries, retry_interval)"
            f" VALUES (?, {db.now}, 2, 0.2)",
            kind,
        )

    wait_until(
        lambda: db.run("SELECT DISTINCT status FROM jobs") == [{"status": 3}],
        25,
        "both are failed",
        detail=lambda: f"{unfinished(db)} {fleet.logs()}",
    )
    for row in db.run("SELECT id, task_type, fence, retry_count, error_msg FROM jobs ORDER BY id"):
        runs = runs_of(db, "jobs", row["id"])
        assert runs.count("failed") + runs.count("lost") >= 3, (row, runs)
        assert len(runs) == row["fence"] <= 5, (row, runs)
        assert row["error_msg"]
    assert server.alive


def test_a_row_with_broken_json_or_an_unknown_type_says_why_and_stops_nothing(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    [broken] = insert_tasks(db, "jobs", "work", ['{"seconds": '])
    [wrong] = insert_tasks(db, "jobs", "work", ['{"seconds": "soon"}'])
    [extra] = insert_tasks(db, "jobs", "work", ['{"minutes": 1}'])
    [unknown] = insert_tasks(db, "jobs", "wrok", [None])
    [good] = insert_tasks(db, "jobs", "work", [None])
    server = fleet.start("server-001")

    def ended() -> dict[int, int]:
        found = db.run("SELECT id, status FROM jobs")
        return {row["id"]: row["status"] for row in found}

    wait_until(
        lambda: ended() | {unknown: 0} == {broken: 3, wrong: 3, extra: 3, unknown: 0, good: 2},
        20,
        "all end",
        detail=lambda: f"{ended()} {fleet.logs()}",
    )
    errors = {row["id"]: str(row["error_msg"]) for row in db.run("SELECT id, error_msg FROM jobs")}
    assert "TY204" in errors[broken]
    assert "TY203" in errors[wrong] and "seconds" in errors[wrong]
    assert "TY203" in errors[extra] and "minutes" in errors[extra]
    assert fleet.journal.starts_of(unknown) == []
    assert server.alive

"""The task history of requirement 3: each question against a plain sort, and how far it reaches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from conformance.past import START, Past, micros
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import Permission
from taskyard.core.errors import NotAllowed, RunUnknown
from taskyard.core.lifecycle import RunStatus
from taskyard.runs import history
from taskyard.runs.history import SORTS, Wanted, history_names, list_history, show_history
from taskyard.runs.retold import STATUSES

Rows = list[dict[str, Any]]

NAMES = ("mail", "sync", "report")


@pytest.fixture
def past(lane: str) -> Iterator[Past]:
    past = Past(lane)
    yield past
    past.db.close()


def ask(past: Past, **wanted: Any) -> tuple[Rows, int]:
    return list_history(past.db, LOCAL, Wanted(**wanted))


def ids(past: Past, **wanted: Any) -> list[int]:
    return [row["id"] for row in ask(past, **wanted)[0]]


def fill(past: Past, count: int) -> None:
    """Runs of all statuses, in batches of five that were claimed at once and started later."""
    chance = random.Random(7)
    numbers = chance.sample(range(1, 10 * count), count)
    statuses = [status for status in RunStatus if status is not RunStatus.RUNNING]
    for n, run_id in enumerate(numbers):
        took = chance.choice([0.001, 0.5, 0.5, 2.0, 30.0])
        past.run(
            run_id,
            second=n + chance.random(),
            ended=n + took,
            task_type=chance.choice(NAMES),
            status=chance.choice(statuses),
            execution_time=took,
        )
        batch = micros(START) + n // 5 * 5_000_000
        past.db.run(
            lambda tx, run_id=run_id, batch=batch: tx.execute(  # type: ignore[misc]
                "UPDATE ty_runs SET claimed_at = :claim WHERE id = :id", claim=batch, id=run_id
            )
        )
    past.live(10 * count + 1, second=3, task_type="mail")
    past.live(10 * count + 2, second=1, task_type="sync")


def sorted_plainly(rows: Rows, sort: str, descending: bool) -> list[int]:
    rows = sorted(rows, key=lambda row: -row["id"])
    known = [row for row in rows if row[sort] is not None]
    known.sort(key=lambda row: row[sort], reverse=descending)
    return [row["id"] for row in known + [row for row in rows if row[sort] is None]]


def test_every_question_has_the_answer_of_a_plain_sort(past: Past) -> None:
    fill(past, 60)
    every, total = ask(past)
    assert (len(every), total) == (62, 62)
    ours = {run["id"]: run["status"] for run in past.db.read(_statuses)}
    for row in every:
        assert ours.get(row["id"], "running") in STATUSES[row["status"]]
    for status, task, sort, down in product(
        (None, *STATUSES), (None, *NAMES), SORTS, (True, False)
    ):
        expected = [
            row for row in every if status in (None, row["status"]) and task in (None, row["task"])
        ]
        wanted = {"status": status, "task": task, "sort": sort, "descending": down}
        in_order = sorted_plainly(expected, sort, down)
        assert ids(past, **wanted) == in_order, wanted
        rows, total = ask(past, **wanted, limit=5, offset=3)
        assert ([row["id"] for row in rows], total) == (in_order[3:8], len(in_order)), wanted


def _statuses(tx: Any) -> Rows:
    rows: Rows = tx.rows("SELECT id, status FROM ty_runs")
    return rows


def test_it_reaches_back_so_far_and_orders_what_it_reads(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(past, 60)
    newest = ids(past)
    for name, number in {"WINDOW": 40, "READ": 15, "_SLACK": 10}.items():
        monkeypatch.setattr(history, name, number)
    # The two live ones are the oldest here, and never out of reach.
    assert ids(past, limit=10) == newest[:10]
    for sort, down in product(SORTS, (True, False)):
        pages = [ask(past, sort=sort, descending=down, limit=7, offset=n) for n in range(0, 60, 7)]
        walked = [row["id"] for rows, _ in pages for row in rows]
        assert {total for _, total in pages} == {40}
        assert len(walked) == len(set(walked)) == 40, (sort, down)
        assert set(walked) <= set(newest[:40]) | set(newest[-2:])
    rows, _ = ask(past, sort="duration", limit=40)
    ordered, older = rows[:15], rows[15:]
    assert [row["id"] for row in ordered] == sorted_plainly(ordered, "duration", True)
    assert [row["id"] for row in older] == sorted_plainly(older, "started_at", True)
    assert {row["id"] for row in ordered} <= set(newest[:20])


def test_a_name_and_a_status_together_are_looked_for_among_the_newest(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(30):
        past.run(n + 1, second=n, task_type="mail", status="failed" if n % 10 == 0 else "completed")
    past.run(99, second=99, task_type="sync", status="failed")
    monkeypatch.setattr(history, "READ", 15)
    looked_at = [n + 1 for n in range(29, 14, -1) if n % 10 != 0]
    found = ids(past, task="mail", status="success")
    assert found[: len(looked_at)] == looked_at
    assert found == [n + 1 for n in range(29, -1, -1) if n % 10 != 0][: len(found)]
    # There are few that failed, so all of them can be looked at.
    assert ids(past, task="mail", status="failed") == [21, 11, 1]


TRACEBACK = """Traceback (most recent call last):
  File "/app/handlers.py", line 7, in send
    raise LookupError(text)
LookupError: no such address:
someone@example.com"""


def test_one_run_says_what_it_got_what_it_died_of_and_what_it_logged(past: Past) -> None:
    past.run(1, payload='{"to": "ada", "api_token": "hush"}', status="failed", error=TRACEBACK)
    at = "2026-03-01T12:00:00.123Z"
    past.log(1, f"{at} INFO task.mail first\n{at} ERROR app broken:\n  in two lines\n", f"{at} ")
    run = show_history(past.db, LOCAL, 1)
    details, logs = run["task_details"], run["logs"]
    assert (run["task"], run["status"], run["duration"]) == ("mail", "failed", 1_000)
    assert (run["db_id"], run["run_id"]) == (None, None)
    assert details["status"] == "failed"
    assert details["exception"] == "LookupError"
    assert details["message"] == "no such address:\nsomeone@example.com"
    assert details["stacktrace"] == TRACEBACK.splitlines()
    assert details["original-info"]["to"] == "ada"
    assert "hush" not in str(run)
    assert [(e["level"], e["fqns"], e["msg"]) for e in logs] == [
        ("INFO", "task.mail", "first"),
        ("ERROR", "app", "broken:\n  in two lines\n" + f"{at} "),
    ]
    assert {(e["timestamp"], e["process_uuid"]) for e in logs} == {(at, "s")}


def test_of_a_long_log_the_end_is_shown(past: Past) -> None:
    past.run(1)
    lines = [f"2026-03-01T12:00:00.000Z INFO app line {n}\n" for n in range(130)]
    past.log(1, "".join(lines[:70]), "".join(lines[70:]))
    logs = show_history(past.db, LOCAL, 1)["logs"]
    assert [e["msg"] for e in logs[:2]] == ["[truncated] 30 messages", "line 30"]
    assert (len(logs), logs[-1]["msg"]) == (101, "line 129")


def test_a_live_run_has_begun_and_nothing_more(past: Past) -> None:
    past.live(7, second=5, task_params='{"n": 1}')
    [row] = ask(past, status="started")[0]
    assert (row["id"], row["ended_at"], row["duration"]) == (7, None, None)
    assert row["task_details"] == {"n": 1}
    assert show_history(past.db, LOCAL, 7)["started_at"] == row["started_at"]
    with pytest.raises(RunUnknown):
        show_history(past.db, LOCAL, 8)


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (None, {}),
        ("[1]", {"payload": [1]}),
        ("not JSON", {"payload": "not JSON"}),
        ('{"text": "' + 2_000 * "x" + '"}', {"truncated": True}),
    ],
)
def test_a_list_shows_short_details(past: Past, payload: str | None, shown: dict[str, Any]) -> None:
    past.run(1, payload=payload)
    [row] = ask(past)[0]
    assert row["task_details"] == shown
    assert len(str(show_history(past.db, LOCAL, 1)["task_details"])) >= len(payload or "")


def test_a_dropped_table_hides_its_live_runs_only(past: Past) -> None:
    past.queue("other", "other_tasks")
    past.live(5, table="other_tasks", queue="other")
    past.run(1)
    past.db.run(lambda tx: tx.execute("DROP TABLE other_tasks"))
    assert ids(past) == [1]


def test_it_is_for_those_who_monitor(past: Past) -> None:
    past.run(1, tenant_id="acme")
    monitor = Caller("m", "monitor", frozenset({Permission.MONITORING}), frozenset({"other"}))
    assert [row["id"] for row in list_history(past.db, monitor, Wanted())[0]] == [1]
    assert history_names(past.db, monitor) == ["mail"]
    nobody = Caller("v", "viewer", frozenset({Permission.RUNS_READ}), None)
    for verb in (
        lambda: list_history(past.db, nobody, Wanted()),
        lambda: show_history(past.db, nobody, 1),
        lambda: history_names(past.db, nobody),
    ):
        with pytest.raises(NotAllowed):
            verb()

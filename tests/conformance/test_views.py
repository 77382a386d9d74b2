"""Views: reports read history and schedules in the words of the requirements, on each database."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from conformance.planned import Planned, at
from conformance.spine import Spine, ended
from taskyard.core.errors import ViewTaken
from taskyard.core.lifecycle import Kind
from taskyard.runs.views import drop_views, make_views

NAMES = ["job_runs", "task_history", "infra_job", "infra_job_log"]


@pytest.fixture
def planned(spine: Spine) -> Planned:
    """A schedule that has fired three times: one run completed, one failed, one goes on."""
    planned = Planned(spine)
    limits: dict[str, Any] = {"retry_interval": 300, "monitor_timeout": 1800}
    tick = planned.add(misfire="all", retry_count=0, task_params={"n": 1}, **limits)
    planned.set_clock(tick)
    assert planned.fire(at(2)) == 3
    first, second, _ = sorted(spine.claim(), key=lambda row: row.id)
    spine.settle(ended(first, output='{"ok": true}', duration=1.5))
    spine.settle(ended(second, Kind.FAILED, error="Traceback\nValueError: no", duration=0.25))
    return planned


def rows(spine: Spine, view: str) -> list[dict[str, Any]]:
    return spine.rows(f"SELECT * FROM {view} ORDER BY id")


def test_runs_in_the_words_of_requirement_1(planned: Planned) -> None:
    spine = planned.spine
    assert make_views(planned.db) == NAMES
    completed, failed, live = rows(spine, "job_runs")
    assert [run["status"] for run in (completed, failed, live)] == [
        "completed",
        "failed",
        "running",
    ]
    assert {run["job_class"] for run in (completed, failed, live)} == {"work"}
    assert (completed["execution_time"], completed["output"]) == (1.5, '{"ok": true}')
    assert orjson.loads(live["payload"]) == {"n": 1}
    assert live["completed_at"] is None
    assert live["started_at"] is not None
    assert {run["queue"] for run in (completed, failed, live)} == {"default"}
    assert [run["job_id"] for run in (completed, failed, live)] == [1, 2, 3]


def test_runs_in_the_words_of_requirement_3(planned: Planned) -> None:
    make_views(planned.db)
    completed, failed, live = rows(planned.spine, "task_history")
    assert [run["status"] for run in (completed, failed, live)] == ["success", "failed", "started"]
    assert [run["duration"] for run in (completed, failed, live)] == [1500, 250, None]
    assert orjson.loads(completed["task_details"]) == {"n": 1}
    details = orjson.loads(failed["task_details"])
    assert (details["status"], details["message"][-2:]) == ("failed", "no")
    assert live["ended_at"] is None


def test_schedules_and_their_runs_in_the_words_of_requirement_4(planned: Planned) -> None:
    make_views(planned.db)
    [job] = rows(planned.spine, "infra_job")
    wanted = {
        "name": "tick",
        "status": 1,
        "handlerName": "work",
        "handlerParam": '{"n":1}',
        "cronExpression": "* * * * * *",
        "retryCount": 0,
        "retryInterval": 300,
        "monitorTimeout": 1800,
    }
    assert {name: job[name] for name in wanted} == wanted
    log = rows(planned.spine, "infra_job_log")
    assert [entry["jobId"] for entry in log] == [job["id"]] * 3
    assert [entry["executeIndex"] for entry in log] == [1, 2, 3]
    assert [entry["status"] for entry in log] == [1, 0, None]
    assert [entry["result"] for entry in log][:2] == ['{"ok": true}', "Traceback\nValueError: no"]


def test_views_are_made_anew_with_the_tables_that_have_come(planned: Planned) -> None:
    spine = planned.spine
    make_views(planned.db)
    spine.queue("mail", "mail_tasks")
    assert make_views(planned.db) == NAMES
    spine.put("work", queue="mail")
    [row] = spine.claim(1, queue="mail", table="mail_tasks")
    assert row.run_id in [run["id"] for run in rows(spine, "job_runs")]


@pytest.mark.parametrize("view", NAMES)
def test_nothing_is_written_through_a_view(planned: Planned, view: str) -> None:
    make_views(planned.db)
    with pytest.raises(Exception, match=r"(?i)view|updatable|modify"):
        planned.spine.execute(f"DELETE FROM {view}")


def test_what_is_somebody_elses_is_left_alone(planned: Planned) -> None:
    spine = planned.spine
    spine.execute("CREATE TABLE job_runs (id integer)")
    with pytest.raises(ViewTaken, match="job_runs"):
        make_views(planned.db)
    assert make_views(planned.db, "ty_") == [f"ty_{name}" for name in NAMES]
    assert drop_views(planned.db, "ty_") == [f"ty_{name}" for name in NAMES]
    assert drop_views(planned.db, "ty_") == []
    spine.execute("DROP TABLE job_runs")
    spine.execute("CREATE VIEW job_runs AS SELECT 1 AS id")
    with pytest.raises(ViewTaken):
        drop_views(planned.db)

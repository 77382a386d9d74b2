"""The yard: registering, enqueuing, and the handles that come back (on SQLite)."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import taskyard
from taskyard import Context, Yard, testing
from taskyard.core.errors import (
    BadSetting,
    DuplicateTask,
    HandlerTwice,
    NotNow,
    ParamsInvalid,
    ParamsNotJson,
    QueueUnknown,
    TaskFailed,
    TaskUnknown,
    WaitTimedOut,
)

yard = Yard()


@yard.handler("email", queue="mail", max_retries=7, excl_key="to-{to}")
def send_email(ctx: Context, to: str, subject: str = "-") -> dict[str, str]:
    return {"to": to}


@yard.handler("fail", max_retries=0)
async def fail() -> None:
    raise RuntimeError("as asked")


@pytest.fixture
def stage() -> Iterator[testing.Stage]:
    with testing.rehearse(yard) as stage:
        yield stage


def columns(ref: str) -> dict[str, Any]:
    queue, _, task_id = ref.partition("/")
    sql = f"SELECT * FROM {queue}_tasks WHERE id = :id"
    return yard.database.read(lambda tx: tx.rows(sql, id=int(task_id)))[0]


# --- Enqueuing -----------------------------------------------------------------------------------


def test_a_handler_is_enqueued_with_the_parameters_of_a_call(stage: testing.Stage) -> None:
    task = send_email.enqueue("ada", subject="hi")

    assert task.ref == f"mail/{task.id}"
    row = columns(task.ref)
    assert json.loads(row["task_params"]) == {"to": "ada", "subject": "hi"}
    assert (row["max_retries"], row["excl_key"], row["priority"]) == (7, "to-ada", 0)


def test_a_task_is_enqueued_by_the_name_of_its_type(stage: testing.Stage) -> None:
    known = columns(yard.enqueue("email", {"to": "ada"}).ref)
    unknown = columns(yard.enqueue("elsewhere", {"x": [1]}, queue="mail").ref)

    assert (known["task_type"], known["max_retries"], known["excl_key"]) == ("email", 7, "to-ada")
    assert (unknown["task_type"], json.loads(unknown["task_params"])) == ("elsewhere", {"x": [1]})


def test_options_say_how_a_task_runs(stage: testing.Stage) -> None:
    stage.queue("other")
    task = send_email.options(
        queue="other",
        priority=5,
        unique_key="u",
        excl_key="e",
        tenant_id="acme",
        timeout="90s",
        max_retries=1,
        retry_interval="2m",
    ).enqueue(to="ada")

    row = columns(task.ref)

    assert task.ref.startswith("other/")
    wanted = {
        "priority": 5,
        "unique_key": "u",
        "excl_key": "e",
        "tenant_id": "acme",
        "timeout": 90.0,
        "max_retries": 1,
        "retry_interval": 120.0,
    }
    assert {name: row[name] for name in wanted} == wanted


def test_a_task_may_be_due_later(stage: testing.Stage) -> None:
    berlin = Yard(default_time_zone="Asia/Shanghai")
    later = datetime.now(UTC) + timedelta(hours=2)
    naive = (datetime.now(UTC) + timedelta(hours=8, minutes=30)).replace(tzinfo=None)

    send_email.options(delay="5m").enqueue(to="a")
    send_email.options(schedule_time=later).enqueue(to="b")
    with berlin.moved_to(yard.settings.database_url):
        berlin.enqueue("email", {"to": "c"}, queue="mail", schedule_time=naive)

    due = {task.params["to"]: task.due_in for task in stage.enqueued()}
    assert due == pytest.approx({"a": 300, "b": 7200, "c": 1800}, abs=20)


def test_async_code_enqueues_without_blocking_its_loop(stage: testing.Stage) -> None:
    async def both() -> list[str]:
        one = await send_email.aenqueue(to="ada")
        two = await yard.aenqueue("email", {"to": "eve"})
        three = await send_email.options(priority=1).aenqueue("bob")
        return [one.ref, two.ref, three.ref]

    assert len(set(asyncio.run(both()))) == 3


def test_many_tasks_go_in_at_once_or_not_at_all(stage: testing.Stage) -> None:
    tasks = yard.enqueue_many([("email", {"to": str(n)}) for n in range(2500)], priority=2)

    assert len({task.ref for task in tasks}) == 2500
    with pytest.raises(ParamsInvalid):
        yard.enqueue_many([("email", {"to": "x"}), ("email", {"to": 1})])
    assert len(stage.enqueued()) == 2500


def test_what_is_wrong_is_refused_at_the_door(stage: testing.Stage) -> None:
    with pytest.raises(ParamsInvalid, match='"to" must be text, got 5'):
        send_email.enqueue(to=5)  # type: ignore[arg-type]
    with pytest.raises(ParamsInvalid, match="must be an object"):
        yard.enqueue("email", ["ada"])  # type: ignore[arg-type]
    with pytest.raises(ParamsNotJson):
        yard.enqueue("elsewhere", {"x": object()})
    with pytest.raises(QueueUnknown, match='Did you mean "mail"'):
        yard.enqueue("email", {"to": "ada"}, queue="mial")
    with pytest.raises(ValueError, match="is not a duration"):
        send_email.options(delay="soon").enqueue(to="ada")
    assert stage.enqueued() == []


def test_a_second_task_with_a_live_unique_key_names_the_first(stage: testing.Stage) -> None:
    first = send_email.options(unique_key="k").enqueue(to="ada")

    with pytest.raises(DuplicateTask) as twice:
        send_email.options(unique_key="k").enqueue(to="eve")

    assert twice.value.existing == first.ref
    stage.drain()
    assert send_email.options(unique_key="k").enqueue(to="eve").id != first.id


def test_a_task_goes_with_the_callers_transaction(stage: testing.Stage) -> None:
    engine = sa.create_engine(yard.settings.database_url)
    with engine.connect() as connection:
        send_email.options(connection=connection).enqueue(to="rolled back")
    with engine.begin() as connection:
        send_email.options(connection=connection).enqueue(to="kept")
    engine.dispose()
    raw = sqlite3.connect(str(yard.database.url.database))
    send_email.options(connection=raw).enqueue(to="rolled back")
    raw.rollback()
    raw.close()

    assert [task.params["to"] for task in stage.enqueued()] == ["kept"]


# --- Handles -------------------------------------------------------------------------------------


def test_a_handle_follows_its_task_to_the_end(stage: testing.Stage) -> None:
    task = send_email.enqueue(to="ada")
    assert (task.status(), task.runs()) == ("pending", [])
    with pytest.raises(WaitTimedOut):
        task.wait(timeout=0.01)

    stage.drain()

    assert task.status() == "completed"
    assert task.wait(timeout=5) == {"to": "ada"}
    (run,) = task.runs()
    assert (run["status"], json.loads(run["payload"])) == ("completed", {"to": "ada"})


def test_waiting_for_a_task_that_fails_raises_its_error(stage: testing.Stage) -> None:
    task = fail.enqueue()
    stage.drain(allow_failures=True)

    with pytest.raises(TaskFailed, match="RuntimeError: as asked"):
        task.wait()

    assert "as asked" in task.runs()[0]["error"]


def test_a_task_can_be_cancelled_and_retried(stage: testing.Stage) -> None:
    task = send_email.enqueue(to="ada")

    task.cancel("not wanted")

    assert task.status() == "cancelled"
    with pytest.raises(NotNow):
        task.cancel()
    task.retry()
    assert task.status() == "pending"


def test_a_task_is_found_by_its_name(stage: testing.Stage) -> None:
    task = send_email.enqueue(to="ada")

    assert yard.task(task.ref).status() == "pending"
    with pytest.raises(TaskUnknown):
        yard.task("mail/999999").status()
    with pytest.raises(TaskUnknown):
        yard.task("nonsense")


# --- The object itself ---------------------------------------------------------------------------


def test_two_handlers_of_one_name_are_refused() -> None:
    with pytest.raises(HandlerTwice):
        yard.handler("email")(fail.function)


def test_settings_come_from_arguments_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASKYARD_DATABASE_URL", "sqlite:///environment.db")

    assert Yard().settings.database_url.endswith("environment.db")
    assert Yard("sqlite:///given.db").settings.database_url.endswith("given.db")
    with pytest.raises(BadSetting):
        _ = Yard("nonsense").settings


def test_making_a_yard_touches_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    Yard("sqlite:///jobs.db").handler("a")(fail.function)

    assert os.listdir(tmp_path) == []


def test_a_forked_process_opens_connections_of_its_own(stage: testing.Stage) -> None:
    parent = yard.database
    child = os.fork()
    if child == 0:
        os._exit(0 if yard.database is not parent else 1)

    assert os.waitpid(child, 0)[1] == 0
    assert yard.database is parent


def test_the_public_names_are_all_there_and_cheap_to_list() -> None:
    for name in taskyard.__all__:
        assert getattr(taskyard, name) is not None
    assert set(taskyard.__all__) <= set(dir(taskyard))
    with pytest.raises(AttributeError, match="has no attribute 'handler'"):
        _ = taskyard.handler

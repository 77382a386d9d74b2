"""Task tables: made when missing, adopted when there, refused with what would mend them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from conformance.spine import Spine, ended, together
from harness.sql import CREATE_TASKS, create_task_table, insert_tasks
from harness.sql import Database as Stranger
from taskyard.core.errors import TableInvalid
from taskyard.core.lifecycle import Kind
from taskyard.db.database import Database
from taskyard.db.tables import (
    BASE_COLUMNS,
    columns_of,
    ensure_table,
    forget_table,
    index_name,
    task_tables,
)


@pytest.fixture
def stranger(spine: Spine) -> Iterator[Stranger]:
    """A program that knows requirement 5 and nothing of Taskyard."""
    stranger = Stranger(spine.url)
    yield stranger
    stranger.close()


def our_indexes(stranger: Stranger, table: str) -> set[str]:
    """What our indexes of a table are for, those only that the database may use."""
    question = {
        "sqlite": f"SELECT name FROM pragma_index_list('{table}')",
        "postgresql": "SELECT c.relname AS name FROM pg_index AS i JOIN pg_class AS c"
        f" ON c.oid = i.indexrelid WHERE i.indrelid = '{table}'::regclass AND i.indisvalid",
        "mysql": "SELECT DISTINCT index_name AS name FROM information_schema.statistics"
        f" WHERE table_schema = DATABASE() AND table_name = '{table}'",
    }
    names = [row["name"] for row in stranger.run(question[stranger.family])]
    return {name.rpartition("_ty_")[2] for name in names if "_ty_" in name}


PURPOSES = {"pending", "keyed", "owner", "unique", "excl"}


def works(spine: Spine, table: str, queue: str) -> None:
    """A row with base columns only is claimed, run to its end, and recorded."""
    stranger = Stranger(spine.url)
    [task] = insert_tasks(stranger, table, "work", ['{"n": 1}'], max_retries=1)
    stranger.close()
    spine.change(task, f"schedule_time = {spine.due_in(-1)}", table)
    for kind, status in ((Kind.FAILED, 0), (Kind.COMPLETED, 2)):
        row = spine.take(task, table=table, queue=queue)
        ending = ended(row, kind, error="x" if kind is Kind.FAILED else None, delay=0.0)
        assert spine.settle(ending, table=table, queue=queue).superseded == []
        spine.change(task, f"schedule_time = {spine.due_in(-1)}", table)
        assert spine.row(task, table)["status"] == status
    assert [run["payload"] for run in spine.runs(task, table)] == ['{"n": 1}'] * 2


# --- made ----------------------------------------------------------------------------------------


def test_a_missing_table_is_made_with_all_it_needs(spine: Spine, stranger: Stranger) -> None:
    spine.queue("made", "made_tasks")
    columns = columns_of(spine.db, "made_tasks")
    assert columns is not None
    assert set(columns) == {*BASE_COLUMNS, *spine.db.dialect.own_columns}
    assert our_indexes(stranger, "made_tasks") >= PURPOSES
    assert spine.db.read(task_tables) == ["default_tasks", "made_tasks"]
    works(spine, "made_tasks", "made")


def test_a_row_needs_no_more_than_its_type_in_a_table_of_ours(
    spine: Spine, stranger: Stranger
) -> None:
    stranger.run("INSERT INTO default_tasks (task_type) VALUES ('work')")
    [row] = spine.claim()
    assert (row.max_retries, row.tenant_id, row.origin) == (3, "", "enqueued")


def test_a_long_name_of_a_table_makes_no_long_name_of_an_index(
    spine: Spine, stranger: Stranger
) -> None:
    names = ["a" * 63, "a" * 62 + "b"]
    for name in names:
        ensure_table(spine.db, name)
        assert max(len(index_name(name, p)) for p in PURPOSES) <= 60
    assert index_name(names[0], "pending") != index_name(names[1], "pending")


@pytest.mark.parametrize("lane", ["postgres", "mariadb"], indirect=True)
def test_a_table_may_stand_in_another_schema(spine: Spine, stranger: Stranger) -> None:
    name = spine.url.rsplit("/", 1)[1]
    other = f"{name}_other" if stranger.family == "mysql" else "other"
    stranger.run(f"CREATE SCHEMA {other}")
    try:
        spine.queue("far", f"{other}.jobs")
        works(spine, f"{other}.jobs", "far")
    finally:
        stranger.run(f"DROP SCHEMA {other}{'' if stranger.family == 'mysql' else ' CASCADE'}")


def test_many_servers_make_a_table_at_once(spine: Spine, stranger: Stranger) -> None:
    databases = [Database(spine.url) for _ in range(4)]
    together(*[partial(ensure_table, db, "fresh_tasks") for db in databases])
    for db in databases:
        db.close()
    assert our_indexes(stranger, "fresh_tasks") >= PURPOSES
    spine.queue("fresh", "fresh_tasks")
    works(spine, "fresh_tasks", "fresh")


# --- adopted -------------------------------------------------------------------------------------


def test_the_table_of_requirement_5_is_adopted(spine: Spine, stranger: Stranger) -> None:
    create_task_table(stranger, "your_task_table")
    before = columns_of(spine.db, "your_task_table")
    spine.queue("yours", "your_task_table")
    columns = columns_of(spine.db, "your_task_table")
    assert before is not None and columns is not None
    assert set(columns) == {*BASE_COLUMNS, *spine.db.dialect.own_columns}
    for name in BASE_COLUMNS:
        assert str(columns[name]["type"]) == str(before[name]["type"]), name
        assert columns[name].get("comment") == before[name].get("comment"), name
    assert our_indexes(stranger, "your_task_table") >= PURPOSES
    works(spine, "your_task_table", "yours")


def test_inserts_with_base_columns_only_work_before_and_after_adoption(
    spine: Spine, stranger: Stranger
) -> None:
    create_task_table(stranger, "jobs")
    [early] = insert_tasks(stranger, "jobs", "work", [None])
    every_base_column = (
        "INSERT INTO jobs (task_type, task_params, status, schedule_time, start_time, end_time,"
        " retry_count, max_retries, error_msg, server_id) VALUES ('work', '{}', 0,"
        f" {stranger.now}, NULL, NULL, 0, 3, NULL, '')"
    )
    stranger.run(every_base_column)
    spine.queue("jobs", "jobs")
    stranger.run(every_base_column)
    [late] = insert_tasks(stranger, "jobs", "work", [None])
    if stranger.family != "sqlite":  # It can't alter a default.
        stranger.run("INSERT INTO jobs (task_type) VALUES ('work')")
    count = len(spine.column("id", "jobs"))
    for task in spine.column("id", "jobs"):
        spine.change(task, f"schedule_time = {spine.due_in(-1)}", "jobs")
    rows = spine.claim(table="jobs", queue="jobs")
    assert len(rows) == count and {early, late} <= {row.id for row in rows}
    assert {row["priority"] for row in spine.rows("SELECT priority FROM jobs")} == {0}


def test_a_table_with_rows_in_every_state_is_adopted_as_it_is(
    spine: Spine, stranger: Stranger
) -> None:
    create_task_table(stranger, "jobs")
    for status in (0, 1, 2, 3, 4):
        for task in insert_tasks(stranger, "jobs", "work", [None] * 20):
            stranger.run(f"UPDATE jobs SET status = {status} WHERE id = {task}")
    spine.queue("jobs", "jobs")
    assert sorted(spine.column("status", "jobs")) == sorted([0, 1, 2, 3, 4] * 20)
    spine.execute(f"UPDATE jobs SET schedule_time = {spine.due_in(-1)}")
    assert len(spine.claim(100, table="jobs", queue="jobs")) == 20


def test_adopting_twice_changes_nothing(spine: Spine, stranger: Stranger) -> None:
    create_task_table(stranger, "jobs")
    ensure_table(spine.db, "jobs")
    before = columns_of(spine.db, "jobs")
    for _ in range(2):
        forget_table(spine.db, "jobs")
        assert spine.db.read(task_tables) == ["default_tasks"]
        ensure_table(spine.db, "jobs")
    after = columns_of(spine.db, "jobs")
    assert before is not None and after is not None and list(after) == list(before)


def test_two_servers_adopt_a_table_at_once(spine: Spine, stranger: Stranger) -> None:
    create_task_table(stranger, "jobs")
    insert_tasks(stranger, "jobs", "work", [None] * 500)
    stranger.run("UPDATE jobs SET status = 2")
    databases = [Database(spine.url) for _ in range(3)]
    together(*[partial(ensure_table, db, "jobs") for db in databases])
    for db in databases:
        db.close()
    assert our_indexes(stranger, "jobs") >= PURPOSES
    spine.queue("jobs", "jobs")
    works(spine, "jobs", "jobs")


def test_an_adoption_that_broke_off_is_taken_up_again(spine: Spine, stranger: Stranger) -> None:
    """Where DDL is not transactional: our own half-added columns are not somebody else's."""
    create_task_table(stranger, "jobs")
    ensure_table(spine.db, "jobs")
    forget_table(spine.db, "jobs")
    stranger.run(f"DROP INDEX {index_name('jobs', 'pending')}{on(stranger, 'jobs')}")
    stranger.run("ALTER TABLE jobs DROP COLUMN context")
    stranger.run("ALTER TABLE jobs DROP COLUMN origin")
    ensure_table(spine.db, "jobs")
    assert our_indexes(stranger, "jobs") >= PURPOSES
    spine.queue("jobs", "jobs")
    works(spine, "jobs", "jobs")


def test_a_column_of_ours_that_somebody_dropped_is_put_back(
    spine: Spine, stranger: Stranger
) -> None:
    """What a dispatcher does when a statement says that a column is gone."""
    spine.put()
    stranger.run("ALTER TABLE default_tasks DROP COLUMN context")
    with pytest.raises(Exception) as caught:
        spine.claim()
    assert spine.db.dialect.is_table_missing(caught.value)
    forget_table(spine.db, "default_tasks")
    ensure_table(spine.db, "default_tasks")
    assert len(spine.claim()) == 1


def test_a_table_that_was_dropped_is_made_anew(spine: Spine, stranger: Stranger) -> None:
    stranger.run("DROP TABLE default_tasks")
    with pytest.raises(Exception) as caught:
        spine.claim()
    assert spine.db.dialect.is_table_missing(caught.value)
    forget_table(spine.db, "default_tasks")
    ensure_table(spine.db, "default_tasks")
    spine.take(spine.put())


@pytest.mark.parametrize("lane", ["postgres"], indirect=True)
def test_an_index_that_was_left_invalid_is_made_again(spine: Spine, stranger: Stranger) -> None:
    name = index_name("default_tasks", "pending")
    stranger.run(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass")
    assert "pending" not in our_indexes(stranger, "default_tasks")
    forget_table(spine.db, "default_tasks")
    ensure_table(spine.db, "default_tasks")
    assert our_indexes(stranger, "default_tasks") >= PURPOSES


@pytest.mark.parametrize("lane", ["postgres"], indirect=True)
def test_what_a_program_of_today_would_write_is_adopted(spine: Spine, stranger: Stranger) -> None:
    """timestamp without zone, jsonb parameters, int keys."""
    stranger.run(
        CREATE_TASKS["postgresql"]
        .format(table="jobs")
        .replace("timestamptz", "timestamp")
        .replace("task_params text", "task_params jsonb")
        .replace("bigserial", "serial")
    )
    spine.queue("jobs", "jobs")
    works(spine, "jobs", "jobs")
    refs = [spine.ref(queue="jobs", task_params='{"a": "ü"}')]
    refs += [spine.ref(queue="jobs", task_params='{"b": 2}', delay=0.0, unique_key="k")]
    for task in spine.put_many(2, queue="jobs", task_params='{"c": 3}'):
        assert spine.row(task, "jobs")["task_params"] == {"c": 3}
    rows = spine.claim(table="jobs", queue="jobs")
    assert [row.task_params for row in rows][:1] == ['{"a": "ü"}']


# --- refused -------------------------------------------------------------------------------------


def refusal(spine: Spine, table: str = "jobs") -> TableInvalid:
    with pytest.raises(TableInvalid) as caught:
        ensure_table(spine.db, table)
    assert table not in spine.db.read(task_tables)
    return caught.value


def test_a_column_that_is_called_like_one_of_ours_is_refused_with_the_alter(
    spine: Spine, stranger: Stranger
) -> None:
    create_task_table(stranger, "jobs")
    clashes = ["priority", "owner", *(["keyed"] if stranger.family == "mysql" else [])]
    for column in clashes:
        stranger.run(f"ALTER TABLE jobs ADD COLUMN {column} varchar(10)")
    error = refusal(spine)
    assert all(any(column in problem for problem in error.problems) for column in clashes)
    assert len(error.statements) == len(clashes)
    for statement in error.statements:
        stranger.run(statement)
    ensure_table(spine.db, "jobs")
    spine.queue("jobs", "jobs")
    works(spine, "jobs", "jobs")


def test_a_table_that_lacks_columns_is_refused_with_the_alters(
    spine: Spine, stranger: Stranger
) -> None:
    create_task_table(stranger, "jobs")
    insert_tasks(stranger, "jobs", "work", [None])
    stranger.run("UPDATE jobs SET status = 2")
    for column in ("server_id", "error_msg", "end_time"):
        stranger.run(f"ALTER TABLE jobs DROP COLUMN {column}")
    error = refusal(spine)
    assert len(error.problems) == len(error.statements) == 3
    for statement in error.statements:
        stranger.run(statement)
    ensure_table(spine.db, "jobs")
    spine.queue("jobs", "jobs")
    works(spine, "jobs", "jobs")


@pytest.mark.parametrize("lane", ["postgres", "mariadb"], indirect=True)
def test_columns_of_the_wrong_kind_are_refused_one_by_one(spine: Spine, stranger: Stranger) -> None:
    text = CREATE_TASKS[stranger.family].format(table="jobs")
    serial = (
        "bigserial" if stranger.family == "postgresql" else "bigint(20) NOT NULL AUTO_INCREMENT"
    )
    text = text.replace(serial, "varchar(36)").replace("end_time datetime", "end_time date")
    text = text.replace("`end_time` datetime", "`end_time` date")
    text = text.replace("end_time timestamptz", "end_time date")
    stranger.run(text)
    problems = " ".join(refusal(spine).problems)
    assert "column id is" in problems and "column end_time is" in problems


def test_columns_that_we_must_empty_are_refused_when_they_cannot_be(
    spine: Spine, stranger: Stranger
) -> None:
    text = CREATE_TASKS[stranger.family].format(table="jobs")
    text = text.replace("error_msg text", "error_msg text NOT NULL DEFAULT ''")
    text = text.replace("`error_msg` text", "`error_msg` text NOT NULL DEFAULT ''")
    stranger.run(text)
    error = refusal(spine)
    assert "error_msg must allow NULL" in error.problems[0]
    if stranger.family != "sqlite":
        for statement in error.statements:
            stranger.run(statement)
        spine.queue("jobs", "jobs")
        works(spine, "jobs", "jobs")


@pytest.mark.parametrize("lane", ["postgres", "sqlite"], indirect=True)
def test_a_table_that_takes_the_place_of_a_renamed_one_is_told(
    spine: Spine, stranger: Stranger
) -> None:
    """Archiving by rename: the old table keeps its indexes under the names that ours would have."""
    spine.queue("jobs", "jobs")
    stranger.run("ALTER TABLE jobs RENAME TO jobs_2025")
    create_task_table(stranger, "jobs")
    forget_table(spine.db, "jobs")
    error = refusal(spine)
    assert "jobs_2025" in str(error)
    for statement in error.statements:
        stranger.run(statement)
    ensure_table(spine.db, "jobs")
    assert our_indexes(stranger, "jobs") >= PURPOSES
    works(spine, "jobs", "jobs")


@pytest.mark.parametrize("lane", ["postgres", "mariadb"], indirect=True)
def test_adoption_without_the_rights_says_what_to_run(spine: Spine, stranger: Stranger) -> None:
    create_task_table(stranger, "jobs")
    name = f"ty_{spine.url.rsplit('_', 3)[1]}_{spine.url.rsplit('_', 1)[1]}"
    database = spine.url.rsplit("/", 1)[1]
    if stranger.family == "mysql":
        stranger.run(f"CREATE USER '{name}'@'%' IDENTIFIED BY 'secret'")
        stranger.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{database}`.* TO '{name}'@'%'")
    else:
        stranger.run(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
        stranger.run(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}"
        )
    narrow = Database(
        spine.url.replace("//root@", f"//{name}:secret@").replace(
            "//postgres@", f"//{name}:secret@"
        )
    )
    try:
        with pytest.raises(TableInvalid) as caught:
            ensure_table(narrow, "jobs")
        for statement in caught.value.statements:
            stranger.run(statement)
        ensure_table(narrow, "jobs")
        assert our_indexes(stranger, "jobs") >= PURPOSES
    finally:
        narrow.close()
        if stranger.family == "mysql":
            stranger.run(f"DROP USER '{name}'@'%'")
        else:
            stranger.run(f"DROP OWNED BY {name}")
            stranger.run(f"DROP ROLE {name}")


def on(stranger: Stranger, table: str) -> str:
    return f" ON {table}" if stranger.family == "mysql" else ""

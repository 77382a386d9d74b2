"""Migrations: the schema comes about from nothing, once, whoever starts at the same moment."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from conformance.spine import together
from harness.sql import Database as Stranger
from taskyard import queues
from taskyard.access.caller import LOCAL
from taskyard.core.errors import SchemaNewer, SchemaOld
from taskyard.db import migrate
from taskyard.db.database import Database
from taskyard.db.schema import metadata


@pytest.fixture
def db(empty_lane: str) -> Iterator[Database]:
    database = Database(empty_lane)
    yield database
    database.close()


@pytest.fixture
def stranger(empty_lane: str) -> Iterator[Stranger]:
    stranger = Stranger(empty_lane)
    yield stranger
    stranger.close()


def table_names(db: Database) -> set[str]:
    with db.inspecting() as inspector:
        return set(inspector.get_table_names())


def test_an_upgrade_from_nothing_makes_everything_and_a_second_nothing(db: Database) -> None:
    assert migrate.status(db) == migrate.Status(found=None, needed=migrate.HEAD)
    assert migrate.upgrade(db).found is None
    assert table_names(db) == {*metadata.tables, "ty_schema"}
    assert migrate.status(db).current
    assert migrate.upgrade(db).found == migrate.HEAD


def test_the_models_are_what_the_migrations_make(db: Database) -> None:
    migrate.upgrade(db)
    with db.engine.connect() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": same_default}
        )
        assert differences(compare_metadata(context, metadata)) == []


def differences(found: Any) -> list[Any]:
    """What Alembic would write into a next revision; its own version table is not ours."""
    return [d for d in found if not (d[0] == "remove_table" and d[1].name == "ty_schema")]


def same_default(context: Any, inspected: Any, model: Any, *texts: Any) -> bool:
    """Are the defaults different? Numbers and texts are spelled otherwise by each database."""
    was, wanted = (plain(text) for text in (texts[0], texts[2]))
    return was != wanted


def plain(text: str | None) -> str | None:
    if text is None:
        return None
    text = text.split("::")[0].strip("'()").lower()
    return "now" if text.startswith("current_timestamp") else text


def test_the_needed_revision_is_the_head(empty_lane: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("taskyard.db") / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [migrate.HEAD]


def test_many_threads_upgrade_at_once(empty_lane: str) -> None:
    databases = [Database(empty_lane) for _ in range(4)]
    together(*[partial(migrate.upgrade, db) for db in databases])
    assert migrate.status(databases[0]).current
    assert table_names(databases[0]) == {*metadata.tables, "ty_schema"}
    for db in databases:
        db.close()


@pytest.mark.parametrize("empty_lane", ["sqlite"], indirect=True)
def test_many_processes_upgrade_at_once(empty_lane: str, db: Database) -> None:
    """Processes matter to SQLite only: elsewhere the lock is the server's."""
    code = (
        "import sys; from taskyard.db import migrate; from taskyard.db.database import Database;"
        " migrate.upgrade(Database(sys.argv[1]))"
    )
    places = [str(Path(migrate.__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-c", code, empty_lane]
    started = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in started:
        _, said = process.communicate(timeout=90)
        assert process.returncode == 0, said
    assert migrate.status(db).current


def test_only_sqlite_upgrades_itself(db: Database) -> None:
    if db.dialect.name == "sqlite":
        migrate.require(db)
        assert migrate.status(db).current
        return
    with pytest.raises(SchemaOld) as caught:
        migrate.require(db)
    assert "taskyard db upgrade" in caught.value.fix
    migrate.upgrade(db)
    migrate.require(db)


def test_a_newer_schema_is_left_alone(db: Database, stranger: Stranger) -> None:
    migrate.upgrade(db)
    stranger.run("UPDATE ty_schema SET version_num = '9999'")
    for refused in (migrate.upgrade, migrate.require):
        with pytest.raises(SchemaNewer, match="9999"):
            refused(db)


def test_the_sql_of_an_upgrade_can_be_run_by_hand(db: Database, stranger: Stranger) -> None:
    script = migrate.sql(db)
    code = "\n".join(line for line in script.splitlines() if not line.startswith("--"))
    for statement in code.split(";\n"):
        if statement.strip():
            stranger.run(statement)
    assert migrate.status(db).current
    assert table_names(db) == {*metadata.tables, "ty_schema"}


def test_an_upgrade_that_broke_off_can_be_repeated(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill in the middle; on MySQL, where DDL is not transactional, half of it is there."""
    import alembic.operations

    create, calls = alembic.operations.Operations.create_table, [0]

    def breaking(self: Any, *arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:
            raise ConnectionAbortedError
        return create(self, *arguments, **options)

    monkeypatch.setattr(alembic.operations.Operations, "create_table", breaking)
    with pytest.raises(ConnectionAbortedError):
        migrate.upgrade(db)
    monkeypatch.undo()
    migrate.upgrade(db)
    assert table_names(db) == {*metadata.tables, "ty_schema"}


# --- a queue_configs that is there already -------------------------------------------------------

QUEUE_CONFIGS = {
    "mysql": """CREATE TABLE `queue_configs` (
  `id` bigint(20) NOT NULL AUTO_INCREMENT,
  `queue_name` varchar(100) NOT NULL,
  `table_name` varchar(100) NOT NULL,
  `server_id` varchar(50) DEFAULT '',
  `max_workers` int(11) DEFAULT 5,
  `scan_interval` int(11) DEFAULT 5,
  `status` tinyint(1) DEFAULT 1,
  `created_at` datetime DEFAULT CURRENT_TIMESTAMP,
  `updated_at` datetime DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  PRIMARY KEY (`id`),
  UNIQUE KEY `uk_queue_name` (`queue_name`)
)""",
    "postgresql": """CREATE TABLE queue_configs (
  id bigserial PRIMARY KEY,
  queue_name varchar(100) NOT NULL UNIQUE,
  table_name varchar(100) NOT NULL,
  server_id varchar(50) DEFAULT '',
  max_workers integer DEFAULT 5,
  scan_interval integer DEFAULT 5,
  status smallint DEFAULT 1
)""",
    "sqlite": """CREATE TABLE queue_configs (
  id integer PRIMARY KEY AUTOINCREMENT,
  queue_name varchar(100) NOT NULL UNIQUE,
  table_name varchar(100) NOT NULL,
  server_id varchar(50) DEFAULT '',
  max_workers int DEFAULT 5,
  scan_interval int DEFAULT 5,
  status tinyint DEFAULT 1
)""",
}


def test_a_queue_configs_that_is_there_is_adopted_with_its_rows(
    db: Database, stranger: Stranger
) -> None:
    stranger.run(QUEUE_CONFIGS[stranger.family])
    insert = "INSERT INTO queue_configs (queue_name, table_name, max_workers) VALUES (?, ?, ?)"
    stranger.run(insert, "email_queue", "email_tasks", 10)
    migrate.upgrade(db)
    stranger.run(insert, "report_queue", "report_tasks", 3)
    found = {queue.queue_name: queue for queue in queues.list_queues(db, LOCAL)}
    assert sorted(found) == ["email_queue", "report_queue"]
    assert [found[name].max_workers for name in sorted(found)] == [10, 3]
    assert all(queue.enabled and queue.rate_limit is None for queue in found.values())
    queues.update_queue(db, LOCAL, "email_queue", rate_limit=2.5, timeout=10, scan_interval=3)
    queue = queues.get_queue(db, "email_queue")
    assert (queue.rate_limit, queue.timeout, queue.scan_interval) == (2.5, 10.0, 3.0)
    queues.set_problem(db, "email_queue", "x" * 2_000)
    assert queues.get_queue(db, "email_queue").problem == "x" * 2_000
    queues.create_queue(db, LOCAL, "fresh")

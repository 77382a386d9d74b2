"""The reference on MariaDB, by PyMySQL.

Without UPDATE … RETURNING a claim takes two statements, a settling three.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pymysql

from benchmarks.reference.loop import Ended, Job

SCHEMA = (
    """
CREATE TABLE ref_tasks (
  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  task_type varchar(50) NOT NULL,
  task_params text,
  status tinyint NOT NULL DEFAULT 0,
  priority smallint NOT NULL DEFAULT 0,
  schedule_time datetime(6) NOT NULL DEFAULT NOW(6),
  start_time datetime(6),
  end_time datetime(6),
  retry_count int NOT NULL DEFAULT 0,
  max_retries int NOT NULL DEFAULT 3,
  error_msg text,
  server_id varchar(50) NOT NULL DEFAULT '',
  created_at datetime(6) NOT NULL DEFAULT NOW(6),
  updated_at datetime(6) NOT NULL DEFAULT NOW(6),
  fence bigint NOT NULL DEFAULT 0,
  owner varchar(40),
  KEY ref_tasks_due (status, priority, schedule_time, id),
  KEY ref_tasks_owner (owner)
)""",
    """
CREATE TABLE ref_runs (
  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  task_table varchar(100),
  task_id bigint,
  fence bigint,
  attempt int NOT NULL,
  task_type varchar(255) NOT NULL,
  queue varchar(100),
  status varchar(20) NOT NULL,
  origin varchar(20) NOT NULL,
  tenant_id varchar(64) NOT NULL,
  server_id varchar(50),
  session varchar(40),
  pid bigint,
  payload longtext,
  output longtext,
  error longtext,
  memory_usage bigint,
  cpu_time double,
  wait_time double,
  execution_time double,
  started_at datetime(6),
  completed_at datetime(6),
  claimed_at bigint NOT NULL,
  created_at datetime(6) NOT NULL,
  updated_at datetime(6) NOT NULL,
  KEY ref_runs_claimed (claimed_at, id),
  KEY ref_runs_type (task_type, claimed_at, id),
  KEY ref_runs_task (task_id, task_table),
  KEY ref_runs_status (status, claimed_at, id)
)""",
)

PICK = """
SELECT id, fence + 1, task_type, task_params FROM ref_tasks
WHERE status = 0 AND schedule_time <= NOW(6)
ORDER BY priority, schedule_time, id
LIMIT %s FOR UPDATE SKIP LOCKED
"""
TAKE = """
UPDATE ref_tasks SET status = 1, fence = fence + 1, owner = 'reference', start_time = NOW(6)
WHERE id IN ({ids})
"""

# The row's lock and its fence in one, in the order of the ids.
GUARD = """
SELECT id, fence, task_type, task_params FROM ref_tasks WHERE id IN ({ids}) ORDER BY id FOR UPDATE
"""
FINISH = "UPDATE ref_tasks SET status = 2, end_time = NOW(6), owner = NULL WHERE id IN ({ids})"

# Nothing but %s: only then PyMySQL makes one INSERT of all rows (row by row the whole drain fell
# from 13 k/s to 3 k/s).
RECORD = (
    "INSERT INTO ref_runs (task_table, task_id, fence, attempt, task_type, queue, status, origin,"
    " tenant_id, server_id, session, payload, wait_time, execution_time, started_at, completed_at,"
    " claimed_at, created_at, updated_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
    " %s, %s, %s, %s, %s, %s, %s)"
)
NAMES = ("reference", "completed", "enqueued", "", "reference", "reference")


class MariadbStore:
    def __init__(self, url: str) -> None:
        self._claiming = connect(url)
        self._settling = connect(url)

    def claim(self, limit: int) -> list[Job]:
        cursor = self._claiming.cursor()
        cursor.execute(PICK, (limit,))
        jobs: list[Job] = list(cursor.fetchall())
        if jobs:
            cursor.execute(TAKE.format(ids=_ids(id_ for id_, *_ in jobs)))
        self._claiming.commit()
        return jobs

    def settle(self, ended: list[Ended]) -> None:
        if not ended:
            return
        cursor = self._settling.cursor()
        cursor.execute(GUARD.format(ids=_ids(id_ for id_, *_ in ended)))
        held = {row[:2]: row[2:] for row in cursor.fetchall()}
        mine = [job for job in ended if job[:2] in held]
        cursor.execute(FINISH.format(ids=_ids(id_ for id_, *_ in mine)))
        cursor.executemany(RECORD, [_run(job, held[job[:2]]) for job in mine])
        self._settling.commit()


def make(url: str) -> None:
    """Create the reference's tables."""
    connection = connect(url)
    for statement in SCHEMA:
        connection.cursor().execute(statement)
    connection.close()


def connect(url: str) -> Any:
    """A connection as a queue wants it: READ COMMITTED, so that claims lock rows and not gaps."""
    at = urlsplit(url)
    return pymysql.connect(
        host=at.hostname or "127.0.0.1",
        port=at.port or 3306,
        user=at.username or "root",
        password=at.password or "",
        database=at.path.lstrip("/"),
        init_command="SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    )


def _ids(ids: Any) -> str:
    return ",".join(map(str, ids))


def _run(job: Ended, task: tuple[str, str | None]) -> tuple[object, ...]:
    id_, fence, started, ended = job
    task_type, params = task
    times = (_utc(started), _utc(ended), int(started * 1_000_000), _utc(ended), _utc(ended))
    return "ref_tasks", id_, fence, 1, task_type, *NAMES, params, 0.0, ended - started, *times


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

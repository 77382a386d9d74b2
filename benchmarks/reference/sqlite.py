"""The reference on SQLite: one writer; a transaction settles the last batch and claims the next."""

from __future__ import annotations

import sqlite3
import time

from benchmarks.reference.loop import BATCH, IDLE, Ended, Job, run

SCHEMA = """
CREATE TABLE ref_tasks (
  id INTEGER PRIMARY KEY,
  task_type TEXT NOT NULL,
  task_params TEXT,
  status INTEGER NOT NULL DEFAULT 0,
  priority INTEGER NOT NULL DEFAULT 0,
  schedule_time TEXT NOT NULL,
  start_time TEXT,
  end_time TEXT,
  retry_count INTEGER NOT NULL DEFAULT 0,
  max_retries INTEGER NOT NULL DEFAULT 3,
  error_msg TEXT,
  server_id TEXT NOT NULL DEFAULT '',
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
  fence INTEGER NOT NULL DEFAULT 0,
  owner TEXT
);
CREATE INDEX ref_tasks_due ON ref_tasks (priority DESC, schedule_time, id) WHERE status = 0;
CREATE INDEX ref_tasks_owner ON ref_tasks (owner) WHERE owner IS NOT NULL;
CREATE TABLE ref_runs (
  id INTEGER PRIMARY KEY,
  task_table TEXT,
  task_id INTEGER,
  fence INTEGER,
  attempt INTEGER NOT NULL,
  task_type TEXT NOT NULL,
  queue TEXT,
  status TEXT NOT NULL,
  origin TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  server_id TEXT,
  session TEXT,
  pid INTEGER,
  payload TEXT,
  output TEXT,
  error TEXT,
  memory_usage INTEGER,
  cpu_time REAL,
  wait_time REAL,
  execution_time REAL,
  started_at TEXT,
  completed_at TEXT,
  claimed_at INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL
);
CREATE INDEX ref_runs_claimed ON ref_runs (claimed_at, id);
CREATE INDEX ref_runs_type ON ref_runs (task_type, claimed_at, id);
CREATE INDEX ref_runs_task ON ref_runs (task_id, task_table);
CREATE INDEX ref_runs_status ON ref_runs (status, claimed_at, id) WHERE status <> 'completed';
"""

NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
CLAIM = f"""
UPDATE ref_tasks SET status = 1, fence = fence + 1, owner = 'reference', start_time = {NOW}
WHERE id IN (
  SELECT id FROM ref_tasks WHERE status = 0 AND schedule_time <= {NOW}
  ORDER BY priority DESC, schedule_time, id LIMIT ?)
RETURNING id, fence, task_type, task_params
"""
FINISH = (
    f"UPDATE ref_tasks SET status = 2, end_time = {NOW}, owner = NULL WHERE id = ? AND fence = ?"
)
RECORD = """
INSERT INTO ref_runs (task_table, task_id, fence, attempt, task_type, queue, status, origin,
  tenant_id, server_id, session, payload, wait_time, execution_time, started_at, completed_at,
  claimed_at, created_at, updated_at)
SELECT 'ref_tasks', id, fence, retry_count + 1, task_type, 'reference', 'completed', 'enqueued',
  '', 'reference', 'reference', task_params, 0.0, ?2 - ?1,
  strftime('%Y-%m-%d %H:%M:%f', ?1, 'unixepoch'),
  strftime('%Y-%m-%d %H:%M:%f', ?2, 'unixepoch'), CAST(?1 * 1000000 AS INTEGER), end_time, end_time
FROM ref_tasks WHERE id = ?3 AND fence = ?4 AND status = 2
"""


async def work(url: str) -> None:
    """Work for ever: one transaction a turn, then the turn's jobs."""
    connection = connect(url)
    ended: list[Ended] = []
    while True:
        jobs = turn(connection, ended)
        if not jobs:
            time.sleep(IDLE)
        ended = await run(jobs)


def turn(connection: sqlite3.Connection, ended: list[Ended]) -> list[Job]:
    """Settle what ended and claim the next, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    if ended:
        connection.executemany(FINISH, [job[:2] for job in ended])
        connection.executemany(
            RECORD, [(start, end, id_, fence) for id_, fence, start, end in ended]
        )
    jobs: list[Job] = connection.execute(CLAIM, (BATCH,)).fetchall()
    connection.execute("COMMIT")
    return jobs


def make(url: str) -> None:
    """Create the reference's tables."""
    connect(url).executescript(SCHEMA)


def connect(url: str) -> sqlite3.Connection:
    """WAL and synchronous=NORMAL, as Taskyard's own default."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection

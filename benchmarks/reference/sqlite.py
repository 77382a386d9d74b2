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
CREATE TABLE ref_runs (
  task_id INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  task_type TEXT NOT NULL,
  status TEXT NOT NULL,
  payload TEXT,
  started_at REAL NOT NULL,
  completed_at REAL NOT NULL,
  execution_time REAL NOT NULL,
  PRIMARY KEY (task_id, fence)
);
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
INSERT INTO ref_runs
SELECT id, fence, task_type, 'completed', task_params, ?1, ?2, ?2 - ?1
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

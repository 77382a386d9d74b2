"""The reference on PostgreSQL: psycopg, one statement to claim, one to settle."""

from __future__ import annotations

import psycopg

from benchmarks.reference.loop import Ended, Job

SCHEMA = """
CREATE TABLE ref_tasks (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  task_type varchar(50) NOT NULL,
  task_params text,
  status smallint NOT NULL DEFAULT 0,
  priority smallint NOT NULL DEFAULT 0,
  schedule_time timestamptz NOT NULL DEFAULT now(),
  start_time timestamptz,
  end_time timestamptz,
  retry_count integer NOT NULL DEFAULT 0,
  max_retries integer NOT NULL DEFAULT 3,
  error_msg text,
  server_id varchar(50) NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  fence bigint NOT NULL DEFAULT 0,
  owner varchar(40)
);
CREATE INDEX ref_tasks_due ON ref_tasks (priority DESC, schedule_time, id) WHERE status = 0;
CREATE INDEX ref_tasks_owner ON ref_tasks (owner) WHERE owner IS NOT NULL;
CREATE TABLE ref_runs (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
  payload text,
  output text,
  error text,
  memory_usage bigint,
  cpu_time float8,
  wait_time float8,
  execution_time float8,
  started_at timestamptz,
  completed_at timestamptz,
  claimed_at bigint NOT NULL,
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE INDEX ref_runs_claimed ON ref_runs (claimed_at, id);
CREATE INDEX ref_runs_type ON ref_runs (task_type, claimed_at, id);
CREATE INDEX ref_runs_task ON ref_runs (task_id, task_table);
CREATE INDEX ref_runs_status ON ref_runs (status, claimed_at, id) WHERE status <> 'completed';
"""

CLAIM = """
WITH pick AS MATERIALIZED (
  SELECT id FROM ref_tasks
  WHERE status = 0 AND schedule_time <= now()
  ORDER BY priority DESC, schedule_time, id
  LIMIT %s FOR UPDATE SKIP LOCKED)
UPDATE ref_tasks t SET status = 1, fence = t.fence + 1, owner = 'reference', start_time = now()
FROM pick WHERE t.id = pick.id
RETURNING t.id, t.fence, t.task_type, t.task_params
"""

# Fenced by a token alone and returning d.*: a join of two CTEs or a guard on more columns makes the
# planner choose plans that are quadratic in the batch.
SETTLE = """
WITH done AS (
  UPDATE ref_tasks t SET status = 2, end_time = now(), owner = NULL
  FROM unnest(%s::bigint[], %s::bigint[], %s::float8[], %s::float8[])
    AS d(id, fence, started, ended)
  WHERE t.id = d.id AND t.fence = d.fence
  RETURNING d.*, t.task_type, t.task_params, t.retry_count)
INSERT INTO ref_runs (task_table, task_id, fence, attempt, task_type, queue, status, origin,
  tenant_id, server_id, session, payload, wait_time, execution_time, started_at, completed_at,
  claimed_at, created_at, updated_at)
SELECT 'ref_tasks', id, fence, retry_count + 1, task_type, 'reference', 'completed', 'enqueued',
  '', 'reference', 'reference', task_params, 0, ended - started, to_timestamp(started),
  to_timestamp(ended), (started * 1000000)::bigint, now(), now()
FROM done
"""


class PostgresStore:
    def __init__(self, url: str) -> None:
        self._claiming = psycopg.connect(url, autocommit=True)
        self._settling = psycopg.connect(url, autocommit=True)

    def claim(self, limit: int) -> list[Job]:
        return self._claiming.execute(CLAIM, (limit,)).fetchall()

    def settle(self, ended: list[Ended]) -> None:
        if ended:
            self._settling.execute(SETTLE, [list(column) for column in zip(*ended, strict=True)])


def make(url: str) -> None:
    """Create the reference's tables."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA)

"""PostgreSQL, by psycopg 3: the dialect that can do most in one statement.

Owns its SQL fragments, its claim and settle, and the meaning of its SQLSTATEs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from taskyard.db.dialect import CHANNEL, RUN_COLUMNS, TASK_COLUMNS, Dialect
from taskyard.db.rows import Claim, ClaimedRow, ItemEnd, Settlement, When

if TYPE_CHECKING:
    import sqlalchemy as sa

    from taskyard.db.database import Tx

# A claim is one statement: pick and lock, number, take, return. MATERIALIZED because PostgreSQL
# may otherwise run a LIMITed locking subquery in a nested loop and take more rows than the limit.
_CLAIM = """
WITH pick AS MATERIALIZED (
  SELECT id FROM {table}
   WHERE {where}
   ORDER BY schedule_time, id LIMIT :limit FOR UPDATE SKIP LOCKED
), numbered AS MATERIALIZED (
  SELECT id, row_number() OVER () - 1 AS n FROM pick
)
UPDATE {table} AS t
   SET status = 1, fence = t.fence + 1, owner = :owner, server_id = :server_id, queue = :queue,
       run_id = :first_run_id + numbered.n, start_time = statement_timestamp(), end_time = NULL,
       claimed_at = (EXTRACT(EPOCH FROM statement_timestamp()) * 1000000)::bigint,
       updated_at = statement_timestamp()
  FROM numbered
 WHERE t.id = numbered.id AND t.status = 0
   AND EXISTS (SELECT 1 FROM ty_servers WHERE session = :owner AND state = 'live')
RETURNING t.id, t.fence, t.run_id, t.task_type,
       CASE WHEN octet_length(t.task_params::text) <= :max_params THEN t.task_params::text END,
       coalesce(octet_length(t.task_params::text), 0), coalesce(t.retry_count, 0),
       coalesce(t.max_retries, 0), t.crashes, t.retry_interval, t.timeout, t.tenant_id, t.origin,
       t.context, t.excl_key,
       GREATEST(0, EXTRACT(EPOCH FROM statement_timestamp()
                                      - GREATEST(t.schedule_time, t.created_at)))::float8,
       t.suspect
"""

# Differs because the planner would rather hash the whole table than look a row up by the id that a
# subquery gives (a table of 40 000: 3 700 pages a look); LATERAL leaves it no choice.
_FREE_HEADS = """
WITH RECURSIVE walk (k, n) AS (
  SELECT {first}, 1
  UNION ALL
  SELECT {next}, walk.n + 1 FROM walk WHERE walk.k IS NOT NULL AND walk.n < {keys}
)
SELECT walk.n, walk.k, h.id, h.priority, h.due, h.task_type
  FROM walk LEFT JOIN LATERAL (
    SELECT c.id, c.priority, {due_c} AS due, c.task_type FROM {table} AS c
     WHERE {keyed} AND c.excl_key = walk.k AND c.owner IS NULL AND {due_c} <= {due_now}
       AND NOT EXISTS (
         SELECT 1 FROM {table} AS r
          WHERE r.excl_key = walk.k AND r.excl_key IS NOT NULL AND r.owner IS NOT NULL)
     ORDER BY c.priority DESC, {due_c}, c.id LIMIT 1
  ) AS h ON TRUE
 WHERE walk.k IS NOT NULL
"""

# Each row is looked up by its key and the guard is read off the row that was found: as filters or
# join conditions the guards lead the planner astray, whose statistics may have been taken while
# nothing ran (it then expects one running row, or reads the table to hash it: measured at batches
# of 200, 300 µs a Task instead of 30). The row is then updated where it lies; one that somebody
# moved in between is missed, and `tasks/settle.py` looks at it again.
_SETTLE = """
WITH hit AS MATERIALIZED (
  SELECT d.*, found.place
    FROM unnest(:ids::bigint[], :fences::bigint[], :runs::bigint[], :attempts::int[],
                :task_statuses::smallint[], :retry_counts::int[], :crashes::int[],
                :delays::float8[], :error_msgs::text[], :run_statuses::text[], :outputs::text[],
                :errors::text[], :payloads::text[], :ages::float8[], :durations::float8[],
                :waits::float8[], :cpu_times::float8[], :memories::bigint[], :pids::int[],
                :suspects::smallint[])
      AS d(id, fence, run_id, attempt, task_status, retry_count, crashes, delay, error_msg,
           run_status, output, error, payload, age, duration, wait, cpu_time, memory, pid,
           suspect)
   CROSS JOIN LATERAL (
     SELECT r.ctid AS place, r.fence, r.run_id, r.status, r.owner
       FROM {table} AS r WHERE r.id = d.id LIMIT 1
   ) AS found
   WHERE found.fence = d.fence AND found.run_id = d.run_id AND found.status = 1
     AND found.owner = :owner
), moved AS (
  UPDATE {table} AS t
     SET status = d.task_status, owner = NULL, retry_count = d.retry_count, crashes = d.crashes,
         suspect = d.suspect,
         error_msg = d.error_msg,
         end_time = CASE WHEN d.task_status = 0 THEN NULL ELSE statement_timestamp() END,
         schedule_time = CASE WHEN d.delay IS NULL THEN t.schedule_time
                         ELSE statement_timestamp() + d.delay * interval '1 second' END,
         updated_at = statement_timestamp()
    FROM hit AS d
   WHERE t.ctid = d.place AND t.fence = d.fence AND t.status + 0 = 1 AND t.owner || '' = :owner
  RETURNING d.*, t.task_type, t.origin, t.tenant_id, t.task_params::text AS params, t.claimed_at,
            t.context
), noted AS (
  INSERT INTO ty_uncounted (run_ids)
  SELECT string_agg(run_id::text, ',') FROM moved HAVING count(*) > 0
)
INSERT INTO ty_runs ({run_columns})
SELECT run_id, :task_table, id, fence, attempt, task_type, :queue, run_status, origin, tenant_id,
       :server_id, :owner, pid, coalesce(payload, params), output, error, memory, cpu_time, wait,
       duration, statement_timestamp() - age * interval '1 second',
       statement_timestamp() - coalesce(age - duration, 0) * interval '1 second',
       claimed_at, statement_timestamp(), statement_timestamp(), {makers}
  FROM moved
RETURNING task_id
"""

_INSERT_TASK = """
INSERT INTO {table} (task_type, task_params, priority, max_retries, timeout, retry_interval,
                     unique_key, excl_key, tenant_id, origin, context, schedule_time)
VALUES (:task_type, :task_params, :priority, :max_retries, :timeout, :retry_interval, :unique_key,
        :excl_key, :tenant_id, :origin, :context, {due})
{conflict} RETURNING id
"""

_AND_RING = "WITH new AS ({insert}) SELECT id, pg_notify(:channel, :table) FROM new"

# As fast as COPY (160 000 rows a second measured), and it returns the ids.
_INSERT_TASKS = """
INSERT INTO {table} (task_type, task_params, priority, max_retries, timeout, retry_interval,
                     unique_key, excl_key, tenant_id, origin, context, schedule_time)
SELECT d.task_type, d.task_params{cast}, d.priority, d.max_retries, d.timeout, d.retry_interval,
       d.unique_key, d.excl_key, d.tenant_id, d.origin, d.context,
       coalesce(to_timestamp(d.at),
                statement_timestamp() + coalesce(d.delay, 0) * interval '1 second')
  FROM unnest(:task_type::text[], :task_params::text[], :priority::smallint[], :max_retries::int[],
              :timeout::float8[], :retry_interval::float8[], :unique_key::text[], :excl_key::text[],
              :tenant_id::text[], :origin::text[], :context::text[], :ats::float8[],
              :delays::float8[]) WITH ORDINALITY
    AS d(task_type, task_params, priority, max_retries, timeout, retry_interval, unique_key,
         excl_key, tenant_id, origin, context, at, delay, n)
 ORDER BY d.n
RETURNING id
"""

_PARAMS_TYPE = """
SELECT format_type(atttypid, NULL) FROM pg_attribute
 WHERE attrelid = to_regclass(:table) AND attname = 'task_params'
"""

_VALID = """
SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
 WHERE i.indrelid = to_regclass(:table) AND i.indisvalid
"""

_INVALID = """
SELECT i.indexrelid::regclass::text FROM pg_index AS i
 WHERE i.indrelid = to_regclass(:table) AND NOT i.indisvalid
"""

_NAMESAKES = """
SELECT c.relname, i.indrelid::regclass::text
  FROM pg_class AS t
  JOIN pg_class AS c ON c.relnamespace = t.relnamespace AND c.relname = ANY(:names)
  JOIN pg_index AS i ON i.indexrelid = c.oid
 WHERE t.oid = to_regclass(:table) AND i.indrelid <> t.oid
"""

_NUMBER_COLUMNS = {"priority", "max_retries", "timeout", "retry_interval"}

_UNIQUE_LIVE = "unique_key IS NOT NULL AND status IN (0, 1)"

_TRANSIENT = {"40001", "40P01", "55P03"}
_DISCONNECT = {"57P01", "57P02", "57P03"}
_REFUSED = {"28000", "28P01", "3D000"}


# As _SETTLE: guards as filters had it join each item with all (500 µs an item instead of 35).
_SETTLE_ITEMS = """
WITH hit AS MATERIALIZED (
  SELECT d.*, found.place
    FROM unnest(:ids::bigint[], :results::text[], :errors::text[], :durations::float8[])
      AS d (id, result, error, duration)
   CROSS JOIN LATERAL (
     SELECT i.ctid AS place, i.status, i.run_id FROM ty_batch_items AS i WHERE i.id = d.id LIMIT 1
   ) AS found
   WHERE found.status = 'running' AND found.run_id = :run_id
)
UPDATE ty_batch_items AS i
   SET status = :status, result = d.result, error = d.error, duration = d.duration,
       completed_at = statement_timestamp()
  FROM hit AS d
 WHERE i.ctid = d.place
"""


class PostgreSQL(Dialect):
    """PostgreSQL 12 and newer."""

    name = "postgresql"
    now = "statement_timestamp()"
    utc_now = "statement_timestamp()"
    pending = "status = 0 AND hold = 0 AND excl_key IS NULL"
    keyed = "status = 0 AND hold = 0 AND excl_key IS NOT NULL"

    claims_alone = True
    time_type = "timestamptz"
    base_columns: ClassVar = {
        "id": "id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        "task_type": "task_type varchar(255) NOT NULL",
        "task_params": "task_params text",
        "status": "status smallint NOT NULL DEFAULT 0",
        "schedule_time": "schedule_time timestamptz NOT NULL DEFAULT now()",
        "start_time": "start_time timestamptz",
        "end_time": "end_time timestamptz",
        "retry_count": "retry_count integer NOT NULL DEFAULT 0",
        "max_retries": "max_retries integer NOT NULL DEFAULT 3",
        "error_msg": "error_msg text",
        "server_id": "server_id varchar(50) NOT NULL DEFAULT ''",
        "created_at": "created_at timestamptz NOT NULL DEFAULT now()",
        "updated_at": "updated_at timestamptz NOT NULL DEFAULT now()",
    }
    own_columns: ClassVar = {
        "priority": "priority smallint NOT NULL DEFAULT 0",
        "tenant_id": "tenant_id varchar(64) NOT NULL DEFAULT ''",
        "timeout": "timeout double precision",
        "retry_interval": "retry_interval double precision",
        "unique_key": "unique_key varchar(190)",
        "excl_key": "excl_key varchar(190)",
        "hold": "hold smallint NOT NULL DEFAULT 0",
        "crashes": "crashes integer NOT NULL DEFAULT 0",
        "suspect": "suspect smallint NOT NULL DEFAULT 0",
        "fence": "fence bigint NOT NULL DEFAULT 0",
        "owner": "owner varchar(40)",
        "run_id": "run_id bigint",
        "claimed_at": "claimed_at bigint",
        "queue": "queue varchar(100)",
        "origin": "origin varchar(20) NOT NULL DEFAULT 'enqueued'",
        "context": "context text",
    }

    def due(self, column: str = "schedule_time") -> str:
        return column

    def due_now(self) -> str:
        return "statement_timestamp()"

    def after(self, seconds: str) -> str:
        return f"statement_timestamp() + ({seconds}) * interval '1 second'"

    def utc_after(self, seconds: str) -> str:
        return self.after(seconds)

    def as_text(self, expression: str) -> str:
        return f"({expression})::text"

    def iso(self, column: str) -> str:
        return (
            f"to_char(({column})::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
        )

    def age(self, column: str) -> str:
        return f"EXTRACT(EPOCH FROM statement_timestamp() - {column})::float8"

    def epoch(self, column: str) -> str:
        return f"EXTRACT(EPOCH FROM {column})::float8"

    def utc_from(self, seconds: str) -> str:
        return f"to_timestamp({seconds})"

    def in_context(self, column: str, name: str) -> str:
        return f"substring({column} from '\"{name}\":([0-9]{{1,18}})')::bigint"

    def json_of(self, columns: Mapping[str, str]) -> str:
        pairs = ", ".join(f"'{name}', {expression}" for name, expression in columns.items())
        return f"jsonb_build_object({pairs})::text"

    def free_heads_sql(self) -> str:
        return _FREE_HEADS

    def minute(self, column: str) -> str:
        return f"floor(date_part('epoch', {column}) / 60)::bigint * 60"

    def among(self, column: str, numbers: Sequence[int]) -> str:
        # Differs because the planner weighs each number of a list (5 000: 6 ms).
        return f"{column} IN (SELECT unnest('{_numbers(numbers)}'::bigint[]))"

    def looked_up(self, column: str, numbers: Sequence[int]) -> str:
        # Differs because of a subquery's ids the planner may believe that a scan finds them sooner.
        return f"{column} = ANY('{_numbers(numbers)}'::bigint[])"

    def insert_many(
        self, tx: Tx, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        with tx.cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def settle_items(self, tx: Tx, run_id: int, status: str, rows: Sequence[ItemEnd]) -> int:
        return tx.execute(
            _SETTLE_ITEMS,
            status=status,
            run_id=run_id,
            ids=_numbers([row.id for row in rows]),
            results=_texts([row.result for row in rows]),
            errors=_texts([row.error for row in rows]),
            durations=_numbers([row.duration for row in rows]),
        )

    def claim(self, tx: Tx, claim: Claim) -> list[ClaimedRow]:
        where = "id = ANY(:ids::bigint[]) AND status = 0 AND hold = 0 AND owner IS NULL"
        if claim.ids is None:
            where = (
                f"{self.pending} AND owner IS NULL AND priority = :priority"
                " AND schedule_time <= statement_timestamp()"
            )
        where += " AND task_type = ANY(:task_types::text[])"
        of_open, closed = claim.of_open_tenants()
        where += of_open
        sql = _CLAIM.format(table=self.quote(claim.table), where=where)
        rows = tx.all(
            sql,
            ids=_numbers(claim.ids or ()),
            task_types=_texts(claim.task_types),
            **closed,
            priority=claim.priority,
            limit=claim.limit,
            owner=claim.owner,
            server_id=claim.server_id,
            queue=claim.queue,
            first_run_id=claim.first_run_id,
            max_params=claim.max_params,
        )
        return sorted((ClaimedRow(*row) for row in rows), key=lambda row: row.run_id)

    def settle(self, tx: Tx, settlement: Settlement) -> set[int]:
        columns = list(zip(*settlement.endings, strict=True))
        numbers = (0, 1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 16, 17, 18, 19)
        arrays = [_numbers(c) if i in numbers else _texts(c) for i, c in enumerate(columns)]
        sql = _SETTLE.format(
            table=self.quote(settlement.table),
            run_columns=RUN_COLUMNS,
            makers=self.makers("context"),
        )
        rows = tx.all(
            sql,
            **dict(zip(_ARRAYS, arrays, strict=True)),
            owner=settlement.owner,
            server_id=settlement.server_id,
            queue=settlement.queue,
            task_table=settlement.table,
        )
        return {row[0] for row in rows}

    rings = True

    def insert_task(
        self, tx: Tx, table: str, row: Mapping[str, Any], when: When, *, ring: bool = False
    ) -> int | None:
        at, delay = when
        due = "statement_timestamp()"
        if at is not None:
            due = "to_timestamp(:at)"
        elif delay is not None:
            due = self.after(":delay::float8")
        # Speculative insertion costs; without a key there is nothing to be in conflict with.
        conflict = "" if row["unique_key"] is None else "ON CONFLICT DO NOTHING"
        sql = _INSERT_TASK.format(table=self.quote(table), due=due, conflict=conflict)
        if ring:
            sql = _AND_RING.format(insert=sql)
        found: int | None = tx.value(sql, **row, at=at, delay=delay, channel=CHANNEL, table=table)
        return found

    def insert_tasks(
        self, tx: Tx, table: str, rows: Sequence[Mapping[str, Any]], whens: Sequence[When]
    ) -> list[int]:
        arrays: dict[str, str] = {
            name: (_numbers if name in _NUMBER_COLUMNS else _texts)([row[name] for row in rows])
            for name in TASK_COLUMNS
        }
        arrays["ats"] = _numbers([at for at, _ in whens])
        arrays["delays"] = _numbers([delay for _, delay in whens])
        # The parameters of an adopted table may be json or jsonb, which no text is taken for.
        kind = tx.value(_PARAMS_TYPE, table=self.quote(table))
        cast = f"::{kind}" if kind in ("json", "jsonb") else ""
        sql = _INSERT_TASKS.format(table=self.quote(table), cast=cast)
        # Ids are drawn in the order of the rows, so sorting them gives the order back.
        return sorted(row[0] for row in tx.all(sql, **arrays))

    def index_statements(self, table: str, name: Callable[[str, str], str]) -> list[str]:
        quoted = self.quote(table)
        indexes = (
            ("", "pending", f"(priority, schedule_time, id) WHERE {self.pending}"),
            ("", "keyed", f"(excl_key, priority DESC, schedule_time, id) WHERE {self.keyed}"),
            ("", "held", "(hold, task_type) WHERE status = 0 AND hold <> 0"),
            ("", "owner", "(owner) WHERE owner IS NOT NULL"),
            ("", "stray", "(id) WHERE status = 1 AND owner IS NULL"),
            ("UNIQUE ", "unique", f"(tenant_id, unique_key) WHERE {_UNIQUE_LIVE}"),
            ("UNIQUE ", "excl", "(excl_key) WHERE excl_key IS NOT NULL AND owner IS NOT NULL"),
        )
        return [
            f'CREATE {unique}INDEX CONCURRENTLY IF NOT EXISTS "{name(table, purpose)}"'
            f" ON {quoted} {rest}"
            for unique, purpose, rest in indexes
        ]

    def adopt_statements(
        self, table: str, missing: Sequence[str], existing: Mapping[str, Any]
    ) -> list[str]:
        statements = super().adopt_statements(table, missing, existing)
        if existing["schedule_time"]["default"] is None:
            statements.append(
                f"ALTER TABLE {self.quote(table)} ALTER COLUMN schedule_time SET DEFAULT now()"
            )
        # An ALTER that waits for a long transaction lets nobody else at the table meanwhile; an
        # index that is made CONCURRENTLY may wait for as long as it likes.
        return ["SET lock_timeout = '3s'", *statements, "SET lock_timeout = 0"]

    def indexes(self, tx: Tx, table: str) -> set[str]:
        return {row[0] for row in tx.all(_VALID, table=self.quote(table))}

    def repairs(self, tx: Tx, table: str) -> list[str]:
        # A CREATE INDEX CONCURRENTLY that broke off leaves an index that nobody may use, and that
        # the next IF NOT EXISTS takes for the thing itself.
        found = tx.all(_INVALID, table=self.quote(table))
        return [f"DROP INDEX CONCURRENTLY IF EXISTS {name}" for (name,) in found]

    def taken_names(self, tx: Tx, table: str, names: Sequence[str]) -> list[tuple[str, str]]:
        found = tx.all(_NAMESAKES, table=self.quote(table), names=list(names))
        return [(row[0], row[1]) for row in found]

    def is_present(self, error: BaseException) -> bool:
        return getattr(error, "sqlstate", None) in ("42701", "42P07")

    def is_table_missing(self, error: BaseException) -> bool:
        return getattr(error, "sqlstate", None) in ("42P01", "42703")

    @contextmanager
    def locked(self, tx: Tx, name: str) -> Iterator[None]:
        # A session's lock, not a transaction's: CREATE INDEX CONCURRENTLY runs outside of any.
        # Asked for again and again, as who waits in a statement has a snapshot, which that CREATE
        # INDEX waits for in turn: a deadlock.
        while not tx.value("SELECT pg_try_advisory_lock(hashtext(:name))", name=name):
            time.sleep(0.05)
        try:
            tx.execute("SET statement_timeout = 0")
            yield
        finally:
            tx.execute("RESET statement_timeout")
            tx.execute("RESET lock_timeout")
            tx.execute("SELECT pg_advisory_unlock(hashtext(:name))", name=name)

    def begin(self) -> str:
        return "BEGIN"

    def is_disconnect(self, error: BaseException) -> bool:
        state = getattr(error, "sqlstate", None)
        if state is not None:
            return state in _DISCONNECT or state.startswith("08")
        import psycopg

        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)

    def is_transient(self, error: BaseException) -> bool:
        return getattr(error, "sqlstate", None) in _TRANSIENT

    def is_duplicate(self, error: BaseException) -> bool:
        return getattr(error, "sqlstate", None) == "23505"

    def is_refused(self, error: BaseException) -> bool:
        # A failed connect carries no SQLSTATE in psycopg; the server's words are all there is.
        text = str(error)
        return getattr(error, "sqlstate", None) in _REFUSED or any(
            words in text
            for words in ("authentication failed", "does not exist", "no pg_hba.conf entry")
        )

    def engine_options(self, url: sa.URL, pooler: bool) -> dict[str, Any]:
        # No prepared statements: they tie a statement to a session, which poolers take away, and a
        # generic plan made on an empty table is the very trap of performance.md.
        arguments: dict[str, Any] = {
            "autocommit": True,
            "prepare_threshold": None,
            "connect_timeout": 5,
            "tcp_user_timeout": 10_000,
            "keepalives_idle": 10,
            "application_name": "taskyard",
        }
        # What the URL says about these comes first; of its options (a search_path) none is lost.
        arguments = {name: value for name, value in arguments.items() if name not in url.query}
        if not pooler:
            # jit: a mis-estimated batch of 200 rows was seen to spend 100 ms in the compiler.
            ours = "-c statement_timeout=30s -c idle_in_transaction_session_timeout=60s -c jit=off"
            arguments["options"] = f"{ours} {url.query.get('options', '')}".strip()
        return {"connect_args": arguments}

    def on_connect(self, connection: Any) -> None:
        return None


_ARRAYS = (
    "ids",
    "fences",
    "runs",
    "attempts",
    "task_statuses",
    "retry_counts",
    "crashes",
    "delays",
    "error_msgs",
    "run_statuses",
    "outputs",
    "errors",
    "payloads",
    "ages",
    "durations",
    "waits",
    "cpu_times",
    "memories",
    "pids",
    "suspects",
)


# Array literals are written by hand: psycopg's own list dumper costs about 1 µs an element, which
# at 19 columns is more than all the rest of a settle. Numbers and null look the same in JSON, whose
# encoder takes 0.02 µs for a float where `str` takes 1.5.
def _numbers(values: Sequence[float | None]) -> str:
    return "{" + orjson.dumps(values)[1:-1].decode() + "}"


def _texts(values: Iterable[str | None]) -> str:
    return "{" + ",".join(["NULL" if v is None else _quoted(v) for v in values]) + "}"


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'

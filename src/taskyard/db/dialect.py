"""Dialect: what a family of databases must know how to say.

Owns the seam: the parent of `postgres.py`, `mysql.py` and `sqlite.py`, which stand side by side and
hold every difference between them: SQL fragments, the two hot statements (claim and settle), and
the meaning of driver errors. Everything above `db` speaks to a `Tx` and asks `tx.dialect` for a
fragment or a capability, never for a name.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from taskyard.db.rows import MAKERS, Claim, ClaimedRow, Head, ItemEnd, Settlement, When

if TYPE_CHECKING:
    import sqlalchemy as sa

    from taskyard.db.database import Tx

_PARAMETER = re.compile(r"(?<![:\w]):([A-Za-z_]\w*)")


OWN_COLUMN_NAMES = (
    "priority",
    "tenant_id",
    "timeout",
    "retry_interval",
    "unique_key",
    "excl_key",
    "hold",
    "crashes",
    "suspect",
    "fence",
    "owner",
    "run_id",
    "claimed_at",
    "queue",
    "origin",
    "context",
)
"""What Taskyard adds to the base columns; each has a constant default or is null."""


INDEX_PURPOSES = ("pending", "keyed", "held", "odd", "owner", "stray", "unique", "excl")
"""What our indexes of a task table are for; `tables.index_name` makes their names of it."""


CHANNEL = "taskyard"
"""What NOTIFY and LISTEN speak on."""

TASK_COLUMNS = (
    "task_type",
    "task_params",
    "priority",
    "max_retries",
    "timeout",
    "retry_interval",
    "unique_key",
    "excl_key",
    "tenant_id",
    "origin",
    "context",
)
"""What an enqueue writes besides `schedule_time`."""


RUN_COLUMNS = (
    "id, task_table, task_id, fence, attempt, task_type, queue, status, origin, tenant_id,"
    " server_id, session, pid, payload, output, error, memory_usage, cpu_time, wait_time,"
    " execution_time, started_at, completed_at, claimed_at, created_at, updated_at, schedule_id,"
    " batch_id, execute_index"
)
"""The columns that settle fills, in this order, in every family; the last three are `makers`."""


# Of the numbers of statistics the first two are summed up, of the last the larger stays.
_ADDING = """
ON CONFLICT ({key}) DO UPDATE
   SET count = {table}.count + excluded.count, total = {table}.total + excluded.total,
       peak = CASE WHEN excluded.peak > {table}.peak THEN excluded.peak ELSE {table}.peak END
"""

KEYS_A_LOOK = 200
"""Exclusive keys that one look goes through; the next goes on behind the last of them."""

# One index probe a priority, and one for what has a key: the cost does not depend on the table.
_LOOK = """
WITH RECURSIVE level (p) AS (
  SELECT (SELECT priority FROM {table} WHERE {pending} ORDER BY priority DESC LIMIT 1)
  UNION ALL
  SELECT (SELECT priority FROM {table} WHERE {pending} AND priority < level.p
           ORDER BY priority DESC LIMIT 1)
    FROM level WHERE level.p IS NOT NULL
)
SELECT p, 0 FROM level
 WHERE p IS NOT NULL
   AND (SELECT {due} FROM {table} WHERE {pending} AND priority = level.p AND {due} IS NOT NULL
         ORDER BY priority, {due}, id LIMIT 1) <= {due_now}
UNION ALL
SELECT 0, 1
 WHERE (SELECT excl_key FROM {table} WHERE {keyed} ORDER BY excl_key LIMIT 1) IS NOT NULL
"""

# Not DISTINCT: with statistics from a time when nothing ran, or none, that reads the whole table.
_OWNERS = """
WITH RECURSIVE walk (o) AS (
  SELECT {first_owner}
  UNION ALL
  SELECT {next_owner} FROM walk WHERE walk.o IS NOT NULL
)
SELECT o FROM walk WHERE o IS NOT NULL
"""

_NEXT_OWNER = """
(SELECT owner FROM {table} WHERE owner IS NOT NULL {behind} ORDER BY owner LIMIT 1)
"""

# One row a key, so that a hundred thousand Tasks of one key cost a look no more than one (they cost
# 30 ms when they were scanned).
_FREE_HEADS = """
WITH RECURSIVE walk (k, n) AS (
  SELECT {first}, 1
  UNION ALL
  SELECT {next}, walk.n + 1 FROM walk WHERE walk.k IS NOT NULL AND walk.n < {keys}
)
SELECT walk.n, walk.k, h.id, h.priority, {due_h}, h.task_type
  FROM walk LEFT JOIN {table} AS h ON h.id = CASE WHEN EXISTS (
    SELECT 1 FROM {table} AS r
     WHERE r.excl_key = walk.k AND r.excl_key IS NOT NULL AND r.owner IS NOT NULL
  ) THEN NULL ELSE (
    SELECT c.id FROM {table} AS c
     WHERE {keyed} AND c.excl_key = walk.k AND c.owner IS NULL AND {due_c} <= {due_now}
     ORDER BY c.priority DESC, {due_c}, c.id LIMIT 1
  ) END
 WHERE walk.k IS NOT NULL
"""

_NEXT_KEY = """
SELECT excl_key FROM {table} WHERE {keyed} AND excl_key {behind} ORDER BY excl_key LIMIT 1
"""


_SETTLE_ITEM = """
UPDATE ty_batch_items SET status = :status, result = :result, error = :error,
       duration = :duration, completed_at = {now}
 WHERE id = :id AND status = 'running' AND run_id = :run_id
"""


class Dialect(ABC):
    """One family of databases."""

    name: ClassVar[str]
    now: ClassVar[str]
    """Now, in the convention of a task table (rulings 1.2)."""
    utc_now: ClassVar[str]
    """Now, in UTC, as `ty_*` tables keep it."""
    pending: ClassVar[str]
    """Condition of the rows that the index of claimable Tasks without a key holds."""
    keyed: ClassVar[str]
    """Condition of the rows that the index of claimable Tasks with a key holds."""
    skip_locked: ClassVar[str] = "FOR UPDATE SKIP LOCKED"
    claims_alone: ClassVar[bool] = False
    """Are claim and settle one statement each, which needs no transaction around it?"""
    writes_overlap: ClassVar[bool] = True
    """May two connections write at the same time?"""
    loose_times: ClassVar[bool] = False
    """May a task table's time column hold text that is no time?"""
    base_columns: ClassVar[Mapping[str, str]]
    """DDL of requirement 5's columns, by name, as a new table gets them."""
    own_columns: ClassVar[Mapping[str, str]]
    """DDL of our own columns, by name."""
    time_type: ClassVar[str]
    """Type of a moment in a `ty_*` table."""

    # --- text ---------------------------------------------------------------------------------

    def text(self, sql: str) -> str:
        """SQL with `:name` parameters in the driver's own style."""
        return _pyformat(sql)

    def fill(self, template: str, table: str) -> str:
        """A statement's text for a task table: `{table}`, `{pending}`, `{due}`, … filled in."""
        return _filled(self, template, table)

    def quote(self, name: str) -> str:
        """A quoted identifier; `schema.table` is quoted part by part."""
        # Names come from `queue_configs`, where strangers write them: a quote must not end one.
        return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))

    @abstractmethod
    def due(self, column: str = "schedule_time") -> str:
        """Expression that orders and compares a task table's time column, and is indexed."""

    @abstractmethod
    def due_now(self) -> str:
        """Expression to compare `due()` with; may use the parameter `:now`."""

    @abstractmethod
    def after(self, seconds: str) -> str:
        """Expression: now plus an expression of seconds, in the task table's convention."""

    @abstractmethod
    def age(self, column: str) -> str:
        """Expression: seconds from a task table's time until now."""

    def whole(self, column: str) -> str:
        """Expression: a count of a stranger's, who may have left it null."""
        return f"coalesce({column}, 0)"

    def exact(self, column: str) -> str:
        """Expression: a text column compared byte by byte, whatever its collation is."""
        return column

    def joined(self, *columns: str) -> str:
        """Expression: texts with a blank between them; null where one of them is."""
        return " || ' ' || ".join(columns)

    def as_text(self, expression: str) -> str:
        """Expression cast so that both halves of a recursive query have one type."""
        return expression

    def or_nothing(self, key: str) -> str:
        """End of an INSERT that does nothing where the row is there already."""
        return " ON CONFLICT DO NOTHING"

    @abstractmethod
    def iso(self, column: str) -> str:
        """Expression: a task table's time as UTC text `YYYY-MM-DDTHH:MM:SS.ffffff`."""

    @abstractmethod
    def epoch(self, column: str) -> str:
        """Expression: seconds since 1970 of a UTC column of a `ty_*` table."""

    @abstractmethod
    def utc_after(self, seconds: str) -> str:
        """Expression: UTC now plus an expression of seconds, for `ty_*` tables."""

    def tail(self, column: str, length: int) -> str:
        """Expression: the last `length` characters of a text."""
        return f"RIGHT({column}, {length})"

    @abstractmethod
    def utc_from(self, seconds: str) -> str:
        """Expression: the moment so many seconds after 1970, for `ty_*` tables."""

    @abstractmethod
    def in_context(self, column: str, name: str) -> str:
        """Expression: a whole number that a Task's context has under a name; else null.

        It never fails: strangers may write anything into that column.
        """

    def makers(self, column: str) -> str:
        """Expressions of `MAKERS`, taken from a Task's context; they cost nothing where it is null.

        Taken inside the database: the rescue of a dead Server's Tasks goes the same way.
        """
        return ", ".join(self.in_context(column, name) for name in MAKERS)

    @abstractmethod
    def json_of(self, columns: Mapping[str, str]) -> str:
        """Expression: expressions by name as a JSON object, as text, always written alike."""

    def clock(self) -> dict[str, Any]:
        """Parameters that stand for the database's clock, where SQL cannot say it itself."""
        return {}

    # --- what could be claimed ------------------------------------------------------------------

    def look(self, tx: Tx, table: str) -> tuple[Iterable[int], bool]:
        """The priorities that have something due, highest first; and whether any key waits."""
        found = tx.all(self.fill(_LOOK, table), **self.clock())
        return [row[0] for row in found if not row[1]], any(row[1] for row in found)

    def free_heads(self, tx: Tx, table: str, after: str) -> tuple[list[Head], str]:
        """Of each exclusive key from `after` on that nobody holds, the row that is next.

        Returns them and the key to go on from ('' after the last).
        """
        rows = tx.all(self.fill(self.free_heads_sql(), table), **self.clock(), after=after)
        # The last by the walk's own count: the database may sort text otherwise than Python does.
        more = max(rows)[1] if len(rows) >= KEYS_A_LOOK else ""
        return [Head(*row[2:]) for row in rows if row[2] is not None], more

    def free_heads_sql(self) -> str:
        """The statement of `free_heads`."""
        return _FREE_HEADS

    def owners(self, tx: Tx, table: str) -> list[str]:
        """The Sessions that own rows of a table, dead or alive."""
        return [row[0] for row in tx.all(self.fill(_OWNERS, table))]

    # --- the two hot statements -----------------------------------------------------------------

    @abstractmethod
    def claim(self, tx: Tx, claim: Claim) -> list[ClaimedRow]:
        """Claim the next due Tasks (or `claim.ids`) for a live Session; see `tasks/claim.py`."""

    @abstractmethod
    def settle(self, tx: Tx, settlement: Settlement) -> set[int]:
        """Write endings under the fence, insert their Runs and note them in `ty_uncounted`.

        Returns the ids that were hit.
        """

    # --- statistics -----------------------------------------------------------------------------

    def adding(self, table: str, key: Sequence[str]) -> str:
        """End of an INSERT of count, total and peak that adds to those of a row that is there."""
        return _ADDING.format(table=table, key=", ".join(key))

    @abstractmethod
    def minute(self, column: str) -> str:
        """Expression: the minute in which a time of a `ty_*` table is, in seconds since 1970."""

    def among(self, column: str, numbers: Sequence[int]) -> str:
        """Condition: a column of whole numbers has one of these, which may be many."""
        return f"{column} IN ({', '.join(map(str, numbers))})"

    def looked_up(self, column: str, numbers: Sequence[int]) -> str:
        """Condition: as `among`, of at most a thousand numbers that an index leads to."""
        return f"{column} IN ({', '.join(map(str, numbers))})"

    def along(self, table: str, index: str) -> str:
        """A table, to be read along one of its indexes."""
        return table

    def floor(self, expression: str) -> str:
        """Expression: the whole number below a number that is not negative."""
        return f"CAST(floor({expression}) AS bigint)"

    # --- batches --------------------------------------------------------------------------------

    def insert_many(
        self, tx: Tx, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Insert many rows into a `ty_*` table."""
        marks = ", ".join(f":{name}" for name in columns)
        sql = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"
        tx.many(sql, [dict(zip(columns, row, strict=True)) for row in rows])

    def settle_items(self, tx: Tx, run_id: int, status: str, rows: Sequence[ItemEnd]) -> int:
        """Write the ends of items that a Run has; returns how many it still had."""
        given = {"status": status, "run_id": run_id}
        tx.many(
            _SETTLE_ITEM.format(now=self.utc_now),
            [dict(zip(ItemEnd._fields, row, strict=True)) | given for row in rows],
        )
        return int(tx.cursor.rowcount)

    # --- enqueue --------------------------------------------------------------------------------

    single_inserts: ClassVar[bool] = True
    """May an INSERT go out without a transaction around it?"""
    rings: ClassVar[bool] = False
    """Has it LISTEN/NOTIFY?"""

    @abstractmethod
    def insert_task(
        self, tx: Tx, table: str, row: Mapping[str, Any], when: When, *, ring: bool = False
    ) -> int | None:
        """Insert a Task and return its id; None where a live one has its unique_key.

        The caller's transaction survives the duplicate (rulings 1.3). `ring` rings the bell in the
        same statement, where there is one.
        """

    @abstractmethod
    def insert_tasks(
        self, tx: Tx, table: str, rows: Sequence[Mapping[str, Any]], whens: Sequence[When]
    ) -> list[int]:
        """Insert Tasks that have no unique_key; their ids, in the order given."""

    # --- task tables ----------------------------------------------------------------------------

    def create_table(self, table: str) -> str:
        """The statement that creates a task table."""
        columns = [*self.base_columns.values(), *self.own_columns.values()]
        body = ",\n  ".join(columns)
        return f"CREATE TABLE IF NOT EXISTS {self.quote(table)} (\n  {body}\n){self.table_options}"

    table_options: ClassVar[str] = ""

    @abstractmethod
    def index_statements(self, table: str, name: Callable[[str, str], str]) -> list[str]:
        """The statements that make our indexes; `name(table, purpose)` names them."""

    def adopt_statements(
        self, table: str, missing: Sequence[str], existing: Mapping[str, Any]
    ) -> list[str]:
        """The statements that give an existing table our `missing` columns."""
        return [
            f"ALTER TABLE {self.quote(table)} ADD COLUMN {self.own_columns[name]}"
            for name in missing
        ]

    @abstractmethod
    def indexes(self, tx: Tx, table: str) -> set[str]:
        """Names of the indexes that a table has."""

    def allow_null(self, table: str, column: str, kind: Any) -> str:
        """The statement that makes a column nullable; '' where there is none."""
        return f"ALTER TABLE {self.quote(table)} ALTER COLUMN {self.quote(column)} DROP NOT NULL"

    def repairs(self, tx: Tx, table: str) -> list[str]:
        """The statements that clear away what an adoption that broke off has left."""
        return []

    def taken_names(self, tx: Tx, table: str, names: Sequence[str]) -> list[tuple[str, str]]:
        """Which of these names are of indexes of other tables: name and table."""
        return []

    @abstractmethod
    def is_present(self, error: BaseException) -> bool:
        """Does a DDL error mean that the thing is there already?"""

    @abstractmethod
    def is_table_missing(self, error: BaseException) -> bool:
        """Does the error mean that the table (or a column of ours) is gone?"""

    @contextmanager
    def locked(self, tx: Tx, name: str) -> Iterator[None]:
        """Hold a lock of this name in the database for the length of the block."""
        yield

    # --- drivers --------------------------------------------------------------------------------

    @abstractmethod
    def is_disconnect(self, error: BaseException) -> bool:
        """Does the error mean that the connection is gone?"""

    @abstractmethod
    def is_transient(self, error: BaseException) -> bool:
        """Does the error mean that the whole transaction may simply be run again?"""

    @abstractmethod
    def is_duplicate(self, error: BaseException) -> bool:
        """Does the error mean that a unique key was violated?"""

    @abstractmethod
    def is_refused(self, error: BaseException) -> bool:
        """Does a failed connect mean wrong credentials or no such database (waiting won't help)?"""

    @abstractmethod
    def begin(self) -> str:
        """The statement that opens a writing transaction."""

    def engine_options(self, url: sa.URL, pooler: bool) -> dict[str, Any]:
        """Keyword arguments for `sqlalchemy.create_engine`."""
        return {}

    def on_connect(self, connection: Any) -> None:  # noqa: B027 (most need nothing)
        """Prepare a new driver connection."""


@lru_cache(maxsize=1024)
def _filled(dialect: Dialect, template: str, table: str) -> str:
    quoted = dialect.quote(table)
    step = _NEXT_KEY.format(table=quoted, keyed=dialect.keyed, behind="{behind}")
    return template.format(
        table=quoted,
        pending=dialect.pending,
        keyed=dialect.keyed,
        task_type=dialect.exact("task_type"),
        due=dialect.due(),
        due_h=dialect.due("h.schedule_time"),
        due_c=dialect.due("c.schedule_time"),
        due_now=dialect.due_now(),
        # Not `>`: strangers may write '' as a key, and the first walk goes on behind ''.
        first_owner=dialect.as_text(_NEXT_OWNER.format(table=quoted, behind="")),
        next_owner=dialect.as_text(_NEXT_OWNER.format(table=quoted, behind="AND owner > walk.o")),
        first=dialect.as_text(f"({step.format(behind='>= :after')})"),
        next=dialect.as_text(f"({step.format(behind='> walk.k')})"),
        keys=KEYS_A_LOOK,
    )


@lru_cache(maxsize=2048)
def _pyformat(sql: str) -> str:
    return _PARAMETER.sub(r"%(\1)s", sql.replace("%", "%%"))

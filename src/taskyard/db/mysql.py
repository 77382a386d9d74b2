"""MySQL 8 and MariaDB 10.6 and newer, by PyMySQL.

Owns its SQL fragments, its claim and settle, and the meaning of its error numbers. These servers
have no UPDATE ... RETURNING and no partial indexes: a claim locks, then updates, in one short
transaction, and virtual columns stand in for the predicates of the indexes (rulings 1.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import orjson

from taskyard.db import uncounted
from taskyard.db.dialect import KEYS_A_LOOK, RUN_COLUMNS, Dialect
from taskyard.db.rows import Claim, ClaimedRow, Ending, Head, Settlement, When

if TYPE_CHECKING:
    import sqlalchemy as sa

    from taskyard.db.database import Tx

T = TypeVar("T")

_LOCK_DUE = """
SELECT id, fence + 1, task_type,
       CASE WHEN OCTET_LENGTH(task_params) <= :max_params THEN task_params END,
       COALESCE(OCTET_LENGTH(task_params), 0), COALESCE(retry_count, 0), COALESCE(max_retries, 0),
       crashes, retry_interval, timeout, tenant_id, origin, context, excl_key,
       GREATEST(0, TIMESTAMPDIFF(MICROSECOND,
                                 GREATEST(schedule_time, COALESCE(created_at, schedule_time)),
                                 NOW(6))) / 1000000.0E0,
       suspect
  FROM {table}
 WHERE {where}
   AND EXISTS (SELECT 1 FROM ty_servers WHERE session = :owner AND state = 'live')
 ORDER BY schedule_time, id LIMIT :limit FOR UPDATE SKIP LOCKED
"""

_TOP = """
SELECT (SELECT priority FROM {table} WHERE {pending} ORDER BY priority DESC LIMIT 1),
       EXISTS (SELECT 1 FROM {table} WHERE {keyed})
"""

_LEVEL = """
SELECT (SELECT schedule_time FROM {table} WHERE {pending} AND priority = :level
         ORDER BY schedule_time LIMIT 1) <= NOW(6),
       (SELECT priority FROM {table} WHERE {pending} AND priority < :level
         ORDER BY priority DESC LIMIT 1)
"""

_NEXT_KEY = """
SELECT excl_key FROM {table} WHERE {keyed} AND excl_key {behind} :after ORDER BY excl_key LIMIT 1
"""

_HEAD_OF_KEY = """
SELECT id, priority, schedule_time, task_type FROM {table}
 WHERE {keyed} AND excl_key = :key AND owner IS NULL AND schedule_time <= NOW(6)
   AND NOT EXISTS (SELECT 1 FROM {table} AS r WHERE r.excl_live = :key)
 ORDER BY priority DESC, schedule_time, id LIMIT 1
"""

# Differs because a range that depends on an outer row reads a whole index here; DISTINCT does not.
_OWNERS = "SELECT DISTINCT owner FROM {table} WHERE owner IS NOT NULL"

_NUMBER_FROM = "SET @taskyard_run := :first_run_id - 1"

_TAKE = """
UPDATE {table}
   SET status = 1, fence = fence + 1, owner = :owner, server_id = :server_id, queue = :queue,
       run_id = (@taskyard_run := @taskyard_run + 1), start_time = NOW(6), end_time = NULL,
       claimed_at = FLOOR(UNIX_TIMESTAMP(NOW(6)) * 1000000), updated_at = NOW(6)
 WHERE id IN ({ids}) ORDER BY id
"""

_LOCK_HELD = """
SELECT id, fence, run_id FROM {table}
 WHERE id IN ({ids}) AND status = 1 AND owner = :owner ORDER BY id FOR UPDATE
"""

_ENDINGS = """
JSON_TABLE(:endings, '$[*]' COLUMNS (
  id BIGINT PATH '$[0]', run_id BIGINT PATH '$[2]', attempt INT PATH '$[3]',
  task_status SMALLINT PATH '$[4]', retry_count INT PATH '$[5]', crashes INT PATH '$[6]',
  delay DOUBLE PATH '$[7]', error_msg LONGTEXT PATH '$[8]', run_status VARCHAR(20) PATH '$[9]',
  output LONGTEXT PATH '$[10]', error LONGTEXT PATH '$[11]', payload LONGTEXT PATH '$[12]',
  age DOUBLE PATH '$[13]', duration DOUBLE PATH '$[14]', wait DOUBLE PATH '$[15]',
  cpu_time DOUBLE PATH '$[16]', memory BIGINT PATH '$[17]', pid INT PATH '$[18]',
  suspect SMALLINT PATH '$[19]')) AS d
"""

_INSERT_RUNS = (
    """
INSERT INTO ty_runs ({run_columns})
SELECT d.run_id, :task_table, t.id, t.fence, d.attempt, t.task_type, :queue, d.run_status, t.origin,
       t.tenant_id, :server_id, :owner, d.pid, COALESCE(d.payload, t.task_params), d.output,
       d.error, d.memory, d.cpu_time, d.wait, d.duration,
       UTC_TIMESTAMP(6) - INTERVAL ROUND(d.age * 1000000) MICROSECOND,
       UTC_TIMESTAMP(6) - INTERVAL ROUND(COALESCE(d.age - d.duration, 0) * 1000000) MICROSECOND,
       t.claimed_at, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), {makers}
  FROM """
    + _ENDINGS
    + """ JOIN {table} AS t ON t.id = d.id
"""
)

# The common end of a batch needs no value of its own: one look-up by primary key a row.
_COMPLETE = """
UPDATE {table}
   SET status = 2, owner = NULL, error_msg = NULL, end_time = NOW(6), updated_at = NOW(6)
 WHERE id IN ({ids})
"""

_END_TASKS = (
    """
UPDATE {table} AS t JOIN """
    + _ENDINGS
    + """ ON t.id = d.id
   SET t.status = d.task_status, t.owner = NULL, t.retry_count = d.retry_count,
       t.crashes = d.crashes, t.suspect = d.suspect, t.error_msg = d.error_msg,
       t.end_time = IF(d.task_status = 0, NULL, NOW(6)),
       t.schedule_time = IF(d.delay IS NULL, t.schedule_time,
                            NOW(6) + INTERVAL ROUND(d.delay * 1000000) MICROSECOND),
       t.updated_at = NOW(6)
"""
)

# Not an alias for the new row, which MariaDB does not know.
_ADDING = """
ON DUPLICATE KEY UPDATE count = count + VALUES(count), total = total + VALUES(total),
                        peak = GREATEST(peak, VALUES(peak))
"""

_INSERT_TASK = """
INSERT INTO {table} (task_type, task_params, priority, max_retries, timeout, retry_interval,
                     unique_key, excl_key, tenant_id, origin, context, schedule_time)
VALUES {values}
"""

_VALUES = (
    "(:task_type, :task_params, :priority, :max_retries, :timeout, :retry_interval, :unique_key,"
    " :excl_key, :tenant_id, :origin, :context,"
    # FROM_UNIXTIME knows nothing before 1970 and, on some of these servers, after 2038.
    " COALESCE(FROM_UNIXTIME(IF(:at BETWEEN 0 AND 2147483647, :at, NULL)),"
    " NOW(6) + INTERVAL ROUND((:at - UNIX_TIMESTAMP(NOW(6))) * 1000000) MICROSECOND,"
    " NOW(6) + INTERVAL ROUND(COALESCE(:delay, 0) * 1000000) MICROSECOND))"
)

_BINARY = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

_PACKET = 2 * 1024 * 1024
"""Characters of text in one statement; a character is at most four bytes."""

_TRANSIENT = {1213, 1205, 1020}
_DISCONNECT = {0, 2006, 2013, 2055, 1053, 1927, 1152, 1158, 1159, 1160, 1161}
_REFUSED = {1044, 1045, 1049, 1698}


class MySQL(Dialect):
    """MySQL 8.0 and MariaDB 10.6 and newer."""

    name = "mysql"
    now = "NOW(6)"
    utc_now = "UTC_TIMESTAMP(6)"
    pending = "status = 0 AND hold = 0 AND keyed = 0"
    keyed = "status = 0 AND hold = 0 AND excl_key IS NOT NULL"
    time_type = "datetime(6)"
    table_options = " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
    base_columns: ClassVar = {
        "id": "id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY",
        "task_type": "task_type varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL",
        "task_params": "task_params longtext",
        "status": "status tinyint NOT NULL DEFAULT 0",
        "schedule_time": "schedule_time datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)",
        "start_time": "start_time datetime(6) DEFAULT NULL",
        "end_time": "end_time datetime(6) DEFAULT NULL",
        "retry_count": "retry_count int NOT NULL DEFAULT 0",
        "max_retries": "max_retries int NOT NULL DEFAULT 3",
        "error_msg": "error_msg longtext",
        "server_id": "server_id varchar(50) NOT NULL DEFAULT ''",
        "created_at": "created_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)",
        "updated_at": (
            "updated_at datetime(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)"
            " ON UPDATE CURRENT_TIMESTAMP(6)"
        ),
    }
    own_columns: ClassVar = {
        "priority": "priority smallint NOT NULL DEFAULT 0",
        "tenant_id": f"tenant_id varchar(64) {_BINARY} NOT NULL DEFAULT ''",
        "timeout": "timeout double DEFAULT NULL",
        "retry_interval": "retry_interval double DEFAULT NULL",
        "unique_key": f"unique_key varchar(190) {_BINARY} DEFAULT NULL",
        "excl_key": f"excl_key varchar(190) {_BINARY} DEFAULT NULL",
        "hold": "hold smallint NOT NULL DEFAULT 0",
        "crashes": "crashes int NOT NULL DEFAULT 0",
        "suspect": "suspect smallint NOT NULL DEFAULT 0",
        "fence": "fence bigint NOT NULL DEFAULT 0",
        "owner": f"owner varchar(40) {_BINARY} DEFAULT NULL",
        "run_id": "run_id bigint DEFAULT NULL",
        "claimed_at": "claimed_at bigint DEFAULT NULL",
        "queue": f"queue varchar(100) {_BINARY} DEFAULT NULL",
        "origin": f"origin varchar(20) {_BINARY} NOT NULL DEFAULT 'enqueued'",
        "context": "context longtext DEFAULT NULL",
        # Virtual, so that adding them changes no row; they stand in for partial indexes.
        "keyed": "keyed tinyint AS (excl_key IS NOT NULL) VIRTUAL",
        "unique_live": (
            f"unique_live varchar(190) {_BINARY}"
            " AS (CASE WHEN status IN (0, 1) THEN unique_key END) VIRTUAL"
        ),
        "excl_live": (
            f"excl_live varchar(190) {_BINARY}"
            " AS (CASE WHEN owner IS NOT NULL THEN excl_key END) VIRTUAL"
        ),
    }

    def insert_task(
        self, tx: Tx, table: str, row: Mapping[str, Any], when: When, *, ring: bool = False
    ) -> int | None:
        sql = _INSERT_TASK.format(table=self.quote(table), values=_VALUES)
        try:
            return tx.insert_id(sql, **row, at=when[0], delay=when[1])
        except Exception as error:
            # A duplicate undoes only its own statement here, so the transaction lives on.
            if self.is_duplicate(getattr(error, "orig", error)):
                return None
            raise

    def insert_tasks(
        self, tx: Tx, table: str, rows: Sequence[Mapping[str, Any]], whens: Sequence[When]
    ) -> list[int]:
        # One INSERT whose number of rows is known beforehand draws its ids in one go, in order;
        # where several servers write (Galera) they are apart by as many.
        step = int(tx.value("SELECT @@auto_increment_increment"))
        ids: list[int] = []
        for packet in _packets(list(zip(rows, whens, strict=True)), lambda r: r[0].values()):
            values, parameters = [], {}
            for n, (row, (at, delay)) in enumerate(packet):
                values.append(_VALUES.replace(":", f":r{n}_"))
                parameters.update({f"r{n}_{name}": value for name, value in row.items()})
                parameters[f"r{n}_at"], parameters[f"r{n}_delay"] = at, delay
            sql = _INSERT_TASK.format(table=self.quote(table), values=", ".join(values))
            first = tx.insert_id(sql, **parameters)
            ids += range(first, first + step * len(packet), step)
        return ids

    def index_statements(self, table: str, name: Callable[[str, str], str]) -> list[str]:
        indexes = (
            ("", "pending", "(status, hold, keyed, priority, schedule_time, id)"),
            ("", "keyed", "(status, hold, excl_key, priority DESC, schedule_time, id)"),
            ("", "owner", "(owner)"),
            ("UNIQUE ", "unique", "(tenant_id, unique_live)"),
            ("UNIQUE ", "excl", "(excl_live)"),
        )
        return [
            f"CREATE {unique}INDEX `{name(table, purpose)}` ON {self.quote(table)} {columns}"
            for unique, purpose, columns in indexes
        ]

    def adopt_statements(
        self, table: str, missing: Sequence[str], existing: Mapping[str, Any]
    ) -> list[str]:
        statements = super().adopt_statements(table, missing, existing)
        if existing["schedule_time"]["default"] is not None:
            return statements
        fsp = getattr(existing["schedule_time"]["type"], "fsp", None)
        # Not MODIFY, which would take the column's comment away.
        statements.append(
            f"ALTER TABLE {self.quote(table)} ALTER COLUMN schedule_time"
            f" SET DEFAULT (CURRENT_TIMESTAMP{f'({fsp})' if fsp else ''})"
        )
        return statements

    def indexes(self, tx: Tx, table: str) -> set[str]:
        schema, _, name = table.rpartition(".")
        rows = tx.all(
            "SELECT DISTINCT index_name FROM information_schema.statistics"
            " WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name",
            schema=schema or None,
            name=name,
        )
        return {row[0] for row in rows}

    def allow_null(self, table: str, column: str, kind: Any) -> str:
        return f"ALTER TABLE {self.quote(table)} MODIFY {self.quote(column)} {kind} NULL"

    def is_present(self, error: BaseException) -> bool:
        return _number(error) in (1050, 1060, 1061)

    def is_table_missing(self, error: BaseException) -> bool:
        return _number(error) in (1146, 1054)

    @contextmanager
    def locked(self, tx: Tx, name: str) -> Iterator[None]:
        if tx.value("SELECT GET_LOCK(LEFT(:name, 64), 60)", name=name) != 1:
            raise TimeoutError(f"the lock {name} was not free within 60 s")
        try:
            yield
        finally:
            tx.value("SELECT RELEASE_LOCK(LEFT(:name, 64))", name=name)

    def quote(self, name: str) -> str:
        return ".".join("`" + part.replace("`", "``") + "`" for part in name.split("."))

    def due(self, column: str = "schedule_time") -> str:
        return column

    def due_now(self) -> str:
        return "NOW(6)"

    def after(self, seconds: str) -> str:
        return f"NOW(6) + INTERVAL ROUND(({seconds}) * 1000000) MICROSECOND"

    def utc_after(self, seconds: str) -> str:
        return f"UTC_TIMESTAMP(6) + INTERVAL ROUND(({seconds}) * 1000000) MICROSECOND"

    def joined(self, *columns: str) -> str:
        return f"CONCAT_WS(' ', {', '.join(columns)})"

    def or_nothing(self, key: str) -> str:
        return f" ON DUPLICATE KEY UPDATE {key} = {key}"

    # Both looks differ because these servers read a whole index where a range depends on an outer
    # row (200 000 pending rows: 55 ms); with constants each probe is one entry.

    def look(self, tx: Tx, table: str) -> tuple[Iterable[int], bool]:
        quoted = self.quote(table)
        top, keyed = tx.all(_TOP.format(table=quoted, pending=self.pending, keyed=self.keyed))[0]
        return self._due_levels(tx, quoted, top), bool(keyed)

    def _due_levels(self, tx: Tx, table: str, level: int | None) -> Iterator[int]:
        sql = _LEVEL.format(table=table, pending=self.pending)
        while level is not None:
            due, below = tx.all(sql, level=level)[0]
            if due:
                yield level
            level = below

    def free_heads(self, tx: Tx, table: str, after: str) -> tuple[list[Head], str]:
        quoted = self.quote(table)
        probe = _HEAD_OF_KEY.format(table=quoted, keyed=self.keyed)
        heads: list[Head] = []
        behind = ">="  # strangers may write '' as a key
        for _ in range(KEYS_A_LOOK):
            step = _NEXT_KEY.format(table=quoted, keyed=self.keyed, behind=behind)
            key = tx.value(step, after=after)
            if key is None:
                return heads, ""
            heads += [Head(*row) for row in tx.all(probe, key=key)]
            after, behind = key, ">"
        return heads, after

    def owners(self, tx: Tx, table: str) -> list[str]:
        return [row[0] for row in tx.all(_OWNERS.format(table=self.quote(table)))]

    def exact(self, column: str) -> str:
        # The servers' default collations, which adopted tables have, take a for A and for ä.
        return f"CONVERT({column} USING utf8mb4) COLLATE utf8mb4_bin"

    def iso(self, column: str) -> str:
        # The server's own zone at this moment: task tables keep its local time (rulings 1.2).
        shift = "TIMESTAMPDIFF(MICROSECOND, NOW(6), UTC_TIMESTAMP(6))"
        return f"DATE_FORMAT({column} + INTERVAL {shift} MICROSECOND, '%Y-%m-%dT%H:%i:%s.%f')"

    def age(self, column: str) -> str:
        return f"(TIMESTAMPDIFF(MICROSECOND, {column}, NOW(6)) / 1000000.0E0)"

    def epoch(self, column: str) -> str:
        return f"(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column}) / 1000000.0E0)"

    def utc_from(self, seconds: str) -> str:
        return f"TIMESTAMP('1970-01-01') + INTERVAL ROUND(({seconds}) * 1000000) MICROSECOND"

    def in_context(self, column: str, name: str) -> str:
        found = f"REGEXP_SUBSTR({column}, '(?<=\"{name}\":)[0-9]{{1,18}}')"
        return f"CAST(NULLIF({found}, '') AS SIGNED)"

    def json_of(self, columns: Mapping[str, str]) -> str:
        pairs = ", ".join(f"'{name}', {expression}" for name, expression in columns.items())
        return f"CAST(JSON_OBJECT({pairs}) AS CHAR)"

    def claim(self, tx: Tx, claim: Claim) -> list[ClaimedRow]:
        if claim.ids is not None:
            where = f"id IN ({_list(claim.ids)}) AND status = 0 AND hold = 0 AND owner IS NULL"
        else:
            where = (
                f"{self.pending} AND owner IS NULL AND priority = :priority"
                " AND schedule_time <= NOW(6)"
            )
        where += f" AND {self.exact('task_type')} IN :task_types"
        of_open, closed = claim.of_open_tenants()
        where += of_open
        table = self.quote(claim.table)
        rows = tx.all(
            _LOCK_DUE.format(table=table, where=where),
            task_types=claim.task_types,
            **closed,
            priority=claim.priority,
            limit=claim.limit,
            owner=claim.owner,
            max_params=claim.max_params,
        )
        if not rows:
            return []
        ids = sorted(row[0] for row in rows)  # numbered and updated in this order
        number = {task_id: claim.first_run_id + n for n, task_id in enumerate(ids)}
        tx.execute(_NUMBER_FROM, first_run_id=claim.first_run_id)
        taken = tx.execute(
            _TAKE.format(table=table, ids=_list(ids)),
            owner=claim.owner,
            server_id=claim.server_id,
            queue=claim.queue,
        )
        assert taken == len(rows), f"claimed {taken} of {len(rows)} locked rows"
        return [ClaimedRow(row[0], row[1], number[row[0]], *row[2:]) for row in rows]

    def settle(self, tx: Tx, settlement: Settlement) -> set[int]:
        table = self.quote(settlement.table)
        ids = _list(sorted(e.id for e in settlement.endings))
        held = set(tx.all(_LOCK_HELD.format(table=table, ids=ids), owner=settlement.owner))
        mine = [e for e in settlement.endings if (e.id, e.fence, e.run_id) in held]
        if not mine:
            return set()
        for packet in _packets(mine, lambda ending: ending):
            tx.execute(
                _INSERT_RUNS.format(
                    table=table, run_columns=RUN_COLUMNS, makers=self.makers("t.context")
                ),
                endings=_json(packet),
                task_table=settlement.table,
                queue=settlement.queue,
                server_id=settlement.server_id,
                owner=settlement.owner,
            )
        plain = [e for e in mine if e.task_status == 2]
        if plain:
            tx.execute(_COMPLETE.format(table=table, ids=_list(e.id for e in plain)))
        others = [e for e in mine if e.task_status != 2]
        for packet in _packets(others, lambda ending: ending):
            tx.execute(_END_TASKS.format(table=table), endings=_json(packet))
        uncounted.note(tx, [e.run_id for e in mine])
        return {e.id for e in mine}

    def adding(self, table: str, key: Sequence[str]) -> str:
        return _ADDING

    def floor(self, expression: str) -> str:
        return f"CAST(FLOOR({expression}) AS SIGNED)"

    def along(self, table: str, index: str) -> str:
        # Differs because the optimizer looks up the index's first column and then reads all rows of
        # it that lie before the page (125 000: 2 s), though their order has a range in it as well.
        return f"{table} FORCE INDEX ({index})"

    def minute(self, column: str) -> str:
        return f"TIMESTAMPDIFF(MINUTE, '1970-01-01', {column}) * 60"

    def begin(self) -> str:
        return "BEGIN"

    def is_disconnect(self, error: BaseException) -> bool:
        return _number(error) in _DISCONNECT

    def is_transient(self, error: BaseException) -> bool:
        return _number(error) in _TRANSIENT

    def is_duplicate(self, error: BaseException) -> bool:
        return _number(error) == 1062

    def is_refused(self, error: BaseException) -> bool:
        return _number(error) in _REFUSED

    def engine_options(self, url: sa.URL, pooler: bool) -> dict[str, Any]:
        return {
            "connect_args": {
                "autocommit": True,
                "connect_timeout": 5,
                "read_timeout": 30,
                "write_timeout": 30,
                "charset": "utf8mb4",
            }
        }

    def on_connect(self, connection: Any) -> None:
        # The time zone is left alone: rows that others INSERT carry the server's own (rulings 1.2).
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            # A paused process must not keep its locks: MariaDB ends its transaction after a minute,
            # as PostgreSQL does; MySQL has no such limit, and reads a comment.
            mariadb = "/*M!100309 , idle_transaction_timeout = 60 */"
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = 5 {mariadb}")


def _packets(rows: Sequence[T], values: Callable[[T], Iterable[Any]]) -> Iterator[Sequence[T]]:
    """`rows` in parts that fit into one packet each (16 MiB by default, and escaping doubles)."""
    start = weight = 0
    for n, row in enumerate(rows):
        size = sum(len(value) for value in values(row) if isinstance(value, str))
        if n > start and weight + size > _PACKET:
            yield rows[start:n]
            start, weight = n, 0
        weight += size
    if rows:
        yield rows[start:]


def _json(endings: Sequence[Ending]) -> str:
    return orjson.dumps([tuple(ending) for ending in endings]).decode()


def _list(numbers: Any) -> str:
    return ", ".join([str(int(n)) for n in numbers]) or "NULL"


def _number(error: BaseException) -> int | None:
    code = error.args[0] if error.args else None
    return code if isinstance(code, int) else None

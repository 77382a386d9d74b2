"""Database: connections, transactions, and what happens when they break.

Owns the engine and its pool, `Tx` (one transaction on one driver connection), the retry of whole
transactions, and the deadline on every statement. Which SQL is said is the callers' business; how
databases differ is `dialect.py`'s.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import sqlalchemy as sa

from taskyard.core.errors import (
    DatabaseLocked,
    DatabaseUnreachable,
    MissingExtra,
    OutcomeUnknown,
)
from taskyard.db.bell import Bell
from taskyard.db.deadline import Deadlines
from taskyard.db.dialect import Dialect
from taskyard.db.mysql import MySQL
from taskyard.db.postgres import PostgreSQL
from taskyard.db.sqlite import SQLite
from taskyard.db.turnstile import Turnstile
from taskyard.settings import normal_url

T = TypeVar("T")

_TRIES = 8
_STALE_AFTER = 1.0  # a connection idle for longer is asked whether it still lives
_STATEMENT_DEADLINE = 35.0  # beyond the server's own 30 s: for connections that went silent

_DIALECTS: Mapping[str, type[Dialect]] = {
    "sqlite": SQLite,
    "postgresql": PostgreSQL,
    "mysql": MySQL,
    "mariadb": MySQL,
}


class Tx:
    """One transaction (or one autocommitted statement) on one driver connection.

    SQL is written with `:name` parameters; rows come back as tuples, or by name from `rows`.
    """

    __slots__ = ("connection", "cursor", "dialect")

    def __init__(self, connection: Any, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect
        self.cursor = connection.cursor()

    def execute(self, sql: str, /, **parameters: Any) -> int:
        """Run a statement; returns the number of rows it hit (matched, not only changed)."""
        self.cursor.execute(self.dialect.text(sql), parameters)
        return int(self.cursor.rowcount)

    def many(self, sql: str, rows: Sequence[Mapping[str, Any] | tuple[Any, ...]]) -> int:
        """Run a statement once for each set of parameters; returns the rows it hit in all."""
        if not rows:
            return 0
        self.cursor.executemany(self.dialect.text(sql), rows)
        return int(self.cursor.rowcount)

    def all(self, sql: str, /, **parameters: Any) -> list[tuple[Any, ...]]:
        """All rows of a query, as tuples."""
        self.cursor.execute(self.dialect.text(sql), parameters)
        return list(self.cursor.fetchall())

    def one(self, sql: str, /, **parameters: Any) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        self.cursor.execute(self.dialect.text(sql), parameters)
        row: tuple[Any, ...] | None = self.cursor.fetchone()
        return row

    def insert_id(self, sql: str, /, **parameters: Any) -> int:
        """Run one INSERT; returns the id that the database gave the row."""
        self.cursor.execute(self.dialect.text(sql), parameters)
        return int(self.cursor.lastrowid)

    def value(self, sql: str, /, **parameters: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.one(sql, **parameters)
        return None if row is None else row[0]

    def rows(self, sql: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """All rows of a query, as dictionaries by column name."""
        found = self.all(sql, **parameters)
        names = [column[0] for column in self.cursor.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part that may fail on its own: rolled back alone, the error raised on."""
        self.cursor.execute("SAVEPOINT taskyard_part")
        try:
            yield
        except BaseException:
            self.cursor.execute("ROLLBACK TO SAVEPOINT taskyard_part")
            raise
        self.cursor.execute("RELEASE SAVEPOINT taskyard_part")


class Database:
    """One database that Taskyard lives in."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        pooler: bool = False,
        notify: bool = True,
        synchronous: str = "NORMAL",
    ) -> None:
        """Prepare the database at `url`; nothing is connected yet.

        `pool_size` is the number of connections kept open, `pooler` says that a transaction pooler
        stands before a PostgreSQL, `notify` allows its LISTEN/NOTIFY, `synchronous` is SQLite's
        pragma.
        """
        self.url = sa.make_url(normal_url(url))
        self.pooler = pooler
        self.dialect: Dialect = _DIALECTS[self.url.get_backend_name()]()
        self._synchronous = synchronous
        self.engine = self._engine(pool_size)
        self.turnstile = Turnstile(self.url) if self.dialect.name == "sqlite" else None
        self.bell = Bell(self, on=notify)
        self.cache: dict[str, tuple[str, float]] = {}
        """Queue -> (table, until when it may be believed); kept by `tasks.enqueue.route`."""
        self._deadlines = Deadlines()

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)!r})"

    # --- transactions ---------------------------------------------------------------------------

    @contextmanager
    def transaction(self, *, deadline: float = _STATEMENT_DEADLINE) -> Iterator[Tx]:
        """A writing transaction: committed at the end of the block, rolled back on any error.

        `deadline` is in seconds for the whole block. Raises DatabaseUnreachable when no connection
        can be made; driver errors of the block's own statements come through as they are.
        """
        with self.turn(), self._connection(deadline) as connection:
            tx = Tx(connection, self.dialect)
            tx.cursor.execute(self.dialect.begin())
            try:
                yield tx
            except BaseException:
                with suppress(Exception):
                    tx.cursor.execute("ROLLBACK")
                raise
            tx.cursor.execute("COMMIT")

    @contextmanager
    def autocommit(self, *, deadline: float = _STATEMENT_DEADLINE) -> Iterator[Tx]:
        """Single statements, each committed by itself; reads, and writes of one statement."""
        with self._connection(deadline) as connection:
            yield Tx(connection, self.dialect)

    @contextmanager
    def exclusive(self, name: str) -> Iterator[Tx]:
        """Statements under a lock of this name over all servers: for DDL, which must not race."""
        with (
            self.turn(),
            self.autocommit(deadline=600.0) as tx,
            self.dialect.locked(tx, name),
        ):
            yield tx

    @contextmanager
    def inspecting(self) -> Iterator[sa.Inspector]:
        """SQLAlchemy's view of the tables there are."""
        with self.engine.connect() as connection:
            yield sa.inspect(connection)

    def run(self, work: Callable[[Tx], T], *, again: bool = True, alone: bool = False) -> T:
        """Run `work` in a transaction, and again, whole, after a deadlock or a lost connection.

        With `again=False` a connection lost while the work was under way raises OutcomeUnknown
        instead: the work may have been committed, and doing it twice would be worse. `alone` says
        that the work is a single statement here, which needs no transaction around it.
        """
        scope = self.autocommit if alone else self.transaction
        for attempt in range(1, _TRIES + 1):
            try:
                with scope() as tx:
                    return work(tx)
            except Exception as error:
                self._give_up(error, attempt, again)
                time.sleep(random.uniform(0.5, 1.0) * min(0.02 * 2**attempt, 1.0))
        raise AssertionError("unreachable")

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run read-only `work` outside a transaction, and again after a lost connection."""
        for attempt in range(1, _TRIES + 1):
            try:
                with self.autocommit() as tx:
                    return work(tx)
            except Exception as error:
                self._give_up(error, attempt, True)
        raise AssertionError("unreachable")

    def is_away(self, error: BaseException) -> bool:
        """Does the error mean that the database cannot be reached (and waiting may help)?"""
        return (
            isinstance(error, DatabaseUnreachable | DatabaseLocked | OutcomeUnknown)
            or self.dialect.is_disconnect(error)
            or self.dialect.is_transient(error)
        )

    def check(self) -> None:
        """Make sure that the database answers; raises DatabaseUnreachable with the cause."""
        with self.autocommit(deadline=10.0) as tx:
            tx.value("SELECT 1")

    def close(self) -> None:
        """Close the pool's idle connections and stop the deadline watch."""
        self.engine.dispose()
        self._deadlines.close()

    # --- below ----------------------------------------------------------------------------------

    def connect(self) -> Any:
        """A driver connection outside the pool, for a keeper of its own (beats, LISTEN)."""
        try:
            connection = self.engine.dialect.connect(
                *self._connect_arguments[0], **self._connect_arguments[1]
            )
        except Exception as error:
            raise self._unreachable(error) from error
        self.dialect.on_connect(connection)
        return connection

    @contextmanager
    def on(self, connection: Any, *, deadline: float) -> Iterator[Tx]:
        """Autocommitted statements on a connection from `connect()`, within `deadline` seconds."""
        with self._deadlines.within(connection, deadline):
            yield Tx(connection, self.dialect)

    def _engine(self, pool_size: int) -> sa.Engine:
        options = self.dialect.engine_options(self.url, self.pooler)
        try:
            engine = sa.create_engine(
                self.url,
                poolclass=sa.QueuePool,
                pool_size=pool_size,
                max_overflow=10,
                pool_timeout=10,
                pool_use_lifo=True,
                pool_recycle=1800,
                **options,
            )
        except ModuleNotFoundError as error:
            extra = "postgres" if self.dialect.name == "postgresql" else "mysql"
            raise MissingExtra(str(self.url.get_backend_name()), extra) from error
        arguments, keywords = engine.dialect.create_connect_args(self.url)
        keywords.update(options.get("connect_args", {}))
        self._connect_arguments = (arguments, keywords)
        sa.event.listen(engine, "connect", self._on_connect)
        sa.event.listen(engine, "checkout", self._on_checkout)
        sa.event.listen(engine, "checkin", _on_checkin)
        return engine

    def _on_connect(self, connection: Any, record: Any) -> None:
        self.dialect.on_connect(connection)
        if self.dialect.name == "sqlite" and self._synchronous != "NORMAL":
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")

    def _on_checkout(self, connection: Any, record: Any, proxy: Any) -> None:
        if time.monotonic() - record.info.get("returned", time.monotonic()) < _STALE_AFTER:
            return
        try:
            cursor = connection.cursor()
            cursor.execute("SELECT 1")
            cursor.fetchall()
            cursor.close()
        except Exception as error:
            raise sa.exc.DisconnectionError(str(error)) from error

    @contextmanager
    def _connection(self, deadline: float) -> Iterator[Any]:
        try:
            fairy = self.engine.raw_connection()
        except Exception as error:
            raise self._unreachable(error) from error
        try:
            with self._deadlines.within(fairy.driver_connection, deadline):
                yield fairy.driver_connection
        except BaseException as error:
            # A broken or half-used connection must not meet its next user.
            if self.dialect.is_disconnect(error) or not isinstance(error, Exception):
                fairy.invalidate()
            raise
        finally:
            fairy.close()

    @contextmanager
    def turn(self) -> Iterator[None]:
        if self.turnstile is None:
            yield
        else:
            with self.turnstile:
                yield

    def _give_up(self, error: Exception, attempt: int, again: bool) -> None:
        """Raise `error` on (as the user should see it) unless another try may help."""
        if attempt < _TRIES and self.dialect.is_transient(error):
            return
        if self.turnstile is not None and self.dialect.is_transient(error):
            raise DatabaseLocked(self.url.database or "") from error
        if self.dialect.is_disconnect(error):
            if not again:
                raise OutcomeUnknown(_first_line(error)) from error
            if attempt >= _TRIES:
                raise self._unreachable(error) from error
            return
        raise error

    def _unreachable(self, error: BaseException) -> DatabaseUnreachable:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig else error
        return DatabaseUnreachable(
            self._shown(), _first_line(cause), refused=self.dialect.is_refused(cause)
        )

    def _shown(self) -> str:
        return self.url.render_as_string(hide_password=True)


def _on_checkin(connection: Any, record: Any) -> None:
    record.info["returned"] = time.monotonic()


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


_shared: dict[tuple[str, int, tuple[tuple[str, Any], ...]], Database] = {}
_shared_lock = threading.Lock()


def shared(url: str, **options: Any) -> Database:
    """The one Database of this process for a URL, so that pools are not multiplied."""
    key = (normal_url(url), os.getpid(), tuple(sorted(options.items())))
    with _shared_lock:
        if key not in _shared:
            _shared[key] = Database(url, **options)
        return _shared[key]

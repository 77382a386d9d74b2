"""Transaction: a handler's own writes and the end of its Task, committed together (protocol G5).

Owns what `ctx.transaction()` does in a runner. The fenced write itself is `tasks/settle.py`'s. The
database is the one that the supervisor works in, opened at the first use: most handlers need none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taskyard.context import Call, Context
from taskyard.core.errors import OutcomeUnknown, TaskLost
from taskyard.core.lifecycle import RunStatus, TaskStatus
from taskyard.core.payload import dump_result
from taskyard.engine.attempt import PID
from taskyard.engine.masking import masked_payload
from taskyard.handlers import Registry

if TYPE_CHECKING:
    import sqlalchemy as sa

    from taskyard.db.database import Database
    from taskyard.db.rows import Ending
    from taskyard.settings import Settings

SQLITE_PATIENCE = 5.0
"""Seconds of a transaction on SQLite after which its author is told: nobody else can write."""


class HandlerTransaction:
    """What `with ctx.transaction() as tx` gives: `tx.connection`, and `tx.result` to be set."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.result: Any = None

    @property
    def connection(self) -> sa.Connection:
        """A SQLAlchemy connection inside the transaction; don't commit it."""
        return self._connection


class Transactions:
    """Opens them, for all Runs of this process."""

    def __init__(
        self, session: str, registry: Registry, settings: Callable[[], Settings] | None = None
    ) -> None:
        """`settings` say where the database is; by default those that the runner inherited."""
        self._session = session
        self._registry = registry
        self._load = settings

    @contextmanager
    def open(self, context: Context) -> Iterator[HandlerTransaction]:
        """One transaction around the block, ended by the fenced write of the Task's end."""
        _refuse_in_coroutine()
        began, db = time.monotonic(), self._database
        with db.turnstile or nullcontext(), db.engine.connect() as connection:
            try:
                with connection.begin():
                    connection.exec_driver_sql(db.dialect.begin())
                    transaction = HandlerTransaction(connection)
                    yield transaction
                    self._settle(connection, context, transaction.result)
            except Exception as error:
                if not (db.is_away(error) and self._is_written(context)):
                    raise
        context.mark_settled()
        if db.turnstile is not None and (held := time.monotonic() - began) > SQLITE_PATIENCE:
            context.log.warning("the transaction held the whole SQLite database for %.1f s", held)

    @cached_property
    def _settings(self) -> Settings:
        from taskyard.settings import Settings

        return self._load() if self._load else Settings.load()

    @cached_property
    def _database(self) -> Database:
        from taskyard.db.database import shared

        return shared(
            self._settings.database_url,
            pooler=self._settings.pooler,
            notify=self._settings.notify,
            synchronous=self._settings.sqlite_synchronous,
        )

    def _settle(self, connection: sa.Connection, context: Context, result: Any) -> None:
        from taskyard.db.borrowed import borrow
        from taskyard.tasks.settle import Place, settle_in

        call = context.call
        place = Place(call.task_table, call.queue, self._session, self._settings.server_id)
        payload = masked_payload(self._registry.get(call.task_type).spec, call.params)
        ending = _ending(call, context, dump_result(result), payload)
        tx = borrow(connection, self._database.dialect)
        if context.ended or not settle_in(tx, place, ending):
            raise TaskLost(f"{call.queue}/{call.task_id}")

    def _is_written(self, context: Context) -> bool:
        """Whether a commit whose answer was lost has happened: then the Run is there."""
        try:
            found = self._database.read(
                lambda tx: tx.value("SELECT id FROM ty_runs WHERE id = :id", id=context.run_id)
            )
        except Exception:
            raise OutcomeUnknown(f"settling run {context.run_id}") from None
        return found is not None


def _refuse_in_coroutine() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise TypeError(
        "ctx.transaction() works in `def` handlers only: on the loop it would hold up all others"
    )


def _ending(call: Call, context: Context, output: str | None, payload: str | None) -> Ending:
    from taskyard.db.rows import Ending

    age = None if context.started is None else time.monotonic() - context.started
    return Ending(
        id=call.task_id,
        fence=call.fence,
        run_id=call.run_id,
        attempt=call.attempt,
        task_status=TaskStatus.COMPLETED,
        retry_count=call.retry_count,
        crashes=call.crashes,
        delay=None,
        error_msg=None,
        run_status=RunStatus.COMPLETED,
        output=output,
        error=None,
        payload=payload,
        age=age,
        duration=age,
        wait=call.wait,
        cpu_time=None,
        memory=None,
        pid=PID,
    )

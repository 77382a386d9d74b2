"""Making: the Task that a fire or a trigger enqueues.

Owns what a Task gets from its Schedule and, where that leaves it open, from the promises of its
Handler; how overlapping is kept off; and into which table it goes. When is `fire.py`'s.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson

from taskyard.core.lifecycle import Origin
from taskyard.core.payload import load_params
from taskyard.db.database import Database, Tx
from taskyard.handlers import HandlerSpec
from taskyard.queues import DEFAULT
from taskyard.schedules.rows import Schedule
from taskyard.tasks.catalog import Catalog
from taskyard.tasks.enqueue import NewTask, route

_LIVE = "SELECT 1 FROM {table} WHERE id = :id AND (status IN (0, 1) OR owner IS NOT NULL)"

# The owner stays: only the Session that runs it clears it, when the handler has been stopped.
_REPLACE = """
UPDATE {table} SET status = 4, error_msg = :why, end_time = {now}, updated_at = {now}
 WHERE id = :id AND status IN (0, 1)
"""

REPLACED = "replaced by the next fire of its schedule"


class Maker:
    """Makes Tasks of Schedules as the Handlers of the fleet are now."""

    def __init__(self, db: Database, catalog: Catalog) -> None:
        self._db = db
        self._catalog = catalog

    def queue_of(self, task_type: str, queue: str | None) -> str:
        """The queue of a Schedule's Tasks; its Handler's unless it names one."""
        spec = self._spec(task_type)
        return queue or (spec.queue if spec else DEFAULT)

    def table_of(self, task_type: str, queue: str | None) -> str:
        """The table that its Tasks go to; raises QueueUnknown or TableInvalid.

        Asked outside of any transaction: it may have to create the default queue.
        """
        return route(self._db, self.queue_of(task_type, queue))

    def task(
        self,
        schedule: Schedule,
        *,
        number: int,
        fire_time: datetime,
        origin: Origin = Origin.SCHEDULED,
        params: str | None = None,
    ) -> NewTask:
        """The Task of the Schedule's `number`th fire. `params` stand in for its own.

        Raises ParamsInvalid where the Handler's exclusive key needs what is not given.
        """
        made, spec = schedule.definition, self._spec(schedule.definition.task_type)
        text = params if params is not None else made.task_params
        delay = random.uniform(0.0, made.jitter) if origin is Origin.SCHEDULED else 0.0
        return NewTask(
            task_type=made.task_type,
            task_params=text,
            at=fire_time.timestamp() + delay,
            max_retries=_first(made.retry_count, spec and spec.max_retries, 3),
            timeout=_first(made.timeout, spec and spec.timeout, None),
            retry_interval=made.retry_interval,
            excl_key=_key(schedule, spec, text),
            tenant_id=made.tenant_id,
            origin=origin.value,
            context=_context(schedule, number, fire_time),
        )

    def _spec(self, task_type: str) -> HandlerSpec | None:
        known = self._catalog.all().get(task_type)
        return known.spec if known else None


def _first(given: Any, promised: Any, otherwise: Any) -> Any:
    """The first that is not None."""
    return next((value for value in (given, promised) if value is not None), otherwise)


def _key(schedule: Schedule, spec: HandlerSpec | None, params: str | None) -> str | None:
    """What keeps its Tasks from running at once; the Handler's own key, if it has one."""
    if spec is not None and spec.excl_key is not None:
        return spec.exclusive_key(load_params(params) or {})
    return None if schedule.definition.overlap == "allow" else f"schedule:{schedule.id}"


def _context(schedule: Schedule, number: int, fire_time: datetime) -> str:
    """What travels with the Task. Runs take the numbers from it (`Dialect.makers`)."""
    data = {
        "schedule_id": schedule.id,
        "execute_index": number,
        "fire_time": fire_time.astimezone(UTC).isoformat(),
        "monitor_timeout": schedule.definition.monitor_timeout,
    }
    return orjson.dumps({name: value for name, value in data.items() if value is not None}).decode()


# --- overlapping ----------------------------------------------------------------------------------


def is_going_on(tx: Tx, schedule: Schedule) -> bool:
    """Is the last Task of a Schedule still waiting, running, or to be retried?"""
    if schedule.last_task_table is None or schedule.last_task_id is None:
        return False
    sql = _LIVE.format(table=tx.dialect.quote(schedule.last_task_table))
    return tx.value(sql, id=schedule.last_task_id) is not None


def replace(tx: Tx, schedule: Schedule) -> None:
    """Cancel the last Task of a Schedule; its Server stops the handler."""
    if schedule.last_task_table is None or schedule.last_task_id is None:
        return
    table = tx.dialect.quote(schedule.last_task_table)
    sql = _REPLACE.format(table=table, now=tx.dialect.now)
    tx.execute(sql, id=schedule.last_task_id, why=REPLACED)


def ring(db: Database, tables: Iterable[str]) -> None:
    """Tell the Servers that there is something in these tables."""
    for table in tables:
        db.bell.ring(table)

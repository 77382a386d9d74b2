"""Manage: what people do to Schedules: create, change, start, stop, trigger, delete.

Owns these verbs. Looking at Schedules is `browse.py`'s; an application's own are kept in step with
its code by `declared.py`; everything here can be done by SQL as well (`edits.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskyard.access import tenants
from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core.errors import NotNow, ParamsInvalid, ScheduleTwice
from taskyard.core.lifecycle import Origin
from taskyard.core.payload import dump_params, unmask
from taskyard.core.shape import problems
from taskyard.db.database import Database, Tx
from taskyard.queues import get_queue
from taskyard.schedules import change, making, rows
from taskyard.schedules.browse import find, show_schedule
from taskyard.schedules.definition import Definition, read, shown_params
from taskyard.schedules.making import Maker
from taskyard.schedules.rows import Schedule
from taskyard.tasks.catalog import Catalog
from taskyard.tasks.enqueue import TaskRef, put

_TRIGGERED = """
UPDATE ty_schedules SET fired = fired + 1, last_task_table = :table, last_task_id = :task_id
 WHERE id = :id
"""


def create_schedule(
    db: Database, caller: Caller, fields: Mapping[str, Any], *, time_zone: str = "UTC"
) -> dict[str, Any]:
    """Create a Schedule of the fields of `Definition`; returns it as `show_schedule` does.

    `time_zone` holds where the fields name none. Raises ScheduleInvalid or CronInvalid naming the
    field, ScheduleTwice, QueueUnknown, ParamsInvalid or NotAllowed.
    """
    definition = read(fields, time_zone)
    caller.require_tenant(definition.tenant_id, Permission.SCHEDULES_WRITE)
    _check(db, definition)

    def work(tx: Tx) -> int:
        return change.insert(tx, caller, definition, source="api")

    made = _unique(db, definition.name, lambda: db.run(work, again=False))
    return show_schedule(db, caller, made)


def update_schedule(
    db: Database,
    caller: Caller,
    schedule: int | str,
    changes: Mapping[str, Any],
    *,
    time_zone: str = "UTC",
) -> dict[str, Any]:
    """Change fields of a Schedule, its parameters too, while it goes on; None takes a field away.

    A new rule counts from now on. Raises ScheduleUnknown and what `create_schedule` raises.
    """
    caller.require(Permission.SCHEDULES_WRITE)
    row = db.read(lambda tx: find(tx, caller, schedule))
    secrets = Catalog(db).secrets(str(row["task_type"]))
    _check(db, change.changed(row, changes, time_zone, secrets))

    def work(tx: Tx) -> None:
        current = rows.fetch(tx, int(row["id"]), locked=True)
        if current is None:
            find(tx, caller, schedule)  # which says that it is unknown
            return
        made = change.changed(current, changes, time_zone, secrets)
        change.update(tx, caller, current, made, time_zone)

    name = str(changes.get("name") or row["name"])
    _unique(db, name, lambda: db.run(work))
    return show_schedule(db, caller, int(row["id"]))


def start_schedule(db: Database, caller: Caller, schedule: int | str) -> dict[str, Any]:
    """Let a Schedule fire from now on. What would have fired while it was stopped does not."""
    return update_schedule(db, caller, schedule, {"status": 1})


def stop_schedule(db: Database, caller: Caller, schedule: int | str) -> dict[str, Any]:
    """Let a Schedule fire no more; what it has enqueued goes on."""
    return update_schedule(db, caller, schedule, {"status": 0})


def delete_schedule(db: Database, caller: Caller, schedule: int | str) -> None:
    """Delete a Schedule; its Tasks and Runs stay. Raises NotNow for one that would come back."""
    caller.require(Permission.SCHEDULES_WRITE)

    def work(tx: Tx) -> None:
        row = find(tx, caller, schedule)
        if row["source"] in ("code", "system"):
            made_by = "declared in code" if row["source"] == "code" else "one of the platform's own"
            fix = f"It would come back. Stop it: `taskyard schedule stop {row['id']}`."
            raise NotNow("delete", f'schedule "{row["name"]}"', made_by, fix)
        tx.execute("DELETE FROM ty_schedules WHERE id = :id", id=row["id"])
        before = {name: row[name] for name in ("task_type", "cron_expression", "interval")}
        change.write(tx, caller, "delete", row["name"], row["tenant_id"], before=before)

    db.run(work)


def trigger_schedule(
    db: Database,
    caller: Caller,
    schedule: int | str,
    params: Mapping[str, Any] | None = None,
    *,
    time_zone: str = "UTC",
) -> TaskRef:
    """Enqueue a Task of a Schedule now, whether it is started or not; `params` replace its own.

    A secret parameter that is given as it was shown (masked) is its own.
    Raises ScheduleUnknown, ParamsInvalid, NotAllowed; NotNow where its overlap policy is `skip` and
    a Task of it is still going on, or where its tenant is disabled.
    """
    caller.require(Permission.SCHEDULES_TRIGGER)
    row = db.read(lambda tx: find(tx, caller, schedule))
    found = rows.schedule_of(row, time_zone)
    catalog = Catalog(db)
    text = None
    if params is not None:
        secrets = catalog.secrets(found.definition.task_type)
        params = unmask(dict(params), shown_params(row["task_params"]), secrets)
        _check_params(catalog, found.definition.task_type, params)
        text = dump_params(dict(params))
    maker = Maker(db, catalog)
    queue = maker.queue_of(found.definition.task_type, found.definition.queue)
    table = maker.table_of(found.definition.task_type, found.definition.queue)

    def work(tx: Tx) -> int:
        current = rows.fetch(tx, found.id, locked=True)
        if current is None:
            find(tx, caller, schedule)
        assert current is not None
        return _trigger(tx, caller, maker, rows.schedule_of(current, time_zone), table, text)

    task_id = db.run(work, again=False)
    db.bell.ring(table)
    return TaskRef(queue, table, task_id)


def _trigger(
    tx: Tx, caller: Caller, maker: Maker, schedule: Schedule, table: str, params: str | None
) -> int:
    thing = f'schedule "{schedule.name}"'
    if schedule.tenant_id in tenants.disabled(tx):
        raise NotNow("trigger", thing, "one of a disabled tenant", "Enable the tenant.")
    overlap = schedule.definition.overlap
    if overlap == "skip" and making.is_going_on(tx, schedule):
        raise NotNow("trigger", thing, "running", "Wait for its end, or cancel its task.")
    if overlap == "replace":
        making.replace(tx, schedule)
    task = maker.task(
        schedule,
        number=schedule.fired + 1,
        fire_time=rows.now_of(tx),
        origin=Origin.MANUAL,
        params=params,
    )
    [task_id] = put(tx, table, [task])
    tx.execute(_TRIGGERED, id=schedule.id, table=table, task_id=task_id)
    after = {"task_params": shown_params(params)} if params is not None else None
    change.write(tx, caller, "trigger", schedule.name, schedule.tenant_id, after=after)
    return task_id


# --- checks that ask the database -----------------------------------------------------------------


def _check(db: Database, definition: Definition) -> None:
    if definition.queue is not None:
        get_queue(db, definition.queue)
    params = shown_params(definition.task_params)
    _check_params(Catalog(db), definition.task_type, params or {})


def _check_params(catalog: Catalog, task_type: str, params: Mapping[str, Any]) -> None:
    """Refuse parameters that the Handler cannot take. One that no Server has yet cannot be asked:
    schedules are often made before the code is there, and their Tasks wait for it."""
    known = catalog.all().get(task_type)
    if known is None:
        return
    faults = problems(known.spec.parameters, dict(params), shown=not known.spec.secrets)
    if faults:
        raise ParamsInvalid(task_type, faults)


def _unique(db: Database, name: str, work: Any) -> Any:
    try:
        return work()
    except Exception as error:
        if db.dialect.is_duplicate(error):
            raise ScheduleTwice(name) from error
        raise

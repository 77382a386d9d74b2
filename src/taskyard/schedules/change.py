"""Change: the writes of Schedules that are made and changed, inside a transaction.

Owns what a change comes to, that it is audited and remembered as seen, and when the Schedule fires
next after it. Who may do it is `manage.py`'s; an application's code comes here by `declared.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from taskyard.access import audit
from taskyard.access.caller import Caller
from taskyard.core.errors import ScheduleInvalid, TaskyardError
from taskyard.core.payload import unmask
from taskyard.db.database import Tx
from taskyard.schedules import rows
from taskyard.schedules.definition import FIELDS, TIMING, Definition, read, shown_params

_ALTERNATIVES = {"cron_expression": "interval", "interval": "cron_expression"}
"""Whoever gives one of these takes the other away."""

_DEFAULTS = Definition(name="", task_type="")


def insert(
    tx: Tx, caller: Caller, definition: Definition, *, source: str, declared: str | None = None
) -> int:
    """Insert a Schedule; returns its id. Raises ScheduleInvalid where it would never fire."""
    now = rows.now_of(tx)
    first = definition.next(now, now)
    _check_future(definition, first is not None)
    made = rows.insert(
        tx,
        definition,
        source=source,
        next_fire_at=first if definition.status == 1 else None,
        declared=declared,
    )
    names = [name for name in FIELDS if getattr(definition, name) != getattr(_DEFAULTS, name)]
    after = _audited(definition, names)
    write(tx, caller, "create", definition.name, definition.tenant_id, after=after)
    rows.remember(tx, made)
    return made


def changed(
    row: Mapping[str, Any],
    changes: Mapping[str, Any],
    time_zone: str,
    secrets: Collection[str] = (),
) -> Definition:
    """What a row comes to with changes; None takes a field away.

    A secret parameter that is given as it was shown (masked) stays; `secrets` are those that its
    Handler calls so. Raises what `definition.read`
    raises.
    """
    known = rows.presented(row)
    current = {name: known[name] for name in FIELDS}
    wanted = dict(changes)
    if wanted.get("task_params") is not None:
        shown = shown_params(known["task_params"])
        wanted["task_params"] = unmask(wanted["task_params"], shown, secrets)
    for name, other in _ALTERNATIVES.items():
        if wanted.get(name) is not None:
            wanted.setdefault(other, None)
    if wanted.get("tenant_id") not in (None, row["tenant_id"]):
        why = "it cannot be changed"
        raise ScheduleInvalid("tenant_id", why, "Create a schedule of the other tenant's.")
    return read(current | wanted, time_zone)


def update(
    tx: Tx, caller: Caller, row: Mapping[str, Any], made: Definition, time_zone: str
) -> list[str]:
    """Write what differs from a locked row, and plan anew where that changes when it fires.

    Returns the names of the fields. Raises ScheduleInvalid where it would never fire again.
    """
    schedule_id = int(row["id"])
    wanted, was = rows.values(made, FIELDS), _values_of(row, time_zone)
    names = [name for name in FIELDS if wanted[name] != was.get(name)]
    if not names and row["problem"] is None:
        return []
    rows.update(tx, schedule_id, made, names)
    if row["problem"] is not None or set(names) & set(TIMING):
        plan(tx, schedule_id, made, time_zone)
    before = {name: was.get(name) for name in names}
    after = _audited(made, names)
    write(tx, caller, "update", made.name, made.tenant_id, before=before, after=after)
    rows.remember(tx, schedule_id)
    return names


def plan(tx: Tx, schedule_id: int, made: Definition, time_zone: str) -> None:
    """Plan its next instant from now on. Raises ScheduleInvalid where there is none."""
    row = rows.fetch(tx, schedule_id)
    assert row is not None, "a locked row is gone"
    coming = rows.schedule_of(row, time_zone).next(rows.now_of(tx))
    _check_future(made, coming is not None)
    rows.plan(tx, schedule_id, coming if made.status == 1 else None)


def write(
    tx: Tx,
    caller: Caller,
    verb: str,
    name: str,
    tenant_id: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Audit what was done to a Schedule."""
    thing = f"schedule/{name}"
    audit.write(
        tx, caller, f"schedule.{verb}", thing, tenant_id=tenant_id, before=before, after=after
    )


def _values_of(row: Mapping[str, Any], time_zone: str) -> dict[str, Any]:
    """The fields of a row as they were written; of a broken one as they stand there."""
    try:
        return rows.values(rows.schedule_of(row, time_zone).definition, FIELDS)
    except TaskyardError:
        return {name: row[name] for name in FIELDS}


def _check_future(definition: Definition, fires: bool) -> None:
    if not fires and definition.status == 1:
        name = "end_at" if definition.end_at is not None else "cron_expression"
        raise ScheduleInvalid(name, "it would never fire from now on", "Give a later one.")


def _audited(definition: Definition, names: Iterable[str]) -> dict[str, Any]:
    values = rows.values(definition, list(names))
    if "task_params" in values:
        values["task_params"] = shown_params(values["task_params"])
    return values

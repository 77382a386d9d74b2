"""Browse: Schedules as people look at them: a list, one in full, and what they will do.

Owns these verbs, and what the last Runs of a Schedule say about it. Changing is `manage.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any

from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core import cron
from taskyard.core.errors import QueryInvalid, ScheduleInvalid, ScheduleUnknown, TaskyardError
from taskyard.core.lifecycle import RunStatus
from taskyard.core.payload import mask
from taskyard.db.database import Database, Tx
from taskyard.db.listing import (
    Filter,
    Listing,
    Operator,
    Page,
    Query,
    Source,
    integer,
    one_of,
    page,
)
from taskyard.schedules import rows
from taskyard.schedules.definition import FIELDS, OVERLAPS, SOURCES, read, shown_params
from taskyard.tasks.catalog import Catalog

RECENT = 20
"""Runs of a Schedule that are shown with it, and that its numbers are of."""

MOST_FIRES = 500
"""Instants that may be asked for at once."""

_JUDGED = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.TIMEOUT, RunStatus.LOST)

_LAST_STATUS = """
(SELECT r.status FROM ty_runs AS r WHERE r.schedule_id = ty_schedules.id
  ORDER BY r.claimed_at DESC, r.id DESC LIMIT 1)
"""

_RECENT = """
SELECT * FROM (
  SELECT schedule_id, id, status, claimed_at, execution_time, attempt, execute_index
    FROM ty_runs WHERE schedule_id = {id} ORDER BY claimed_at DESC, id DESC LIMIT {most}
) AS of_{id}
"""

_ON_A_PAGE = 50
"""Schedules whose Runs one statement reads."""

SCHEDULES = Listing(
    columns=(*rows.COLUMNS, "by_next_fire"),
    filters={
        "q": Filter("name", Operator.CONTAINS, help="With this in its name."),
        "name": Filter("name", help="With this very name."),
        "status": Filter("status", read=integer, help="1 is started, 0 is stopped."),
        "task_type": Filter("task_type", help="Its handler."),
        "queue": Filter("queue", help="The queue that it names."),
        "source": Filter("source", read=one_of(*SOURCES), help="Who made it."),
        "overlap": Filter("overlap", read=one_of(*OVERLAPS), help="Its overlap policy."),
        "tenant_id": Filter("tenant_id", help="Whose it is; empty is the platform's."),
        "last_status": Filter("last_status", read=one_of(*RunStatus), help="How it ended last."),
    },
    sorts={"name": "name", "id": "id", "next_fire_at": "by_next_fire", "fired": "fired"},
    sort="name",
)
"""What may be asked of the list of Schedules."""


def list_schedules(db: Database, caller: Caller, query: Query) -> Page:
    """One page of Schedules as dictionaries, by name unless asked otherwise.

    Raises QueryInvalid or NotAllowed.
    """
    caller.require(Permission.SCHEDULES_READ)
    asked = replace(query, filters=caller.narrow(query.filters))

    def work(tx: Tx) -> Page:
        found = page(tx, SCHEDULES, [_source(tx)], asked)
        recent = _recent(tx, [row["id"] for row in found.rows])
        return replace(
            found, rows=[_shown(rows.named(row), recent[row["id"]]) for row in found.rows]
        )

    catalog, found = Catalog(db), db.read(work)
    return replace(found, rows=[_masked(row, catalog) for row in found.rows])


def show_schedule(db: Database, caller: Caller, schedule: int | str) -> dict[str, Any]:
    """One Schedule, by its id or name, with its last Runs and `handler_known`.

    Raises ScheduleUnknown, also for one of a tenant that the caller does not see; NotAllowed.
    """
    caller.require(Permission.SCHEDULES_READ)

    def work(tx: Tx) -> dict[str, Any]:
        row = find(tx, caller, schedule)
        return _shown(row, _recent(tx, [row["id"]])[row["id"]])

    catalog, found = Catalog(db), db.read(work)
    known = catalog.all().get(found["task_type"])
    return _masked(found, catalog) | {"handler_known": known is not None and bool(known.servers)}


def next_fires(
    db: Database, caller: Caller, schedule: int | str, count: int = 10
) -> list[dict[str, Any]]:
    """The next instants of a Schedule, as if it were started, in its zone.

    Raises ScheduleUnknown, QueryInvalid, NotAllowed, and what is wrong with a quarantined one.
    """
    caller.require(Permission.SCHEDULES_READ)
    _check_count(count)

    def work(tx: Tx) -> list[dict[str, Any]]:
        found = rows.schedule_of(find(tx, caller, schedule))
        return _fires(found.definition, rows.now_of(tx), found.created_at, count)

    return db.read(work)


def preview(
    caller: Caller,
    fields: Mapping[str, Any],
    count: int = 10,
    *,
    time_zone: str = "UTC",
    after: datetime | None = None,
) -> list[dict[str, Any]]:
    """The instants at which a Schedule of these fields would fire, later than `after` (now).

    Only its rule is asked for; an interval counts from `after`, which is in its zone where it has
    no offset. Raises ScheduleInvalid or
    CronInvalid naming the field, QueryInvalid or NotAllowed.
    """
    caller.require(Permission.SCHEDULES_READ)
    _check_count(count)
    definition = read({"name": "preview", "task_type": "preview", **fields}, time_zone)
    start = after or datetime.now(UTC)
    if start.tzinfo is None:
        start = start.replace(tzinfo=cron.read_zone(definition.time_zone))
    return _fires(definition, start, start, count)


def describe(fields: Mapping[str, Any], *, time_zone: str = "UTC") -> dict[str, str]:
    """A rule in words, by language. Raises ScheduleInvalid or CronInvalid."""
    definition = read({"name": "preview", "task_type": "preview", **fields}, time_zone)
    return {language: definition.words(language) for language in ("en", "zh")}


def find(tx: Tx, caller: Caller, schedule: int | str) -> dict[str, Any]:
    """The row of a Schedule that the caller sees, by its id or name.

    Raises ScheduleUnknown; ScheduleInvalid where several tenants have one of this name.
    """
    visible = [row for row in _named(tx, schedule) if caller.sees(row["tenant_id"])]
    if not visible:
        raise ScheduleUnknown(str(schedule), _names(tx, caller))
    if len(visible) > 1:
        ids = ", ".join(str(row["id"]) for row in visible)
        why = f'several tenants have a "{schedule}" (ids {ids})'
        raise ScheduleInvalid("name", why, "Name it by its id.")
    return visible[0]


def _named(tx: Tx, schedule: int | str) -> list[dict[str, Any]]:
    sql = f"SELECT {rows.SELECTED} FROM ty_schedules WHERE"
    if str(schedule).isdecimal() and len(str(schedule)) < 19:
        found = tx.rows(f"{sql} id = :id", id=int(schedule))
    else:
        found = tx.rows(f"{sql} name = :name ORDER BY id LIMIT 20", name=str(schedule))
    return [rows.named(row) for row in found]


def _names(tx: Tx, caller: Caller) -> list[str]:
    found = tx.all("SELECT name, tenant_id FROM ty_schedules ORDER BY name LIMIT 1000")
    return [name for name, tenant_id in found if caller.sees(tenant_id)]


# --- what it will do ------------------------------------------------------------------------------


def _fires(definition: Any, after: datetime, created: datetime, count: int) -> list[dict[str, Any]]:
    zone = cron.read_zone(definition.time_zone)
    found: list[dict[str, Any]] = []
    instant = definition.next(after, created)
    while instant is not None and len(found) < count:
        found.append({"fire_time": instant.astimezone(zone)})
        instant = definition.next(instant, created)
    return found


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST_FIRES:
        raise QueryInvalid("count", f"count cannot be {count}.", f"Give 1 to {MOST_FIRES}.")


# --- how it went ----------------------------------------------------------------------------------


def _source(tx: Tx) -> Source:
    never = 1e11  # seconds since 1970: what does not fire comes last
    return Source(
        "ty_schedules",
        columns={
            "last_status": _LAST_STATUS,
            "by_next_fire": f"COALESCE({tx.dialect.epoch('next_fire_at')}, {never})",
        },
    )


def _recent(tx: Tx, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """The last Runs that have ended, by Schedule, the newest first."""
    found: dict[int, list[dict[str, Any]]] = {schedule_id: [] for schedule_id in ids}
    for start in range(0, len(ids), _ON_A_PAGE):
        parts = [_RECENT.format(id=int(n), most=RECENT) for n in ids[start : start + _ON_A_PAGE]]
        for row in tx.rows(" UNION ALL ".join(parts)):
            found[row.pop("schedule_id")].append(row)
    return {
        schedule_id: sorted(runs, key=lambda run: (run["claimed_at"], run["id"]), reverse=True)
        for schedule_id, runs in found.items()
    }


def _shown(row: Mapping[str, Any], recent: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A row as people see it, but for its secrets: with its state, its words and its numbers."""
    known = rows.presented(row)
    shown = {name: known[name] for name in rows.NAMES if name not in _HIDDEN}
    return shown | {"state": _state(known), **_words(known), **_numbers(recent)}


def _masked(shown: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
    """The same with secrets masked: those of telling names, and those that its Handler calls so."""
    secrets = catalog.secrets(str(shown["task_type"]))
    params = shown_params(shown["task_params"])
    return {**shown, "task_params": mask(params, secrets)}


_HIDDEN = ("declared", "last_task_table", "last_task_id")


def _state(row: Mapping[str, Any]) -> str:
    if row["problem"] is not None:
        return "quarantined"
    if row["status"] != 1:
        return "stopped"
    return "started" if row["next_fire_at"] is not None else "over"


def _words(row: Mapping[str, Any]) -> dict[str, str | None]:
    try:
        definition = read({name: row[name] for name in FIELDS})
        return {"words": definition.words(), "words_zh": definition.words("zh")}
    except TaskyardError:
        return {"words": None, "words_zh": None}


def _numbers(recent: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the last Runs come to."""
    judged = [run["status"] for run in recent if run["status"] in _JUDGED]
    took = [run["execution_time"] for run in recent if run["execution_time"] is not None]
    return {
        "last_status": recent[0]["status"] if recent else None,
        "success_rate": judged.count(RunStatus.COMPLETED) / len(judged) if judged else None,
        "average_time": fmean(took) if took else None,
        "recent": [
            {
                "run_id": run["id"],
                "status": run["status"],
                "started_at": cron.EPOCH + timedelta(microseconds=run["claimed_at"]),
                "execution_time": run["execution_time"],
                "attempt": run["attempt"],
                "execute_index": run["execute_index"],
            }
            for run in recent
        ],
    }

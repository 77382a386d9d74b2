"""Declared: Schedules that stand in an application's code, and the platform's own duties.

Owns how rows follow the code. A Server that starts syncs what its Handlers declare:

- what is new gets a row, whose `source` says where it comes from;
- of what is known only those fields are written that the code itself has changed since the last
  sync (kept in `declared`): so what a person has edited or stopped holds until the code says
  something else about that very field;
- what no live Server declares any more is stopped, never deleted, and starts again with the code
  that declares it again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from taskyard.access.caller import ENGINE
from taskyard.core.errors import TaskyardError
from taskyard.db.database import Database, Tx
from taskyard.handlers import HandlerSpec
from taskyard.schedules import change, rows
from taskyard.schedules.definition import read

logger = logging.getLogger("taskyard.schedules")

_KEEP = "UPDATE ty_schedules SET declared = :declared, source = :source WHERE id = :id"

_DECLARED = (
    "SELECT id, name, tenant_id, task_type, declared FROM ty_schedules WHERE source = 'code'"
)


@dataclass(frozen=True, slots=True)
class Declared:
    """A Schedule as code declares it: its fields by name, as JSON has them, and in which
    application."""

    app: str
    fields: Mapping[str, Any]

    def to_json(self, *, gone: bool = False) -> str:
        """What is kept of it; `gone` says that we have stopped it because nobody declares it."""
        data = {"app": self.app, "fields": dict(self.fields)} | ({"gone": True} if gone else {})
        return orjson.dumps(data, option=orjson.OPT_SORT_KEYS).decode()

    @property
    def key(self) -> tuple[str, str]:
        """What tells it apart: tenant and name."""
        return str(self.fields.get("tenant_id", "")), str(self.fields["name"])


def declared_by(specs: Iterable[HandlerSpec], app: str) -> list[Declared]:
    """What Handlers declare."""
    return [Declared(app, fields) for spec in specs for fields in spec.schedules]


def sync(db: Database, declared: Iterable[Declared], source: str, time_zone: str) -> None:
    """Bring the rows in step with the code; one that cannot be is told in the log, and left."""
    for one in declared:
        try:
            db.run(partial(_sync, declared=one, source=source, time_zone=time_zone))
        except Exception as error:
            if db.dialect.is_duplicate(error):  # another Server was faster
                continue
            if not isinstance(error, TaskyardError) or db.is_away(error):
                raise
            logger.error("schedule %s: %s %s", one.fields["name"], error, error.fix)


def stop_undeclared(db: Database, specs: Iterable[HandlerSpec], app: str) -> int:
    """Stop what no live Server declares any more; returns how many.

    `specs` are the Handlers of all live Servers. Another application's Schedules whose Handlers
    nobody has are left alone: its Servers may just be down.
    """
    known = list(specs)
    alive = {declared.key for declared in declared_by(known, app)}
    types = {spec.name for spec in known}
    gone = [
        schedule_id
        for schedule_id, name, tenant_id, task_type, text in db.read(lambda tx: tx.all(_DECLARED))
        if (tenant_id, name) not in alive
        and not (kept := _kept(text)).get("gone")
        and (task_type in types or kept.get("app") == app)
    ]
    for schedule_id in gone:
        db.run(partial(_stop, schedule_id=schedule_id))
    return len(gone)


# --- one row --------------------------------------------------------------------------------------


def _sync(tx: Tx, declared: Declared, source: str, time_zone: str) -> None:
    tenant_id, name = declared.key
    sql = "SELECT id FROM ty_schedules WHERE tenant_id = :tenant_id AND name = :name"
    schedule_id = tx.value(sql, tenant_id=tenant_id, name=name)
    text = declared.to_json()
    if schedule_id is None:
        made = read(declared.fields, time_zone)
        change.insert(tx, ENGINE, made, source=source, declared=text)
        return
    row = rows.fetch(tx, int(schedule_id), locked=True)
    if row is None or (row["declared"] == text and row["source"] == source):
        return
    changes = _changes(_kept(row["declared"]), declared.fields)
    change.update(tx, ENGINE, row, change.changed(row, changes, time_zone), time_zone)
    tx.execute(_KEEP, id=schedule_id, declared=text, source=source)


def _changes(before: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the code says otherwise than at the last sync; what it says no more is None."""
    was = before.get("fields", {})
    changes = {
        name: fields.get(name) for name in {**was, **fields} if was.get(name) != fields.get(name)
    }
    if before.get("gone"):
        changes["status"] = fields.get("status", 1)
    return changes


def _stop(tx: Tx, schedule_id: int) -> None:
    row = rows.fetch(tx, schedule_id, locked=True)
    if row is None or (kept := _kept(row["declared"])).get("gone"):
        return
    # Only what we have stopped ourselves is started again when it comes back.
    was_started = row["status"] == 1
    if was_started:
        tx.execute("UPDATE ty_schedules SET status = 0 WHERE id = :id", id=schedule_id)
        rows.plan(tx, schedule_id, None)
        rows.remember(tx, schedule_id)
        why = {"status": 0, "why": "no server declares it any more"}
        change.write(
            tx, ENGINE, "update", row["name"], row["tenant_id"], before={"status": 1}, after=why
        )
        logger.warning("schedule %s is stopped: no server declares it any more", row["name"])
    declared = Declared(str(kept.get("app", "")), kept.get("fields", {}))
    text = declared.to_json(gone=was_started)
    tx.execute(_KEEP, id=schedule_id, declared=text, source="code")


def _kept(text: str | None) -> dict[str, Any]:
    """What was kept of a declaration; what cannot be read was not ours."""
    try:
        found = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}

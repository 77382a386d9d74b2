"""Incidents: what was seen. The verbs over `ty_incidents`.

Owns listing them, and what people do to one: acknowledge, silence, resolve. That they are opened,
counted and over by themselves is `check.py`'s.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from taskyard.access import audit
from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.alerts import incident as incidents_
from taskyard.alerts.incident import COLUMNS, Incident, State, of_row
from taskyard.alerts.kinds import DAY, KINDS, RuleKind
from taskyard.alerts.rules import silence_seconds
from taskyard.core.errors import IncidentUnknown, NotNow
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

KEPT = 366 * DAY
"""Seconds for which resolved incidents are kept."""

INCIDENTS = Listing(
    columns=COLUMNS,
    filters={
        "state": Filter("state", read=one_of(*State), help="Where it stands."),
        "rule_id": Filter("rule_id", read=integer, help="Its rule."),
        "kind": Filter("kind", read=one_of(*RuleKind), help="What its rule watches."),
        "subject": Filter("subject", help="What it is about, like task_type:backup."),
        "tenant_id": Filter("tenant_id", help="Whose it is; empty is the platform's."),
        "q": Filter("summary", Operator.CONTAINS, help="With this in its summary."),
    },
    # They are opened in the order of their ids.
    sorts={"first_at": "id", "id": "id"},
    sort="-first_at",
)
"""What may be asked of the list of incidents."""

_ACKNOWLEDGE = """
UPDATE ty_incidents
   SET state = 'acknowledged', acknowledged_by = :who, acknowledged_at = {now}, updated_at = {now}
 WHERE id = :id AND state = 'open'
"""

_RESOLVE = """
UPDATE ty_incidents
   SET state = 'resolved', resolved_by = :who, resolved_at = {now}, active_key = {key},
       updated_at = {now}
 WHERE id = :id AND state <> 'resolved'
"""

_SILENCE = """
UPDATE ty_incidents SET silenced_until = {until}, updated_at = {now}
 WHERE id = :id AND state <> 'resolved'
"""

_FORGET = """
DELETE FROM ty_incidents WHERE state = 'resolved' AND active_key IS NULL AND resolved_at < {before}
"""


def list_incidents(db: Database, caller: Caller, query: Query) -> Page:
    """One page of the incidents that the caller sees, as dictionaries; see `Incident`.

    Raises QueryInvalid or NotAllowed.
    """
    caller.require(Permission.ALERTS_READ)
    asked = replace(query, filters=caller.narrow(query.filters))
    found = db.read(partial(_page, query=asked))
    return replace(found, rows=[of_row(row).to_dict() for row in found.rows])


def show_incident(db: Database, caller: Caller, incident_id: int) -> Incident:
    """One incident; raises IncidentUnknown, also for one that the caller does not see."""
    caller.require(Permission.ALERTS_READ)
    return db.read(partial(_visible, caller=caller, incident_id=incident_id))


def acknowledge(db: Database, caller: Caller, incident_id: int) -> Incident:
    """Say that somebody looks after it: nobody is reminded any more, all are told when it is over.

    Raises NotNow when it is not open, IncidentUnknown or NotAllowed.
    """
    return _do(db, caller, incident_id, "acknowledge", _ACKNOWLEDGE, {"who": caller.name[:150]})


def resolve(db: Database, caller: Caller, incident_id: int) -> Incident:
    """Say that it is over; nobody is told.

    Where its rule watches what holds now, and it still holds, no other is opened before that was
    over.
    Raises NotNow when it is resolved already, IncidentUnknown or NotAllowed.
    """

    def fill(found: Incident) -> dict[str, str]:
        return {"key": "active_key" if KINDS[RuleKind(found.kind)].states else "NULL"}

    who = {"who": caller.name[:150]}
    return _do(db, caller, incident_id, "resolve", _RESOLVE, who, fill)


def silence(db: Database, caller: Caller, incident_id: int, duration: Any) -> Incident:
    """Tell nobody of it for so long (a duration; 0 ends a silence).

    When the silence ends and it is still open, people are told again. Raises NotNow when it is
    resolved, AlertInvalid, IncidentUnknown or NotAllowed.
    """
    seconds = silence_seconds("Silence", duration)
    given: dict[str, Any] = {"seconds": seconds} if seconds else {}

    def fill(found: Incident) -> dict[str, str]:
        return {"until": db.dialect.utc_after(":seconds") if seconds else "NULL"}

    return _do(db, caller, incident_id, "silence", _SILENCE, given, fill, {"seconds": seconds})


def forget_old(db: Database) -> int:
    """Remove incidents that were resolved a year ago; returns how many."""
    sql = _FORGET.format(before=db.dialect.utc_after("-(:seconds)"))
    return db.run(lambda tx: tx.execute(sql, seconds=KEPT))


# --- below ----------------------------------------------------------------------------------------


def _page(tx: Tx, query: Query) -> Page:
    quoted = {"count": tx.dialect.quote("count")}
    return page(tx, INCIDENTS, [Source("ty_incidents", quoted)], query)


def _visible(tx: Tx, caller: Caller, incident_id: int) -> Incident:
    found = incidents_.read(tx, incident_id)
    if found is None or not caller.sees(found.tenant_id):
        raise IncidentUnknown(incident_id)
    return found


def _do(
    db: Database,
    caller: Caller,
    incident_id: int,
    verb: str,
    sql: str,
    values: dict[str, Any],
    fill: Any = None,
    after: dict[str, Any] | None = None,
) -> Incident:
    """Change one incident where its state allows it, with its audit."""
    caller.require(Permission.ALERTS_WRITE)

    def work(tx: Tx) -> Incident:
        found = _visible(tx, caller, incident_id)
        words = fill(found) if fill else {}
        hit = tx.execute(sql.format(now=tx.dialect.utc_now, **words), id=incident_id, **values)
        if not hit:
            raise NotNow(verb, f"incident {incident_id}", found.state.value)
        thing = f"incident/{incident_id}"
        audit.write(tx, caller, f"incident.{verb}", thing, tenant_id=found.tenant_id, after=after)
        return _visible(tx, caller, incident_id)

    return db.run(work)

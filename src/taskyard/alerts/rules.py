"""Rules: what is watched. The verbs over `ty_alert_rules`.

Owns creating, listing, changing, silencing and deleting rules. What a rule may be is `rule.py`'s,
what it would have found `preview.py`'s, and that it is judged `check.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from taskyard.access import audit
from taskyard.access.caller import PLATFORM, Caller
from taskyard.access.permissions import Permission
from taskyard.access.tenants import require_known
from taskyard.alerts import rule as rules_
from taskyard.alerts.kinds import RuleKind
from taskyard.alerts.rule import COLUMNS, Rule, as_texts, of_row, valid_fields, valid_kind
from taskyard.core.durations import parse_duration
from taskyard.core.errors import AlertInvalid, NameTaken, RuleUnknown
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

RULES = Listing(
    columns=COLUMNS,
    filters={
        "kind": Filter("kind", read=one_of(*RuleKind), help="What it watches."),
        "tenant_id": Filter("tenant_id", help="Whose it is; empty is the platform's."),
        "status": Filter("status", read=integer, help="1, or 0 for disabled."),
        "q": Filter("name", Operator.CONTAINS, help="With this in its name."),
    },
    sorts={"id": "id", "name": "name"},
    sort="name",
)
"""What may be asked of the list of rules."""

_FIELDS = ("filters", "settings", "channels", "remind_every", "resolve_after", "status")

_INSERT = """
INSERT INTO ty_alert_rules (name, kind, filters, settings, channels, remind_every, resolve_after,
                            tenant_id, status, created_at, updated_at)
VALUES (:name, :kind, :filters, :settings, :channels, :remind_every, :resolve_after,
        :tenant_id, :status, {now}, {now})
"""

_NEWEST = "SELECT MAX(id) FROM ty_alert_rules WHERE tenant_id = :tenant_id AND name = :name"

_FREE = """
UPDATE ty_incidents
   SET state = CASE WHEN state = 'resolved' THEN state ELSE 'resolved' END, active_key = NULL,
       resolved_by = COALESCE(resolved_by, :who), resolved_at = COALESCE(resolved_at, {now}),
       updated_at = {now}
 WHERE rule_id = :id AND active_key IS NOT NULL
"""


def list_rules(db: Database, caller: Caller, query: Query) -> Page:
    """One page of the rules that the caller sees, as dictionaries; see `Rule`.

    Raises QueryInvalid or NotAllowed.
    """
    caller.require(Permission.ALERTS_READ)
    asked = replace(query, filters=caller.narrow(query.filters))
    found = db.read(partial(page, listing=RULES, sources=[Source("ty_alert_rules")], query=asked))
    return replace(found, rows=[of_row(row).to_dict() for row in found.rows])


def show_rule(db: Database, caller: Caller, rule_id: int) -> Rule:
    """One rule. Raises RuleUnknown, also for one that the caller does not see; NotAllowed."""
    caller.require(Permission.ALERTS_READ)
    return db.read(partial(visible, caller=caller, rule_id=rule_id))


def find_rule(db: Database, caller: Caller, name: str) -> Rule:
    """The rule of a name, or of an id written as text; raises RuleUnknown or NotAllowed."""
    caller.require(Permission.ALERTS_READ)
    found = db.read(partial(_named, caller=caller, name=name))
    if name.isdecimal() and not found:
        return show_rule(db, caller, int(name))
    if len(found) != 1:
        known = [row["name"] for row in list_rules(db, caller, Query(limit=500)).rows]
        raise RuleUnknown(name, known)
    return found[0]


def create_rule(
    db: Database, caller: Caller, name: str, kind: str, *, tenant_id: str = PLATFORM, **fields: Any
) -> Rule:
    """Make a rule; it watches what happens from now on.

    `fields` are `filters`, `settings` (of its kind, see `kinds.KINDS`), `channels` (ids; None is
    every channel of the tenant), `remind_every` and `resolve_after` (durations), `status`. Raises
    AlertInvalid naming the field, NameTaken, TenantUnknown or NotAllowed.
    """
    caller.require_tenant(tenant_id, Permission.ALERTS_WRITE)
    row = values_of(name, kind, tenant_id, fields)

    def work(tx: Tx) -> Rule:
        require_known(tx, [tenant_id])
        _require_channels(tx, row["name"], tenant_id, row["channels"])
        return insert(tx, caller, row)

    try:
        return db.run(work, again=False)
    except Exception as error:
        if db.dialect.is_duplicate(error):
            raise NameTaken(rules_.thing(row["name"])) from error
        raise


def update_rule(db: Database, caller: Caller, rule_id: int, **fields: Any) -> Rule:
    """Change fields of a rule: those of `create_rule`, and `name`; what is left out stays.

    Raises RuleUnknown, AlertInvalid, NameTaken or NotAllowed.
    """
    caller.require(Permission.ALERTS_WRITE)
    try:
        return db.run(partial(_update, caller=caller, rule_id=rule_id, fields=fields))
    except Exception as error:
        if db.dialect.is_duplicate(error):
            raise NameTaken(rules_.thing(str(fields.get("name")))) from error
        raise


def silence_rule(db: Database, caller: Caller, rule_id: int, duration: Any) -> Rule:
    """Tell nobody of a rule's incidents for so long (a duration; 0 ends a silence).

    They are opened, counted and resolved all the same. Raises RuleUnknown, AlertInvalid or
    NotAllowed.
    """
    caller.require(Permission.ALERTS_WRITE)
    length = silence_seconds("Silence", duration)

    def work(tx: Tx) -> Rule:
        found = visible(tx, caller, rule_id)
        until = tx.dialect.utc_after(":seconds") if length else "NULL"
        tx.execute(
            f"UPDATE ty_alert_rules SET silenced_until = {until} WHERE id = :id",
            id=rule_id,
            **({"seconds": length} if length else {}),
        )
        _audit(tx, caller, "alert-rule.silence", found, None, {"seconds": length})
        return visible(tx, caller, rule_id)

    return db.run(work)


def delete_rule(db: Database, caller: Caller, rule_id: int) -> None:
    """Delete a rule; its incidents are resolved and stay. Raises RuleUnknown or NotAllowed."""
    caller.require(Permission.ALERTS_WRITE)

    def work(tx: Tx) -> None:
        found = visible(tx, caller, rule_id)
        free = _FREE.format(now=tx.dialect.utc_now)
        tx.execute(free, id=rule_id, who=caller.name[:150])
        tx.execute("DELETE FROM ty_alert_rules WHERE id = :id", id=rule_id)
        _audit(tx, caller, "alert-rule.delete", found, _kept(found), None)

    db.run(work)


# --- for the engine -------------------------------------------------------------------------------


def enabled(tx: Tx) -> list[tuple[Rule, str | None]]:
    """The rules that are to be judged, each with what its last judgement left (JSON)."""
    columns = ", ".join((*COLUMNS, "state"))
    rows = tx.rows(f"SELECT {columns} FROM ty_alert_rules WHERE status = 1 ORDER BY id")
    states = [row.pop("state") for row in rows]
    return [(of_row(row), state) for row, state in zip(rows, states, strict=True)]


def of_kind(tx: Tx, kind: RuleKind) -> list[Rule]:
    """The enabled rules of a kind."""
    columns = ", ".join(COLUMNS)
    sql = f"SELECT {columns} FROM ty_alert_rules WHERE status = 1 AND kind = :kind ORDER BY id"
    return [of_row(row) for row in tx.rows(sql, kind=kind.value)]


def values_of(name: str, kind: str, tenant_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """All columns of a rule to be, as values. Raises AlertInvalid."""
    name = rules_.valid_name(name)
    known = valid_kind(name, kind)
    given = {**dict.fromkeys(_FIELDS), "status": 1, **fields}
    chosen = valid_fields(name, known, tenant_id, given)
    return {"name": name, "kind": known.value, "tenant_id": tenant_id, **chosen}


def insert(tx: Tx, caller: Caller, row: Mapping[str, Any]) -> Rule:
    """Insert a rule (of `values_of`), with its audit."""
    tx.execute(_INSERT.format(now=tx.dialect.utc_now), **as_texts(row))
    rule_id = tx.value(_NEWEST, tenant_id=row["tenant_id"], name=row["name"])
    made = rules_.read(tx, rule_id)
    assert made is not None
    _audit(tx, caller, "alert-rule.create", made, None, _kept(made))
    return made


# --- below ----------------------------------------------------------------------------------------


def visible(tx: Tx, caller: Caller, rule_id: int) -> Rule:
    """The rule of an id; raises RuleUnknown, also for one that the caller does not see."""
    found = rules_.read(tx, rule_id)
    if found is None or not caller.sees(found.tenant_id):
        raise RuleUnknown(str(rule_id))
    return found


def silence_seconds(what: str, duration: Any) -> float:
    """How long a silence is to be, in seconds; raises AlertInvalid."""
    try:
        found = parse_duration(duration)
    except ValueError as error:
        raise AlertInvalid(what, "for", str(error), "Give a duration, like 2h.") from None
    if found > _LONGEST_SILENCE:
        raise AlertInvalid(what, "for", "it is too long", "Give 366d at most.")
    return found


_LONGEST_SILENCE = 366 * 86_400.0


def _named(tx: Tx, caller: Caller, name: str) -> list[Rule]:
    sql = f"SELECT {', '.join(COLUMNS)} FROM ty_alert_rules WHERE name = :name"
    return [
        found for row in tx.rows(sql, name=name) if caller.sees((found := of_row(row)).tenant_id)
    ]


def _update(tx: Tx, caller: Caller, rule_id: int, fields: Mapping[str, Any]) -> Rule:
    current = visible(tx, caller, rule_id)
    given = dict(fields)
    changes: dict[str, Any] = {}
    if (name := given.pop("name", None)) is not None:
        changes["name"] = rules_.valid_name(name)
    changes |= valid_fields(current.name, current.kind, current.tenant_id, given)
    if "channels" in changes:
        _require_channels(tx, current.name, current.tenant_id, changes["channels"])
    before = {field: getattr(current, field) for field in changes}
    if before == changes:
        return current
    columns = ", ".join(f"{field} = :{field}" for field in changes)
    if changes.keys() & {"filters", "settings"}:
        columns += ", state = NULL"  # what was counted until now was something else
    tx.execute(
        f"UPDATE ty_alert_rules SET {columns}, updated_at = {tx.dialect.utc_now} WHERE id = :id",
        id=rule_id,
        **as_texts(changes),
    )
    _audit(tx, caller, "alert-rule.update", current, before, changes)
    return visible(tx, caller, rule_id)


def _require_channels(tx: Tx, name: str, tenant_id: str, channels: Iterable[int] | None) -> None:
    """A rule tells channels of its own tenant only: others' would learn of what is not theirs."""
    rows = tx.all("SELECT id FROM ty_channels WHERE tenant_id = :tenant_id", tenant_id=tenant_id)
    known = {row[0] for row in rows}
    for channel in channels or ():
        if channel not in known:
            why = f"there is no channel {channel} of this tenant"
            fix = (
                f"There are: {', '.join(map(str, sorted(known)))}." if known else "Make one first."
            )
            raise AlertInvalid(rules_.thing(name), "channels", why, fix)


def _kept(rule: Rule) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in ("name", "kind", *_FIELDS)}


def _audit(
    tx: Tx,
    caller: Caller,
    action: str,
    rule: Rule,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    thing = f"alert-rule/{rule.id}"
    audit.write(tx, caller, action, thing, tenant_id=rule.tenant_id, before=before, after=after)

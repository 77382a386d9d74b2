"""Templates: saved forms for batches, with variables to be filled in.

Owns the templates of a tenant and what becomes of one when it is used: in every text of its fields
`{{name}}` is the variable of that name; a text that is nothing else takes the value as it is, so
that numbers stay numbers. `{{today}}` and `{{now}}` are always there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from taskyard.access import audit
from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.batches import definition
from taskyard.core.errors import BatchInvalid, TemplateTwice, TemplateUnknown
from taskyard.db.database import Database, Tx
from taskyard.db.listing import Filter, Listing, Operator, Page, Query, Source, page, utc

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")

_COLUMNS = (
    *("id", "tenant_id", "name", "task_type", "fields", "variables", "created_by"),
    *("created_at", "updated_at"),
)

TEMPLATES = Listing(
    columns=_COLUMNS,
    filters={
        "q": Filter("name", Operator.CONTAINS, help="With this in its name."),
        "task_type": Filter("task_type", help="Its handler."),
        "tenant_id": Filter("tenant_id", help="Whose it is; empty is the platform's."),
    },
    sorts={"name": "name", "id": "id"},
    sort="name",
)
"""What may be asked of the list of templates."""

FIELDS = tuple(name for name in definition.FIELDS if name not in ("task_type", "tenant_id"))
"""The fields of a batch that a template may have."""


def list_templates(db: Database, caller: Caller, query: Query) -> Page:
    """One page of templates as dictionaries, by name. Raises QueryInvalid or NotAllowed."""
    caller.require(Permission.BATCHES_READ)
    asked = replace(query, filters=caller.narrow(query.filters))
    found = db.read(lambda tx: page(tx, TEMPLATES, [Source("ty_batch_templates")], asked))
    return replace(found, rows=[_shown(one) for one in found.rows])


def show_template(db: Database, caller: Caller, template: int | str) -> dict[str, Any]:
    """One template, by its id or name. Raises TemplateUnknown or NotAllowed."""
    caller.require(Permission.BATCHES_READ)
    return _shown(db.read(lambda tx: _find(tx, caller, template)))


def create_template(
    db: Database,
    caller: Caller,
    name: str,
    task_type: str,
    fields: Mapping[str, Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    *,
    tenant_id: str = "",
) -> dict[str, Any]:
    """Save a template; `variables` are their defaults by name, None where one must be given.

    Raises BatchInvalid naming the field, TemplateTwice or NotAllowed.
    """
    caller.require_tenant(tenant_id, Permission.TEMPLATES_WRITE)
    made = _checked(name, task_type, fields or {}, variables or {})

    def work(tx: Tx) -> int:
        now = tx.dialect.utc_now
        names = ", ".join((*made, "tenant_id", "created_by"))
        marks = ", ".join(f":{column}" for column in (*made, "tenant_id", "created_by"))
        tx.execute(
            f"INSERT INTO ty_batch_templates ({names}, created_at, updated_at)"
            f" VALUES ({marks}, {now}, {now})",
            **made,
            tenant_id=tenant_id,
            created_by=caller.name[:150],
        )
        _audit(tx, caller, "create", made["name"], tenant_id)
        sql = "SELECT id FROM ty_batch_templates WHERE tenant_id = :t AND name = :n"
        return int(tx.value(sql, t=tenant_id, n=made["name"]))

    template_id = _unique(db, made["name"], lambda: db.run(work, again=False))
    return _shown(db.read(lambda tx: _find(tx, caller, template_id)))


def update_template(
    db: Database, caller: Caller, template: int | str, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Change `name`, `task_type`, `fields` or `variables`. Raises as `create_template` does."""
    caller.require(Permission.TEMPLATES_WRITE)
    if unknown := changes.keys() - {"name", "task_type", "fields", "variables"}:
        why = "a template has no such field"
        raise BatchInvalid(sorted(unknown)[0], why, "Give name, task_type, fields, variables.")

    def work(tx: Tx) -> int:
        known = _shown(_find(tx, caller, template))
        wanted = {**known, **{n: v for n, v in changes.items() if v is not None}}
        made = _checked(wanted["name"], wanted["task_type"], wanted["fields"], wanted["variables"])
        marks = ", ".join(f"{column} = :{column}" for column in made)
        tx.execute(
            f"UPDATE ty_batch_templates SET {marks}, updated_at = {tx.dialect.utc_now}"
            " WHERE id = :id",
            **made,
            id=known["id"],
        )
        _audit(tx, caller, "update", made["name"], known["tenant_id"])
        return int(known["id"])

    name = str(changes.get("name") or template)
    template_id = _unique(db, name, lambda: db.run(work))
    return _shown(db.read(lambda tx: _find(tx, caller, template_id)))


def delete_template(db: Database, caller: Caller, template: int | str) -> None:
    """Delete a template; its batches stay. Raises TemplateUnknown or NotAllowed."""
    caller.require(Permission.TEMPLATES_WRITE)

    def work(tx: Tx) -> None:
        found = _find(tx, caller, template)
        tx.execute("DELETE FROM ty_batch_templates WHERE id = :id", id=found["id"])
        _audit(tx, caller, "delete", found["name"], found["tenant_id"])

    db.run(work)


def use_template(
    db: Database,
    caller: Caller,
    template: int | str,
    fields: Mapping[str, Any],
    variables: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], int]:
    """The fields of a batch made from a template, `fields` going before its own; and its id.

    A field that is given as None takes out the template's own. Variables are filled in wherever
    they stand. Raises TemplateUnknown, and BatchInvalid for a variable that is missing or unknown.
    """
    caller.require(Permission.BATCHES_READ)
    found = _shown(db.read(lambda tx: _find(tx, caller, template)))
    base = {name: found[name] for name in ("task_type", "tenant_id", "name")}
    own = {name: value for name, value in found["fields"].items() if name not in fields}
    own |= {name: value for name, value in fields.items() if value is not None}
    values = _values(found, own, variables or {})
    return base | {name: _filled(value, values) for name, value in own.items()}, int(found["id"])


# --- below ----------------------------------------------------------------------------------------


def _checked(
    name: str, task_type: str, fields: Mapping[str, Any], variables: Mapping[str, Any]
) -> dict[str, str]:
    """The columns of a template. Raises BatchInvalid."""
    for what, value in (("fields", fields), ("variables", variables)):
        if not isinstance(value, Mapping):
            raise BatchInvalid(what, "it must be an object", "Give names and values.")
    if unknown := fields.keys() - set(FIELDS):
        why = "a template has no such field"
        raise BatchInvalid(f"fields.{sorted(unknown)[0]}", why, f"There are: {', '.join(FIELDS)}.")
    text = str(name).strip()
    if not text or len(text) > 100 or not text.isprintable():
        raise BatchInvalid("name", "it must be 1 to 100 visible characters", "Name it shorter.")
    if not str(task_type).strip():
        raise BatchInvalid("task_type", "it is empty", "Name the handler.")
    used = set(_used(fields)) - set(_clock())
    for variable in sorted(used - variables.keys()):
        why = f"{{{{{variable}}}}} is used, but is no variable"
        raise BatchInvalid("variables", why, f'Give it: {{"{variable}": null}}, or a default.')
    for variable in variables:
        if not _VARIABLE.fullmatch(f"{{{{{variable}}}}}"):
            raise BatchInvalid("variables", f'"{variable}" is no name', "Use letters, digits, _.")
    # What can be read without the values is read now: a typo is found when it is made.
    plain = {n: v for n, v in fields.items() if not list(_used(v))}
    definition.read({"task_type": task_type, **plain})
    return {
        "name": text,
        "task_type": str(task_type),
        "fields": orjson.dumps(dict(fields)).decode(),
        "variables": orjson.dumps(dict(variables)).decode(),
    }


def _values(
    template: Mapping[str, Any], fields: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The values of the variables, of which those that the fields use must be there."""
    known = template["variables"]
    if unknown := given.keys() - known.keys():
        why = f'the template has no variable "{sorted(unknown)[0]}"'
        raise BatchInvalid("variables", why, f"There are: {', '.join(known) or 'none'}.")
    values = {**_clock(), **known, **given}
    used = set(_used(fields))
    for name in sorted(used & values.keys()):
        if values[name] is None:
            raise BatchInvalid("variables", f'"{name}" is missing', "Give it a value.")
    return values


def _clock() -> dict[str, str]:
    now = datetime.now(UTC)
    return {"today": now.date().isoformat(), "now": now.isoformat(timespec="seconds")}


def _used(value: Any) -> list[str]:
    if isinstance(value, str):
        return _VARIABLE.findall(value)
    if isinstance(value, Mapping):
        return [name for part in value.values() for name in _used(part)]
    if isinstance(value, list):
        return [name for part in value for name in _used(part)]
    return []


def _filled(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        whole = _VARIABLE.fullmatch(value.strip())
        if whole:
            return values.get(whole[1], value)
        return _VARIABLE.sub(lambda found: str(values.get(found[1], found[0])), value)
    if isinstance(value, Mapping):
        return {name: _filled(part, values) for name, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, values) for part in value]
    return value


def _find(tx: Tx, caller: Caller, template: int | str) -> dict[str, Any]:
    """A template that the caller sees. Raises TemplateUnknown."""
    sql = f"SELECT {', '.join(_COLUMNS)} FROM ty_batch_templates WHERE"
    if str(template).isdecimal() and len(str(template)) < 19:
        rows = tx.rows(f"{sql} id = :id", id=int(template))
    else:
        rows = tx.rows(f"{sql} name = :name ORDER BY id LIMIT 20", name=str(template))
    visible = [found for found in rows if caller.sees(found["tenant_id"])]
    if len(visible) != 1:
        names = tx.all("SELECT name, tenant_id FROM ty_batch_templates ORDER BY name LIMIT 500")
        raise TemplateUnknown(str(template), [n for n, tenant in names if caller.sees(tenant)])
    return visible[0]


def _shown(found: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: found[name] for name in _COLUMNS}
    shown |= {name: utc(shown[name]) for name in ("created_at", "updated_at")}
    return shown | {name: orjson.loads(shown[name]) for name in ("fields", "variables")}


def _unique(db: Database, name: str, work: Any) -> Any:
    try:
        return work()
    except Exception as error:
        if db.dialect.is_duplicate(error):
            raise TemplateTwice(name) from error
        raise


def _audit(tx: Tx, caller: Caller, verb: str, name: str, tenant_id: str) -> None:
    thing = f"batch-template/{name}"
    audit.write(tx, caller, f"batch-template.{verb}", thing, tenant_id=tenant_id)

"""Tenants: whose data there is.

Owns `ty_tenants`. A tenant is registered to give users a part of the platform, and to be disabled;
Tasks may name any `tenant_id`, registered or not. Tasks of a disabled tenant are held
(`tasks/holds.py`), and its users see nothing of it (`identify.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from taskyard.access import audit
from taskyard.access.caller import PLATFORM, Caller
from taskyard.access.permissions import Permission
from taskyard.core.errors import AccessInvalid, NameTaken, TenantUnknown
from taskyard.db.database import Database, Tx
from taskyard.db.listing import Filter, Listing, Operator, Page, Query, Source, integer, page, utc

# No comma: filters take several ids. No slash: an id is a part of addresses.
_ID = re.compile(r"(?!.*\s$)[^\s/,\x00-\x1f\x7f][^/,\x00-\x1f\x7f]{0,63}")
_LONGEST_NAME = 200

TENANTS = Listing(
    columns=("tenant_id", "name", "status", "created_at", "updated_at"),
    filters={
        "tenant_id": Filter("tenant_id"),
        "status": Filter("status", read=integer),
        "q": Filter("name", Operator.CONTAINS),
    },
    sorts={"tenant_id": "tenant_id", "name": "name"},
    sort="tenant_id",
    key="tenant_id",
)
"""What may be asked of the list of tenants."""

_INSERT = """
INSERT INTO ty_tenants (tenant_id, name, status, created_at, updated_at)
VALUES (:tenant_id, :name, 1, {now}, {now})
"""

_UPDATE = """
UPDATE ty_tenants SET name = :name, status = :status, updated_at = {now}
 WHERE tenant_id = :tenant_id
"""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant; `status` is 1, or 0 for disabled."""

    tenant_id: str
    name: str
    status: int
    created_at: datetime
    updated_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def list_tenants(db: Database, caller: Caller, query: Query) -> Page:
    """One page of the tenants that the caller sees, as dictionaries. Raises QueryInvalid."""
    asked = replace(query, filters=_visible(caller).narrow(query.filters))
    found = db.read(partial(page, listing=TENANTS, sources=[Source("ty_tenants")], query=asked))
    return replace(found, rows=[_tenant(row).to_dict() for row in found.rows])


def show_tenant(db: Database, caller: Caller, tenant_id: str) -> Tenant:
    """One tenant; raises TenantUnknown, also for one that the caller does not see."""
    found = db.read(partial(_find, tenant_id=tenant_id))
    if found is None or not _visible(caller).sees(tenant_id):
        raise TenantUnknown(tenant_id, _ids(db, caller))
    return found


def create_tenant(db: Database, caller: Caller, tenant_id: str, *, name: str = "") -> Tenant:
    """Register a tenant; `name` is for people, by default the id.

    Raises AccessInvalid naming the field, NameTaken or NotAllowed.
    """
    caller.require(Permission.USERS_WRITE)
    thing = f'Tenant "{tenant_id}"'
    if not _ID.fullmatch(tenant_id):
        raise AccessInvalid(
            thing,
            "tenant_id",
            "its tenant_id is empty, too long, or has a character that cannot be",
            "Use 1–64 characters without slashes, commas and control characters, and no blank at"
            " the ends.",
        )
    name = _name(thing, name or tenant_id)

    def work(tx: Tx) -> None:
        sql = _INSERT.format(now=tx.dialect.utc_now)
        tx.execute(sql, tenant_id=tenant_id, name=name)
        audit.write(
            tx,
            caller,
            "tenant.create",
            f"tenant/{tenant_id}",
            tenant_id=tenant_id,
            after={"name": name},
        )

    try:
        db.run(work, again=False)
    except Exception as error:
        if db.dialect.is_duplicate(error):
            raise NameTaken(thing) from error
        raise
    return show_tenant(db, caller, tenant_id)


def update_tenant(
    db: Database,
    caller: Caller,
    tenant_id: str,
    *,
    name: str | None = None,
    status: int | None = None,
) -> Tenant:
    """Change a tenant's name or status; None leaves it.

    Servers follow a status within `config_sync_interval`, users at their next request. Raises
    TenantUnknown, AccessInvalid or NotAllowed.
    """
    caller.require(Permission.USERS_WRITE)
    thing = f'Tenant "{tenant_id}"'
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = _name(thing, name)
    if status is not None:
        changes["status"] = check_status(thing, status)

    def work(tx: Tx) -> None:
        current = _find(tx, tenant_id)
        if current is None:
            raise TenantUnknown(tenant_id)
        before = {key: getattr(current, key) for key in changes}
        if before == changes:
            return
        after = {"name": current.name, "status": current.status, **changes}
        tx.execute(_UPDATE.format(now=tx.dialect.utc_now), tenant_id=tenant_id, **after)
        audit.write(
            tx,
            caller,
            "tenant.update",
            f"tenant/{tenant_id}",
            tenant_id=tenant_id,
            before=before,
            after=changes,
        )

    db.run(work)
    return show_tenant(db, caller, tenant_id)


def disabled(tx: Tx) -> frozenset[str]:
    """The ids of the disabled tenants."""
    return frozenset(row[0] for row in tx.all("SELECT tenant_id FROM ty_tenants WHERE status = 0"))


def require_known(tx: Tx, ids: Iterable[str]) -> None:
    """Raise TenantUnknown for the first that is not registered; the platform always is."""
    for tenant_id in ids:
        if tenant_id != PLATFORM and _find(tx, tenant_id) is None:
            raise TenantUnknown(tenant_id, _known(tx))


def check_status(thing: str, status: Any) -> int:
    """A status as it is kept; raises AccessInvalid."""
    if isinstance(status, bool) or status not in (0, 1):
        raise AccessInvalid(thing, "status", f"status cannot be {status!r}", "Give 1 or 0.")
    return int(status)


def _visible(caller: Caller) -> Caller:
    """A Caller who sees all tenants' things without a right to look sees no tenant."""
    may_look = caller.may(Permission.USERS_WRITE) or caller.may(Permission.MONITORING)
    return (
        caller if may_look or caller.tenants is not None else replace(caller, tenants=frozenset())
    )


def _ids(db: Database, caller: Caller) -> list[str]:
    visible = _visible(caller)
    return [tenant_id for tenant_id in db.read(_known) if visible.sees(tenant_id)]


def _known(tx: Tx) -> list[str]:
    return [row[0] for row in tx.all("SELECT tenant_id FROM ty_tenants ORDER BY tenant_id")]


def _find(tx: Tx, tenant_id: str) -> Tenant | None:
    if not _ID.fullmatch(tenant_id):
        return None
    sql = f"SELECT {', '.join(TENANTS.columns)} FROM ty_tenants WHERE tenant_id = :tenant_id"
    rows = tx.rows(sql, tenant_id=tenant_id)
    return _tenant(rows[0]) if rows else None


def _tenant(row: dict[str, Any]) -> Tenant:
    times = {name: utc(row[name]) for name in ("created_at", "updated_at")}
    return Tenant(**{**row, **times})


def _name(thing: str, name: str) -> str:
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise AccessInvalid(
            thing,
            "name",
            "its name is empty, too long, or has a character that cannot be",
            f"Use 1–{_LONGEST_NAME} characters on one line.",
        )
    return name

"""Users: who may sign in, what they are, and whose things they see.

Owns `ty_users` and its verbs. Signing in is `logins.py`'s, the hashing of passwords is
`passwords.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from taskyard.access import audit, passwords, throttle
from taskyard.access.caller import Caller
from taskyard.access.permissions import EVERYWHERE, Permission, Role
from taskyard.access.tenants import check_status, require_known
from taskyard.access.user import (
    COLUMNS,
    User,
    can_have,
    names,
    of_row,
    read,
    thing,
    valid_fields,
    valid_name,
)
from taskyard.core.errors import LastSuperuser, NameTaken, UserUnknown
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

USERS = Listing(
    columns=COLUMNS,
    filters={
        "role": Filter("role", read=one_of(*Role)),
        "status": Filter("status", read=integer),
        "q": Filter("username", Operator.CONTAINS),
    },
    sorts={"username": "username"},
    sort="username",
)
"""What may be asked of the list of users."""

_INSERT = """
INSERT INTO ty_users (username, password_hash, role, tenants, grants, status, created_at,
                      updated_at)
VALUES (:username, :password_hash, :role, :tenants, :grants, 1, {now}, {now})
"""

_UPDATE = """
UPDATE ty_users SET role = :role, tenants = :tenants, grants = :grants, status = :status,
                    updated_at = {now}
 WHERE id = :id
"""

_SET_HASH = """
UPDATE ty_users SET password_hash = :password_hash, updated_at = {now} WHERE id = :id
"""


# --- reading -------------------------------------------------------------------------------------


def list_users(db: Database, caller: Caller, query: Query) -> Page:
    """One page of users, as dictionaries. Raises QueryInvalid or NotAllowed."""
    caller.require(Permission.USERS_WRITE)
    found = db.read(partial(page, listing=USERS, sources=[Source("ty_users")], query=query))
    return replace(found, rows=[of_row(row).to_dict() for row in found.rows])


def show_user(db: Database, caller: Caller, username: str) -> User:
    """One user; everybody may see their own. Raises UserUnknown or NotAllowed."""
    found = db.read(partial(read, username=username))
    if found is None or found.id != caller.user_id:
        caller.require(Permission.USERS_WRITE)
    if found is None:
        raise UserUnknown(username, db.read(names))
    return found


# --- changing ------------------------------------------------------------------------------------


def add_user(
    db: Database,
    caller: Caller,
    username: str,
    *,
    role: str = Role.VIEWER.value,
    tenants: Sequence[str] = (),
    grants: Sequence[str] = (),
    password: str | None = None,
) -> User:
    """Add a user; without a password only a token or a sign-in link leads in.

    Raises AccessInvalid naming the field, TenantUnknown, NameTaken or NotAllowed.
    """
    caller.require(Permission.USERS_WRITE)
    name = valid_name(username)
    fields = valid_fields(name, role, tenants, grants)
    if password is not None:
        passwords.check_new(name, password)
    hashed = None if password is None else passwords.hash_password(password)
    try:
        db.run(
            partial(_insert, caller=caller, name=name, hashed=hashed, fields=fields), again=False
        )
    except Exception as error:
        if db.dialect.is_duplicate(error):
            raise NameTaken(thing(name)) from error
        raise
    return show_user(db, caller, name)


def update_user(
    db: Database,
    caller: Caller,
    username: str,
    *,
    role: str | None = None,
    tenants: Sequence[str] | None = None,
    grants: Sequence[str] | None = None,
    status: int | None = None,
) -> User:
    """Change what a user is; None leaves a field. A change of role or status signs the user out.

    Raises UserUnknown, AccessInvalid, TenantUnknown, LastSuperuser or NotAllowed.
    """
    caller.require(Permission.USERS_WRITE)

    def work(tx: Tx) -> None:
        supers = _lock_superusers(tx)
        current = _existing(tx, username)
        changed = _changed(current, role, tenants, grants, status)
        if changed == current:
            return
        if changed.role is not Role.SUPERUSER or changed.status != 1:
            _keep_one(supers, current)
        _update(tx, caller, current, changed)

    db.run(work)
    return show_user(db, caller, username)


def set_password(db: Database, caller: Caller, username: str, password: str) -> None:
    """Give a user another password and end their sessions; a throttled account is free again.

    Raises UserUnknown, AccessInvalid (too weak) or NotAllowed.
    """
    caller.require(Permission.USERS_WRITE)
    user = show_user(db, caller, username)
    passwords.check_new(user.username, password)
    hashed = passwords.hash_password(password)
    db.run(partial(write_password, caller=caller, user=user, hashed=hashed))


def delete_user(db: Database, caller: Caller, username: str) -> None:
    """Delete a user with their tokens and sessions; the audit keeps the name.

    Raises UserUnknown, LastSuperuser or NotAllowed.
    """
    caller.require(Permission.USERS_WRITE)

    def work(tx: Tx) -> None:
        supers = _lock_superusers(tx)
        user = _existing(tx, username)
        _keep_one(supers, user)
        sign_out_everywhere(tx, user.id)
        tx.execute("DELETE FROM ty_tokens WHERE user_id = :id", id=user.id)
        tx.execute("DELETE FROM ty_users WHERE id = :id", id=user.id)
        _audit(tx, caller, "user.delete", user, before=_state(user))

    db.run(work)


def write_password(
    tx: Tx, caller: Caller, user: User, hashed: str, *, keep: str | None = None
) -> None:
    """Keep another password's hash; all sessions end but the one whose key has the hash `keep`."""
    tx.execute(_SET_HASH.format(now=tx.dialect.utc_now), id=user.id, password_hash=hashed)
    sign_out_everywhere(tx, user.id, keep=keep)
    throttle.forgive(tx, user.username)
    _audit(tx, caller, "user.password", user)


def sign_out_everywhere(tx: Tx, user_id: int, *, keep: str | None = None) -> None:
    """End a user's sessions and links, but the session whose key has the hash `keep`."""
    sql = "DELETE FROM ty_logins WHERE user_id = :id AND key_hash <> :keep"
    tx.execute(sql, id=user_id, keep=keep or "")


def _insert(tx: Tx, caller: Caller, name: str, hashed: str | None, fields: dict[str, Any]) -> None:
    require_known(tx, fields["tenants"])
    sql = _INSERT.format(now=tx.dialect.utc_now)
    tx.execute(sql, username=name, password_hash=hashed, **_columns(fields))
    audit.write(tx, caller, "user.create", f"user/{name}", after=fields)


def _update(tx: Tx, caller: Caller, current: User, changed: User) -> None:
    require_known(tx, set(changed.tenants) - set(current.tenants))
    before, after = _state(current), _state(changed)
    sql = _UPDATE.format(now=tx.dialect.utc_now)
    tx.execute(sql, id=current.id, status=changed.status, **_columns(after))
    if (changed.role, changed.status) != (current.role, current.status):
        sign_out_everywhere(tx, current.id)
    touched = [name for name in after if before[name] != after[name]]
    _audit(
        tx,
        caller,
        "user.update",
        current,
        before={name: before[name] for name in touched},
        after={name: after[name] for name in touched},
    )


def _changed(
    current: User,
    role: str | None,
    tenants: Sequence[str] | None,
    grants: Sequence[str] | None,
    status: int | None,
) -> User:
    becomes = current.role if role is None else role
    # What the new role cannot have goes by itself: who sees all tenants has none of their own.
    own = () if becomes in EVERYWHERE else current.tenants
    kept = [grant for grant in current.grants if can_have(becomes, grant)]
    fields = valid_fields(
        current.username,
        becomes,
        own if tenants is None else tenants,
        kept if grants is None else grants,
    )
    return replace(
        current,
        role=Role(fields["role"]),
        tenants=tuple(fields["tenants"]),
        grants=tuple(fields["grants"]),
        status=current.status if status is None else check_status(thing(current.username), status),
    )


def _lock_superusers(tx: Tx) -> set[int]:
    """The enabled superusers, whom nobody else changes until this transaction ends."""
    lock = " FOR UPDATE" if tx.dialect.skip_locked else ""
    sql = f"SELECT id FROM ty_users WHERE role = 'superuser' AND status = 1{lock}"
    return {row[0] for row in tx.all(sql)}


def _keep_one(supers: set[int], user: User) -> None:
    if supers == {user.id}:
        raise LastSuperuser(user.username)


def _existing(tx: Tx, username: str) -> User:
    found = read(tx, username)
    if found is None:
        raise UserUnknown(username, names(tx))
    return found


def _columns(fields: dict[str, Any]) -> dict[str, str]:
    return {
        "role": fields["role"],
        "tenants": orjson.dumps(fields["tenants"]).decode(),
        "grants": orjson.dumps(fields["grants"]).decode(),
    }


def _state(user: User) -> dict[str, Any]:
    return {
        "role": user.role.value,
        "tenants": list(user.tenants),
        "grants": list(user.grants),
        "status": user.status,
    }


def _audit(tx: Tx, caller: Caller, action: str, user: User, **change: Any) -> None:
    audit.write(tx, caller, action, f"user/{user.username}", **change)

"""Identify: turns what a request shows, a token or a session's key, into the Caller.

Owns the look-up of each request. Nothing is remembered between two requests, so what was revoked,
has run out, was disabled or got another role is so at once. Leaves signing in to `logins.py`.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson

from taskyard.access import tenants, user
from taskyard.access.caller import Caller, Visitor
from taskyard.access.logins import IDLE
from taskyard.access.permissions import OF_TENANTS, held
from taskyard.access.token import hash_of, parts_of
from taskyard.access.user import User
from taskyard.core.errors import NotSignedIn, TokenEnded
from taskyard.db.database import Database, Tx

_TOUCH_AFTER = 60.0
"""Seconds after which it is written again that a token or session was used: not at each request."""

_OWNER = ", ".join(f"u.{name}" for name in user.COLUMNS)
_CLOSED = "(SELECT COUNT(*) FROM ty_tenants WHERE status = 0) AS closed"

_BY_ID = f"""
SELECT {_OWNER}, {_CLOSED}, t.id AS token_id, t.secret_hash, t.scopes, t.tenants AS limited,
       CASE WHEN t.revoked_at IS NULL THEN 0 ELSE 1 END AS revoked,
       CASE WHEN t.expires_at <= {{now}} THEN 1 ELSE 0 END AS expired,
       CASE WHEN t.last_used_at > {{lately}} THEN 0 ELSE 1 END AS stale
  FROM ty_tokens AS t JOIN ty_users AS u ON u.id = t.user_id
 WHERE t.public_id = :public_id
"""

_BY_KEY = f"""
SELECT {_OWNER}, {_CLOSED}, CASE WHEN l.seen_at > {{lately}} THEN 0 ELSE 1 END AS stale
  FROM ty_logins AS l JOIN ty_users AS u ON u.id = l.user_id
 WHERE l.key_hash = :hash AND l.kind = 'session' AND l.expires_at > {{now}}
   AND l.seen_at > {{idle}}
"""

_TOUCH_ID = "UPDATE ty_tokens SET last_used_at = {now} WHERE id = :id"
_TOUCH_KEY = "UPDATE ty_logins SET seen_at = {now} WHERE key_hash = :id"


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known of a token or session: its row, its user, the disabled tenants."""

    row: dict[str, Any]
    owner: User
    closed: frozenset[str]


def caller_of_token(
    db: Database, text: str, visitor: Visitor, *, advanced: bool, touch: bool = True
) -> Caller:
    """The Caller who shows this token (`ty_…`).

    `advanced` is the setting `advanced_permissions`; `touch` has it written down that it was used.
    Raises NotSignedIn (no such token) or TokenEnded (the right one, but revoked, run out, or of a
    disabled user).
    """
    parts = parts_of(text)
    if parts is None:
        raise NotSignedIn("This is no token of Taskyard's.")
    public_id, secret = parts
    found = db.read(partial(_find_token, public_id=public_id))
    if found is None or not hmac.compare_digest(found.row["secret_hash"], hash_of(secret)):
        raise NotSignedIn("There is no such token.")
    if (ended := _end_of(found)) is not None:
        raise TokenEnded(public_id, ended)
    if found.row["stale"] and touch:
        db.run(partial(_touch, sql=_TOUCH_ID, key=found.row["token_id"]))
    return _limited(_caller(found, visitor, advanced), found.row)


def caller_of_session(
    db: Database, key: str, visitor: Visitor, *, advanced: bool, touch: bool = True
) -> Caller:
    """The Caller whose session has this key; the others as for `caller_of_token`.

    Raises NotSignedIn: no such session, or it has ended.
    """
    hashed = hash_of(key)
    found = db.read(partial(_find_session, hashed=hashed))
    if found is None or found.owner.status != 1:
        raise NotSignedIn("Your session has ended.")
    if found.row["stale"] and touch:
        db.run(partial(_touch, sql=_TOUCH_KEY, key=hashed))
    return _caller(found, visitor, advanced)


# --- what is looked up ---------------------------------------------------------------------------


def _find_token(tx: Tx, public_id: str) -> _Found | None:
    lately = tx.dialect.utc_after(f"-{_TOUCH_AFTER}")
    sql = _BY_ID.format(now=tx.dialect.utc_now, lately=lately)
    return _found(tx, tx.rows(sql, public_id=public_id))


def _find_session(tx: Tx, hashed: str) -> _Found | None:
    now, after = tx.dialect.utc_now, tx.dialect.utc_after
    sql = _BY_KEY.format(now=now, lately=after(f"-{_TOUCH_AFTER}"), idle=after(f"-{IDLE}"))
    return _found(tx, tx.rows(sql, hash=hashed))


def _found(tx: Tx, rows: Sequence[dict[str, Any]]) -> _Found | None:
    if not rows:
        return None
    owner = user.of_row({name: rows[0][name] for name in user.COLUMNS})
    return _Found(rows[0], owner, tenants.disabled(tx) if rows[0]["closed"] else frozenset())


def _touch(tx: Tx, sql: str, key: Any) -> None:
    tx.execute(sql.format(now=tx.dialect.utc_now), id=key)


# --- what the Caller may -------------------------------------------------------------------------


def _end_of(found: _Found) -> str | None:
    if found.row["revoked"]:
        return "revoked"
    if found.row["expired"]:
        return "expired"
    return None if found.owner.status == 1 else "user disabled"


def _caller(found: _Found, visitor: Visitor, advanced: bool) -> Caller:
    owner = found.owner
    return Caller(
        name=owner.username,
        role=owner.role.value,
        permissions=held(owner.role, owner.grants, advanced=advanced),
        tenants=None if owner.sees is None else owner.sees - found.closed,
        user_id=owner.id,
        token_id=found.row.get("token_id"),
        address=visitor.address,
        request_id=visitor.request_id,
    )


def _limited(caller: Caller, row: dict[str, Any]) -> Caller:
    """The Caller cut down to what their token is limited to."""
    permissions, seen = caller.permissions, caller.tenants
    if row["scopes"] is not None:
        scopes = set(orjson.loads(row["scopes"]))
        permissions = frozenset(p for p in permissions if p.value in scopes)
    if row["limited"] is not None:
        limit = frozenset(orjson.loads(row["limited"]))
        seen = limit if seen is None else seen & limit
        permissions &= OF_TENANTS
    return replace(caller, permissions=permissions, tenants=seen)

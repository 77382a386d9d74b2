"""Tokens: how programs sign in.

Owns the verbs over `ty_tokens`. A token may at most what its user may, looked up at each request
(`identify.py`), and never more than who made it: whatever a maker does not hold for good is written
into the token as a limit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from taskyard.access import audit, token, user
from taskyard.access.caller import PLATFORM, Caller
from taskyard.access.permissions import OF_TENANTS, Permission, held
from taskyard.access.tenants import show_tenant
from taskyard.access.token import NewToken, Token, hash_of, new_parts, shown
from taskyard.access.user import User
from taskyard.core.durations import format_duration
from taskyard.core.errors import AccessInvalid, TokenUnknown, UserUnknown, did_you_mean
from taskyard.db.database import Database, Tx
from taskyard.db.listing import Filter, Listing, Page, Query, Source, page

DEFAULT_LIFE = 90 * 86_400.0
"""Seconds that a token lives unless said otherwise."""
LONGEST_LIFE = 366 * 86_400.0
_SHORTEST_LIFE = 60.0

TOKENS = Listing(
    columns=token.COLUMNS,
    filters={"username": Filter("username"), "public_id": Filter("public_id")},
    sorts={"created_at": "id"},
    sort="-created_at",
)
"""What may be asked of the list of tokens."""

_INSERT = """
INSERT INTO ty_tokens (public_id, secret_hash, name, user_id, tenants, scopes, expires_at,
                       created_at)
VALUES (:public_id, :secret_hash, :name, :user_id, :tenants, :scopes, {expires}, {now})
"""

_REVOKE = """
UPDATE ty_tokens SET revoked_at = {now} WHERE id = :id AND revoked_at IS NULL
"""


# --- the verbs -----------------------------------------------------------------------------------


def create_token(
    db: Database,
    caller: Caller,
    name: str,
    *,
    username: str | None = None,
    scopes: Sequence[str] | None = None,
    tenants: Sequence[str] | None = None,
    expires_in: float = DEFAULT_LIFE,
) -> NewToken:
    """Make a token of the caller's own, or of the user `username`.

    `expires_in` is in seconds. Raises UserUnknown, AccessInvalid naming the field, TenantUnknown or
    NotAllowed.
    """
    owner = _owner(db, caller, username)
    row = {
        "name": _valid_name(name),
        "user_id": owner.id,
        "scopes": _as_text(_scopes(caller, owner, scopes, limited=tenants is not None)),
        "tenants": _as_text(_tenants(db, caller, owner, tenants)),
    }
    life = _valid_life(expires_in)
    public_id, secret = new_parts()

    def work(tx: Tx) -> Token:
        sql = _INSERT.format(now=tx.dialect.utc_now, expires=tx.dialect.utc_after(":life"))
        hashes = {"public_id": public_id, "secret_hash": hash_of(secret)}
        tx.execute(sql, **row, **hashes, life=life)
        made = token.read(tx, public_id)
        assert made is not None
        after = {key: getattr(made, key) for key in ("name", "scopes", "tenants", "expires_at")}
        _audit(tx, caller, "token.create", made, owner, after)
        return made

    made = db.run(work, again=False)
    return NewToken(shown(public_id, secret), made)


def list_tokens(db: Database, caller: Caller, query: Query) -> Page:
    """One page of the tokens that the caller may revoke, as dictionaries; see `Token`.

    Raises QueryInvalid.
    """

    def work(tx: Tx) -> Page:
        source = Source(token.TABLE, token.PLACES, where=_visible(tx, caller))
        return page(tx, TOKENS, [source], query)

    found = db.read(work)
    return replace(found, rows=[token.of_row(row).to_dict() for row in found.rows])


def revoke_token(db: Database, caller: Caller, public_id: str) -> Token:
    """End a token at once. Raises TokenUnknown, also for one that is not the caller's to end."""

    def work(tx: Tx) -> None:
        found = token.read(tx, public_id)
        owner = None if found is None else user.read(tx, found.username)
        if found is None or owner is None or not _is_mine(caller, owner):
            raise TokenUnknown(public_id)
        if tx.execute(_REVOKE.format(now=tx.dialect.utc_now), id=found.id):
            _audit(tx, caller, "token.revoke", found, owner, None)

    db.run(work)
    ended = db.read(partial(token.read, public_id=public_id))
    assert ended is not None
    return ended


# --- whose ---------------------------------------------------------------------------------------


def _owner(db: Database, caller: Caller, username: str | None) -> User:
    found = db.read(partial(_named, caller=caller, username=username))
    if found is None or found.id != caller.user_id:
        caller.require(Permission.TOKENS_WRITE)
    elif caller.token_id is not None:
        # Else whoever finds a token of narrow scope could go on making new ones for ever.
        caller.require(Permission.TOKENS_WRITE)
    if found is None or not _is_mine(caller, found):
        raise UserUnknown(username or caller.name)
    return found


def _named(tx: Tx, caller: Caller, username: str | None) -> User | None:
    if username is not None:
        return user.read(tx, username)
    if caller.user_id is None:
        raise AccessInvalid(
            "Token", "username", "a token belongs to a user", "Name the user it is for."
        )
    return user.read_by_id(tx, caller.user_id)


def _is_mine(caller: Caller, owner: User) -> bool:
    """Are this user's tokens the caller's to make and end?"""
    if owner.id == caller.user_id:
        return True
    if not caller.may(Permission.TOKENS_WRITE):
        return False
    return caller.tenants is None or (owner.sees is not None and owner.sees <= caller.tenants)


def _visible(tx: Tx, caller: Caller) -> str:
    """Condition of the tokens that are the caller's to end."""
    if not caller.may(Permission.TOKENS_WRITE):
        return f"t.user_id = {int(caller.user_id or 0)}"
    if caller.tenants is None:
        return ""
    rows = tx.rows(f"SELECT {', '.join(user.COLUMNS)} FROM ty_users")
    mine = [owner.id for owner in map(user.of_row, rows) if _is_mine(caller, owner)]
    return f"t.user_id IN ({', '.join(map(str, mine or [0]))})"


# --- how much ------------------------------------------------------------------------------------


def _is_unlimited(caller: Caller, owner: User) -> bool:
    """Does the caller hold for good what this user has and may get?"""
    if owner.id == caller.user_id:
        return caller.token_id is None
    return caller.tenants is None and caller.permissions >= frozenset(Permission)


def _scopes(
    caller: Caller, owner: User, asked: Sequence[str] | None, *, limited: bool
) -> list[str] | None:
    """The permissions that a token is limited to; None is all that its user has and gets."""
    if asked is None and _is_unlimited(caller, owner):
        return None
    most = held(owner.role, owner.grants, advanced=True) & caller.permissions
    if limited:
        most &= OF_TENANTS
    if asked is None:
        return sorted(most)
    if not asked:
        raise _invalid("scopes", "scopes: it may nothing at all", "Name at least one permission.")
    return sorted({_scope(word, most, owner) for word in asked})


def _scope(word: str, most: Collection[Permission], owner: User) -> str:
    known = [permission.value for permission in Permission]
    if word not in known:
        why = f'scopes: there is no permission "{word}".{did_you_mean(word, known)}'
        raise _invalid("scopes", why, f"There are: {', '.join(known)}.")
    if word not in most:
        allowed = ", ".join(sorted(most)) or "none"
        why = f'scopes: {word} is more than "{owner.username}" and you may, or is not of tenants'
        raise _invalid("scopes", why, f"Allowed here: {allowed}.")
    return word


def _tenants(
    db: Database, caller: Caller, owner: User, asked: Sequence[str] | None
) -> list[str] | None:
    """The tenants that a token is limited to; None is all that its user sees."""
    sees = [seen for seen in (owner.sees, caller.tenants) if seen is not None]
    most = frozenset.intersection(*sees) if sees else None
    if asked is None:
        return None if most is None or _is_unlimited(caller, owner) else sorted(most)
    if not asked:
        raise _invalid("tenants", "tenants: it sees nothing at all", "Name at least one tenant.")
    for tenant_id in asked:
        if most is None and tenant_id != PLATFORM:
            show_tenant(db, caller, tenant_id)
        if most is not None and tenant_id not in most:
            why = f'tenants: "{owner.username}" and you do not both see "{tenant_id}"'
            raise _invalid("tenants", why, f"Allowed here: {', '.join(sorted(most))}.")
    return list(dict.fromkeys(asked))


def _valid_name(name: str) -> str:
    if not name.strip() or len(name) > 100 or not name.isprintable():
        why = "its name is empty, too long, or has a character that cannot be"
        raise _invalid("name", why, "Say in 1–100 characters what the token is for.")
    return name


def _valid_life(seconds: float) -> float:
    if not _SHORTEST_LIFE <= seconds <= LONGEST_LIFE:
        why = f"expires_in cannot be {seconds:g} s"
        least, most = format_duration(_SHORTEST_LIFE), format_duration(LONGEST_LIFE)
        raise _invalid("expires_in", why, f"Give {least} to {most}; every token ends some day.")
    return seconds


def _invalid(field: str, why: str, fix: str) -> AccessInvalid:
    return AccessInvalid("Token", field, why, fix)


def _as_text(words: Sequence[str] | None) -> str | None:
    return None if words is None else orjson.dumps(words).decode()


def _audit(
    tx: Tx, caller: Caller, action: str, of: Token, owner: User, after: dict[str, Any] | None
) -> None:
    whose = {"user": owner.username}
    audit.write(tx, caller, action, f"token/{of.public_id}", after=whose | (after or {}))

"""Logins: how people sign in and out: sessions, sign-in links, the first user.

Owns `ty_logins`: the key of a session or a link is 32 random bytes, of which only the hash is kept.
Who a session belongs to is asked for by `identify.py`; guessing is slowed by `throttle.py`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from taskyard.access import audit, passwords, throttle, user
from taskyard.access.caller import ENGINE, NOWHERE, Caller, Visitor
from taskyard.access.permissions import Permission, Role
from taskyard.access.token import hash_of
from taskyard.access.user import User
from taskyard.access.users import add_user, write_password
from taskyard.core.errors import NameTaken, NotSignedIn, SignInFailed, UserUnknown
from taskyard.core.payload import storable
from taskyard.db.database import Database, Tx
from taskyard.db.listing import utc

IDLE = 8 * 3_600.0
"""Seconds without a request after which a session ends."""
LONGEST = 7 * 86_400.0
"""Seconds after which a session ends in any case."""
LINK = 600.0
"""Seconds that a sign-in link may be used in."""

FIRST = "admin"
"""The username of the first superuser."""

_INSERT = """
INSERT INTO ty_logins (key_hash, kind, user_id, address, user_agent, created_at, seen_at,
                       expires_at)
VALUES (:hash, :kind, :user_id, :address, :user_agent, {now}, {now}, {expires})
"""

# The hash that was looked at, or else the password was changed in between.
_SIGNED_IN = """
UPDATE ty_users SET last_login_at = {now}, password_hash = :fresh
 WHERE id = :id AND status = 1 AND password_hash = :looked_at
"""

_LINKED_IN = "UPDATE ty_users SET last_login_at = {now} WHERE id = :id AND status = 1"

_LINKED = """
SELECT user_id FROM ty_logins WHERE key_hash = :hash AND kind = 'link' AND expires_at > {now}
"""

_EXPIRED = """
DELETE FROM ty_logins WHERE expires_at < {now} OR (kind = 'session' AND seen_at < {idle})
"""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that has just begun. `key` is shown this once: it is what the cookie holds."""

    key: str = field(repr=False)
    user_id: int
    username: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class FirstUser:
    """The superuser of a fresh database: a password and a link's key, to be shown once."""

    username: str
    password: str = field(repr=False)
    link: str = field(repr=False)


# --- in and out ----------------------------------------------------------------------------------


def sign_in(
    db: Database,
    username: str,
    password: str,
    visitor: Visitor = NOWHERE,
    *,
    replaces: str | None = None,
) -> SignedIn:
    """Begin a session with a password; a session that the visitor had before (`replaces`) ends.

    Raises SignInFailed, the same for an unknown user, a wrong password and a disabled user, and
    TooManyAttempts with the seconds to wait.
    """
    found, looked_at = _check(db, username, password, visitor)
    fresh = passwords.renewed(password, looked_at)

    def work(tx: Tx) -> SignedIn:
        hashes = {"id": found.id, "looked_at": looked_at, "fresh": fresh}
        if not tx.execute(_SIGNED_IN.format(now=tx.dialect.utc_now), **hashes):
            raise SignInFailed
        throttle.forgive(tx, found.username, visitor.address)
        return _begin(tx, found, visitor, replaces)

    return db.run(work)


def sign_in_by_link(
    db: Database, link: str, visitor: Visitor = NOWHERE, *, replaces: str | None = None
) -> SignedIn:
    """Begin a session with a link's key, which is used up by it. Raises SignInFailed."""

    def work(tx: Tx) -> SignedIn:
        found = _used_up(tx, hash_of(link))
        now = tx.dialect.utc_now
        if found is None or not tx.execute(_LINKED_IN.format(now=now), id=found.id):
            raise SignInFailed("This link was used already, or is too old.")
        return _begin(tx, found, visitor, replaces)

    return db.run(work)


def sign_out(db: Database, key: str, visitor: Visitor = NOWHERE) -> None:
    """End a session; one that has ended already is no error."""

    def work(tx: Tx) -> None:
        owner_id = tx.value("SELECT user_id FROM ty_logins WHERE key_hash = :h", h=hash_of(key))
        owner = None if owner_id is None else user.read_by_id(tx, owner_id)
        if _delete(tx, key) and owner is not None:
            audit.write(tx, _as(owner, visitor), "user.sign_out", f"user/{owner.username}")

    db.run(work)


def make_link(db: Database, caller: Caller, username: str) -> str:
    """The key of a sign-in link for a user: good once, for ten minutes.

    Raises UserUnknown or NotAllowed.
    """
    caller.require(Permission.USERS_WRITE)
    key = secrets.token_urlsafe(32)

    def work(tx: Tx) -> None:
        found = user.read(tx, username)
        if found is None:
            raise UserUnknown(username, user.names(tx))
        _insert(tx, found, key, "link", LINK, NOWHERE)
        audit.write(tx, caller, "user.link", f"user/{found.username}")

    db.run(work)
    return key


# --- passwords and the first user ----------------------------------------------------------------


def change_password(
    db: Database, caller: Caller, current: str, new: str, *, key: str | None = None
) -> None:
    """Change the caller's own password; all sessions end but the one with `key`.

    Raises SignInFailed (`current` is wrong), TooManyAttempts, AccessInvalid (`new` is too weak),
    NotSignedIn (the caller is no user).
    """
    if caller.user_id is None:
        raise NotSignedIn("Only a user who is signed in has a password to change.")
    visitor = Visitor(address=caller.address, request_id=caller.request_id)
    passwords.check_new(caller.name, new)
    found, _ = _check(db, caller.name, current, visitor)
    hashed = passwords.hash_password(new)
    keep = None if key is None else hash_of(key)

    def work(tx: Tx) -> None:
        write_password(tx, caller, found, hashed, keep=keep)
        throttle.forgive(tx, found.username, visitor.address)

    db.run(work)


def first_user(db: Database) -> FirstUser | None:
    """Make the superuser `admin` if there is no user at all; None where there is one."""
    if db.read(lambda tx: tx.one("SELECT id FROM ty_users LIMIT 1")) is not None:
        return None
    password = passwords.generate()
    try:
        add_user(db, ENGINE, FIRST, role=Role.SUPERUSER, password=password)
    except NameTaken:
        return None  # another process was faster
    return FirstUser(FIRST, password, make_link(db, ENGINE, FIRST))


def forget_expired(db: Database) -> int:
    """Remove what has run out: sessions, links, counts of failures. Returns the number of rows."""

    def work(tx: Tx) -> int:
        idle = tx.dialect.utc_after(f"-{IDLE}")
        gone = tx.execute(_EXPIRED.format(now=tx.dialect.utc_now, idle=idle))
        return gone + throttle.forget(tx)

    return db.run(work)


# --- below ---------------------------------------------------------------------------------------


def _check(db: Database, username: str, password: str, visitor: Visitor) -> tuple[User, str]:
    """The enabled user of this name and password, and the hash that was compared."""
    name = user.normal(username)
    throttle.count(db, name, visitor.address)
    found, looked_at = db.read(partial(_credentials, username=name))
    # Compared in any case: the time must not tell which users there are.
    right = passwords.matches(password, looked_at)
    if right and found is not None and found.status == 1 and looked_at is not None:
        return found, looked_at
    db.run(partial(_failed, found=found, visitor=visitor))
    raise SignInFailed


def _credentials(tx: Tx, username: str) -> tuple[User | None, str | None]:
    found = user.read(tx, username)
    if found is None:
        return None, None
    return found, tx.value("SELECT password_hash FROM ty_users WHERE id = :id", id=found.id)


def _failed(tx: Tx, found: User | None, visitor: Visitor) -> None:
    # What was typed for a user is kept only where it is one: it may have been a password.
    thing = "user/?" if found is None else f"user/{found.username}"
    nobody = Caller(
        "anonymous",
        "",
        frozenset(),
        frozenset(),
        address=visitor.address,
        request_id=visitor.request_id,
    )
    audit.write(tx, nobody, "user.sign_in_failed", thing)


def _used_up(tx: Tx, hashed: str) -> User | None:
    """The user of a link that is good, which it is no more from now on."""
    user_id = tx.value(_LINKED.format(now=tx.dialect.utc_now), hash=hashed)
    hit = tx.execute("DELETE FROM ty_logins WHERE key_hash = :hash AND kind = 'link'", hash=hashed)
    return user.read_by_id(tx, user_id) if hit and user_id is not None else None


def _begin(tx: Tx, owner: User, visitor: Visitor, replaces: str | None) -> SignedIn:
    if replaces is not None:
        _delete(tx, replaces)
    key = secrets.token_urlsafe(32)
    _insert(tx, owner, key, "session", LONGEST, visitor)
    audit.write(tx, _as(owner, visitor), "user.sign_in", f"user/{owner.username}")
    ends = tx.value("SELECT expires_at FROM ty_logins WHERE key_hash = :h", h=hash_of(key))
    expires_at = utc(ends)
    assert expires_at is not None
    return SignedIn(key, owner.id, owner.username, expires_at)


def _insert(tx: Tx, owner: User, key: str, kind: str, life: float, visitor: Visitor) -> None:
    values: dict[str, Any] = {
        "hash": hash_of(key),
        "kind": kind,
        "user_id": owner.id,
        "address": None if visitor.address is None else storable(visitor.address)[:64],
        "user_agent": None if visitor.user_agent is None else storable(visitor.user_agent)[:255],
    }
    expires = tx.dialect.utc_after(repr(life))
    tx.execute(_INSERT.format(now=tx.dialect.utc_now, expires=expires), **values)


def _delete(tx: Tx, key: str) -> int:
    sql = "DELETE FROM ty_logins WHERE key_hash = :hash AND kind = 'session'"
    return tx.execute(sql, hash=hash_of(key))


def _as(owner: User, visitor: Visitor) -> Caller:
    """The user as the audit names them."""
    return Caller(
        owner.username,
        owner.role.value,
        frozenset(),
        frozenset(),
        user_id=owner.id,
        address=visitor.address,
        request_id=visitor.request_id,
    )

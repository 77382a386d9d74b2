"""Token: the noun: its form, what is known of one, and how its row is read.

A token is shown as `ty_<id>_<secret>`; only the secret's hash is kept. The verbs are `tokens.py`'s.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import orjson

from taskyard.db.database import Tx
from taskyard.db.listing import utc

COLUMNS = (
    "id",
    "public_id",
    "name",
    "username",
    "scopes",
    "tenants",
    "expires_at",
    "last_used_at",
    "revoked_at",
    "created_at",
)
TABLE = "ty_tokens AS t JOIN ty_users AS u ON u.id = t.user_id"
PLACES = {name: f"t.{name}" for name in ("id", "tenants", "created_at")}
"""The columns of TABLE that both of its tables have."""

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_ID = re.compile(r"[a-z2-7]{8}")
_FORM = re.compile(r"ty_([a-z2-7]{8})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret.

    `scopes` are the permissions it is limited to (None: all of its user's), `tenants` likewise the
    tenants.
    """

    id: int
    public_id: str
    name: str
    username: str
    scopes: tuple[str, ...] | None
    tenants: tuple[str, ...] | None
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made; `text` is what its holder shows, and cannot be had again."""

    text: str = field(repr=False)
    token: Token


def new_parts() -> tuple[str, str]:
    """An id and a secret for a new token."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(8)), secrets.token_urlsafe(32)


def shown(public_id: str, secret: str) -> str:
    """A token as its holder shows it."""
    return f"ty_{public_id}_{secret}"


def parts_of(text: str) -> tuple[str, str] | None:
    """The id and the secret of a token as it is shown; None for what has not the form of one."""
    found = _FORM.fullmatch(text)
    return (found[1], found[2]) if found else None


def hash_of(secret: str) -> str:
    """What is kept of a secret or key of 32 random bytes: they need no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def read(tx: Tx, public_id: str) -> Token | None:
    """The token of an id, whoever asks."""
    if not _ID.fullmatch(public_id):
        return None
    columns = ", ".join(f"{PLACES.get(name, name)} AS {name}" for name in COLUMNS)
    rows = tx.rows(f"SELECT {columns} FROM {TABLE} WHERE public_id = :id", id=public_id)
    return of_row(rows[0]) if rows else None


def of_row(row: dict[str, Any]) -> Token:
    """The token of a row with `COLUMNS`."""
    times = ("expires_at", "last_used_at", "revoked_at", "created_at")
    lists = {name: row[name] and tuple(orjson.loads(row[name])) for name in ("scopes", "tenants")}
    return Token(**row | {name: utc(row[name]) for name in times} | lists)

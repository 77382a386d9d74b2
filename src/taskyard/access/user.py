"""User: the noun: what is known of one, what that may be, and how its row is read.

The verbs over users are `users.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import orjson

from taskyard.access.caller import PLATFORM
from taskyard.access.permissions import EVERYWHERE, GRANTABLE, Permission, Role
from taskyard.core.errors import AccessInvalid, did_you_mean
from taskyard.db.database import Tx
from taskyard.db.listing import utc

COLUMNS = (
    "id",
    "username",
    "role",
    "tenants",
    "grants",
    "status",
    "last_login_at",
    "created_at",
    "updated_at",
)
_COLUMNS = ", ".join(COLUMNS)

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")
_RESERVED = frozenset({"anonymous", "sql", "taskyard"})
"""Actors of the audit that are no users."""


@dataclass(frozen=True, slots=True)
class User:
    """A user. `tenants` are those whose things are seen; none means the platform's own.

    Superusers and monitors see all tenants. `grants` are permissions beside the role.
    """

    id: int
    username: str
    role: Role
    tenants: tuple[str, ...]
    grants: tuple[str, ...]
    status: int
    last_login_at: datetime | None
    created_at: datetime
    updated_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    @property
    def sees(self) -> frozenset[str] | None:
        """The tenants whose things are seen; None is all of them."""
        if self.role in EVERYWHERE:
            return None
        return frozenset(self.tenants or (PLATFORM,))


def read(tx: Tx, username: str) -> User | None:
    """The user of a name, whoever asks."""
    name = normal(username)
    if not _NAME.fullmatch(name):
        return None  # not even every database takes every text to look for
    rows = tx.rows(f"SELECT {_COLUMNS} FROM ty_users WHERE username = :username", username=name)
    return of_row(rows[0]) if rows else None


def read_by_id(tx: Tx, user_id: int) -> User | None:
    """The user of an id, whoever asks."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM ty_users WHERE id = :id", id=user_id)
    return of_row(rows[0]) if rows else None


def names(tx: Tx) -> list[str]:
    """All usernames."""
    return [row[0] for row in tx.all("SELECT username FROM ty_users")]


def of_row(row: dict[str, Any]) -> User:
    """The user of a row with `COLUMNS`."""
    times = {name: utc(row[name]) for name in ("last_login_at", "created_at", "updated_at")}
    lists = {name: tuple(orjson.loads(row[name])) for name in ("tenants", "grants")}
    return User(**{**row, **times, **lists, "role": Role(row["role"])})


def normal(username: str) -> str:
    """A username as it is kept: people write theirs with and without capitals."""
    return username.strip().lower()


def thing(username: str) -> str:
    """How messages name a user."""
    return f'User "{username}"'


# --- what may be ---------------------------------------------------------------------------------


def valid_name(username: str) -> str:
    """The username as it is kept; raises AccessInvalid if it cannot be one."""
    name = normal(username)
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise AccessInvalid(
            thing(name[:100]),
            "username",
            "the username cannot be this",
            "Use 1–100 of a–z, 0–9 and . _ @ + -, beginning with a letter or digit;"
            f" {', '.join(sorted(_RESERVED))} are taken.",
        )
    return name


def valid_fields(
    name: str, role: str, tenants: Iterable[str], grants: Iterable[str]
) -> dict[str, Any]:
    """What a user of this name is to be, as it is kept; raises AccessInvalid naming the field."""
    found = _one_of(name, "role", role, Role)
    given = sorted({_one_of(name, "grants", grant, GRANTABLE) for grant in grants})
    listed = list(dict.fromkeys(tenants))
    if Role(found) in EVERYWHERE and listed:
        why = f"a {found} sees all tenants, so it has no tenants of its own"
        raise AccessInvalid(thing(name), "tenants", why, "Leave tenants out, or change the role.")
    for grant in given:
        if not can_have(found, grant):
            why = f"grants: a {found} cannot be given {grant}, only a tenant_admin can"
            raise AccessInvalid(thing(name), "grants", why, "Leave it out, or change the role.")
    return {"role": found, "tenants": listed, "grants": given}


def can_have(role: str, grant: str) -> bool:
    """May a user of this role be given the grant?"""
    return grant != Permission.PAYLOAD_RAW or role == Role.TENANT_ADMIN


def _one_of(name: str, field: str, word: str, known: Iterable[str]) -> str:
    words = sorted(map(str, known))
    if word not in words:
        why = f'{field}: there is no "{word}".{did_you_mean(word, words)}'
        raise AccessInvalid(thing(name), field, why, f"There are: {', '.join(words)}.")
    return str(word)

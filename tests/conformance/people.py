"""People: users, their sessions and tokens, in few words; and time that has passed.

Owns what the tests of access share. Asks the real verbs; the database's clock cannot be moved, so
what has to be old is made so by SQL.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskyard.access import audit, identify, logins, tenants, tokens, users
from taskyard.access.caller import LOCAL, Caller, Visitor
from taskyard.access.user import User
from taskyard.db.database import Database
from taskyard.db.listing import Query

PASSWORD = "correct horse battery"
HERE = Visitor(address="192.0.2.7", user_agent="test", request_id="r-1")


class People:
    """Whoever there is in one database."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def tenant(self, *ids: str) -> None:
        for tenant_id in ids:
            tenants.create_tenant(self.db, LOCAL, tenant_id)

    def add(self, name: str, role: str = "viewer", *seen: str, **fields: Any) -> User:
        """A user who signs in with PASSWORD and sees these tenants."""
        fields.setdefault("password", PASSWORD)
        return users.add_user(self.db, LOCAL, name, role=role, tenants=seen, **fields)

    def sign_in(self, name: str, password: str = PASSWORD, **visit: Any) -> str:
        """A new session's key."""
        visitor = Visitor(**{"address": HERE.address, **visit})
        return logins.sign_in(self.db, name, password, visitor).key

    def caller(self, name: str, *, advanced: bool = False) -> Caller:
        """The Caller of a new session, which was opened by a link: that hashes no password."""
        link = logins.make_link(self.db, LOCAL, name)
        return self.session(logins.sign_in_by_link(self.db, link).key, advanced=advanced)

    def session(self, key: str, *, advanced: bool = False) -> Caller:
        return identify.caller_of_session(self.db, key, HERE, advanced=advanced)

    def token(self, name: str, maker: Caller = LOCAL, **limits: Any) -> str:
        """A new token of a user, as it is shown."""
        return tokens.create_token(self.db, maker, "test", username=name, **limits).text

    def bearer(self, text: str, *, advanced: bool = False) -> Caller:
        return identify.caller_of_token(self.db, text, HERE, advanced=advanced)

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        return self.db.read(lambda tx: tx.rows(sql, **values))

    def value(self, sql: str, **values: Any) -> Any:
        return self.db.read(lambda tx: tx.value(sql, **values))

    def execute(self, sql: str, **values: Any) -> int:
        return self.db.run(lambda tx: tx.execute(sql, **values))

    def age(self, table: str, column: str, seconds: float, where: str = "1 = 1") -> None:
        """Move a time of all rows to so many seconds ago."""
        then = self.db.dialect.utc_after(repr(-float(seconds)))
        assert self.execute(f"UPDATE {table} SET {column} = {then} WHERE {where}")

    def audited(self, *actions: str) -> list[dict[str, Any]]:
        """The rows of the audit with these actions, the oldest first."""
        asked = Query(filters={"action": list(actions)}, sort="at", limit=500)
        return audit.list_audit(self.db, LOCAL, asked).rows


def names(rows: Iterable[dict[str, Any]], key: str = "username") -> list[str]:
    return [row[key] for row in rows]

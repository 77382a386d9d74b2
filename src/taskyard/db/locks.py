"""Locks: one transaction at a time, over all processes, by a row of `ty_counters`.

Owns the lock that ends with its transaction, so it needs no session of the database's and works
behind a pooler. For DDL, which runs outside of transactions, there is `Database.exclusive`.
"""

from __future__ import annotations

from taskyard.db.database import Tx

_NEW = "INSERT INTO ty_counters (name, value) VALUES (:name, 0)"
_TAKE = "UPDATE ty_counters SET value = value + 1 WHERE name = :name"


def lock(tx: Tx, name: str) -> None:
    """Wait until no other transaction holds the lock of this name, and hold it to the end."""
    if not tx.execute(_TAKE, name=name):
        tx.execute(_NEW + tx.dialect.or_nothing("name"), name=name)
        tx.execute(_TAKE, name=name)

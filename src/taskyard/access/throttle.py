"""Throttle: how often a sign-in may fail.

Owns `ty_login_attempts`: failures by account and by address, on the database's clock, so that the
count holds over all processes. An attempt is counted before its password is looked at and forgiven
when it was right: any number of attempts at the same moment count. Tokens are not throttled: nobody
guesses 32 random bytes, and a flood of wrong ones must not lock out the right one.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from collections.abc import Iterator

from taskyard.core.errors import TooManyAttempts
from taskyard.db.database import Database, Tx

WINDOW = 900.0
"""Seconds, from the first failure on, in which failures are counted."""
PER_ACCOUNT = 10
PER_ADDRESS = 100
"""More than for an account: many people may share an address."""

_START = "INSERT INTO ty_login_attempts (name, failures, since) VALUES (:name, 0, {now})"

_COUNT = """
UPDATE ty_login_attempts
   SET failures = CASE WHEN since < {old} THEN 1 ELSE failures + 1 END,
       since = CASE WHEN since < {old} THEN {now} ELSE since END
 WHERE name = :name AND (failures < :most OR since < {old})
"""

_LEFT = "SELECT {since} - {now} FROM ty_login_attempts WHERE name = :name"


def count(db: Database, username: str, address: str | None) -> None:
    """Count an attempt to sign in. Raises TooManyAttempts if it is one too many; then it is not."""

    def work(tx: Tx) -> None:
        for name, most in _limits(username, address):
            _count(tx, name, most)

    db.run(work)


def forgive(tx: Tx, username: str, address: str | None = None) -> None:
    """The attempt was right: the account starts anew, its address gets this one back."""
    for name, most in _limits(username, address):
        if most == PER_ACCOUNT:
            tx.execute("DELETE FROM ty_login_attempts WHERE name = :name", name=name)
        else:
            tx.execute(
                "UPDATE ty_login_attempts SET failures = failures - 1"
                " WHERE name = :name AND failures > 0",
                name=name,
            )


def forget(tx: Tx) -> int:
    """Remove counts that count no more; returns how many."""
    return tx.execute(f"DELETE FROM ty_login_attempts WHERE since < {_old(tx)}")


def _count(tx: Tx, name: str, most: int) -> None:
    now = tx.dialect.utc_now
    tx.execute(_START.format(now=now) + tx.dialect.or_nothing("name"), name=name)
    if not tx.execute(_COUNT.format(now=now, old=_old(tx)), name=name, most=most):
        since, seconds = tx.dialect.epoch("since"), tx.dialect.epoch(now)
        left = WINDOW + float(tx.value(_LEFT.format(since=since, now=seconds), name=name))
        raise TooManyAttempts(max(1, math.ceil(left)))


def _limits(username: str, address: str | None) -> Iterator[tuple[str, int]]:
    if address is not None:
        yield f"address:{_network(address)}", PER_ADDRESS
    # A hash: people type passwords into the wrong field.
    yield f"user:{hashlib.sha256(username.encode('utf-8', 'replace')).hexdigest()}", PER_ACCOUNT


def _network(address: str) -> str:
    """Whoever has one IPv6 address has 2^64 of them."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False).network_address)


def _old(tx: Tx) -> str:
    return tx.dialect.utc_after(f"-{WINDOW}")

"""Diagnosis: what a database says about itself that an operator should know.

Owns the questions that each family answers in its own words: version, clock, durability, zone, long
transactions. Judges nothing else; `taskyard doctor` asks, and prints.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from taskyard.db.database import Database, Tx


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but somebody should know."""
    FAULT = "fault"
    """Something does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it."""

    check: str
    level: Level
    text: str
    fix: str = ""


_CLOCK_LIMIT = 2.0
_LONG_TRANSACTION = 600.0


def diagnose(db: Database) -> Iterator[Finding]:
    """Ask the database about itself; what cannot be asked (for lack of rights) is left out."""
    yield from db.read(lambda tx: list(_version(tx)))
    yield _clock(db)
    for question in _QUESTIONS[db.dialect.name]:
        try:
            yield from db.read(question)
        except Exception as error:
            if db.is_away(error):
                raise
            # A hosted database may not let us look; that is no fault of anybody's.
            yield Finding("database", Level.WARNING, f"It could not be asked: {error}")


def _version(tx: Tx) -> Iterator[Finding]:
    sqlite = tx.dialect.name == "sqlite"
    text = str(tx.value("SELECT sqlite_version()" if sqlite else "SELECT version()"))
    name = "SQLite " if sqlite else "" if text[:1].isalpha() else "MySQL/MariaDB "
    yield Finding("version", Level.OK, f"{name}{text.split(' on ')[0]}")


def _clock(db: Database) -> Finding:
    """How far this machine's clock is from the database's, which alone decides what is due."""
    before = time.time()
    there = float(db.read(lambda tx: tx.value(f"SELECT {tx.dialect.epoch(tx.dialect.utc_now)}")))
    now = time.time()
    offset = (before + now) / 2 - there
    if abs(offset) <= _CLOCK_LIMIT + (now - before) / 2:
        return Finding("clock", Level.OK, f"{abs(offset) * 1000:.0f} ms from the database's")
    side = "ahead of" if offset > 0 else "behind"
    return Finding(
        "clock",
        Level.WARNING,
        f"TY306 This machine is {abs(offset):.0f} s {side} the database; due times use the"
        " database's clock.",
        "Let both follow NTP.",
    )


# --- SQLite --------------------------------------------------------------------------------------


def _journal(tx: Tx) -> list[Finding]:
    mode = str(tx.value("PRAGMA journal_mode"))
    if mode == "wal":
        return [Finding("journal", Level.OK, "write-ahead log")]
    text = f"The journal mode is {mode}, so readers and writers wait for each other."
    fix = "Keep the file on a local disk; network file systems have no write-ahead log."
    return [Finding("journal", Level.WARNING, text, fix)]


# --- PostgreSQL ----------------------------------------------------------------------------------


def _postgres_durability(tx: Tx) -> list[Finding]:
    wanted = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
    return _compared({name: str(tx.value(f"SHOW {name}")) for name in wanted}, wanted)


def _long_transactions(tx: Tx) -> list[Finding]:
    rows = tx.all(
        "SELECT pid, coalesce(application_name, ''),"
        " EXTRACT(EPOCH FROM now() - xact_start)::float8 FROM pg_stat_activity"
        " WHERE xact_start < now() - :limit * interval '1 second' AND datname = current_database()"
        " ORDER BY xact_start LIMIT 5",
        limit=_LONG_TRANSACTION,
    )
    if not rows:
        return [Finding("transactions", Level.OK, "none has been open for long")]
    named = "; ".join(f"pid {pid} {name} ({age / 60:.0f} min)" for pid, name, age in rows)
    return [
        Finding(
            "transactions",
            Level.WARNING,
            f"Long transactions keep dead rows from being cleaned up: {named}.",
            "End them; idle_in_transaction_session_timeout ends such ones by itself.",
        )
    ]


# --- MySQL and MariaDB ---------------------------------------------------------------------------


def _mysql_durability(tx: Tx) -> list[Finding]:
    wanted = {"innodb_flush_log_at_trx_commit": "1"}
    if str(tx.value("SELECT @@log_bin")) == "1":
        wanted["sync_binlog"] = "1"
    return _compared({name: str(tx.value(f"SELECT @@{name}")) for name in wanted}, wanted)


def _zone(tx: Tx) -> list[Finding]:
    """Task tables keep the server's local time; where that jumps, so do waits (rulings 3.16)."""
    # Both are noon in UTC; the hours they show differ only where summer has a time of its own.
    sql = "SELECT HOUR(FROM_UNIXTIME(1768478400)), HOUR(FROM_UNIXTIME(1784116800)),"
    winter, summer, zone, system = tx.one(f"{sql} @@session.time_zone, @@system_time_zone") or (
        0,
        0,
        "",
        "",
    )
    name = system if zone == "SYSTEM" else zone
    if winter == summer:
        return [Finding("zone", Level.OK, f"{name}, the same all year")]
    text = f"The server's zone ({name}) has daylight saving time: waits across a change shift."
    return [
        Finding("zone", Level.WARNING, text, "Run the database server with time_zone = '+00:00'.")
    ]


def _compared(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[Finding]:
    weak = [f"{name} = {value}" for name, value in found.items() if value != wanted[name]]
    if not weak:
        return [Finding("durability", Level.OK, "a commit survives a crash of the machine")]
    text = f"A crash of the machine may lose commits: {', '.join(weak)}."
    fix = "Set " + ", ".join(f"{name} = {wanted[name]}" for name in found) + "."
    return [Finding("durability", Level.WARNING, text, fix)]


_QUESTIONS: Mapping[str, tuple[Callable[[Tx], list[Finding]], ...]] = {
    "sqlite": (_journal,),
    "postgresql": (_postgres_durability, _long_transactions),
    "mysql": (_mysql_durability, _zone),
}

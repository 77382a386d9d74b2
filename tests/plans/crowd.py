"""Crowd: a great many rows in a task table, put there by one statement of each database."""

from __future__ import annotations

from harness.sql import Database as Stranger

_NUMBERS = {
    "postgresql": "SELECT i FROM generate_series(1, {count}) AS s(i)",
    "mysql": "SELECT CAST(seq AS SIGNED) AS i FROM seq_1_to_{count}",
    "sqlite": "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {count})"
    " SELECT i FROM s",
}
_LATER = {
    "postgresql": "now() + interval '1 day'",
    "mysql": "NOW(6) + INTERVAL 1 DAY",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 day')",
}
_BEFORE = {
    "postgresql": "now() - interval '1 day'",
    "mysql": "NOW(6) - INTERVAL 1 DAY",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day')",
}
_PART = 100_000


def crowd(stranger: Stranger, table: str, count: int, **columns: str) -> None:
    """`count` rows; a column's value is SQL, in which `i` is the number of the row."""
    fill(
        stranger,
        table,
        count,
        **{"task_type": "'work'", "schedule_time": before(stranger), **columns},
    )


def fill(stranger: Stranger, table: str, count: int, **columns: str) -> None:
    """The same for a table that is no task table; `part` counts the statements that it takes."""
    names = ", ".join(columns)
    for part in range(-(-count // _PART)):
        numbers = _NUMBERS[stranger.family].format(count=min(_PART, count - part * _PART))
        values = ", ".join(columns.values()).replace("{part}", str(part))
        stranger.run(f"INSERT INTO {table} ({names}) SELECT {values} FROM ({numbers}) AS n")


def later(stranger: Stranger) -> str:
    """SQL for an instant a day ahead."""
    return _LATER[stranger.family]


def before(stranger: Stranger) -> str:
    """SQL for an instant a day ago."""
    return _BEFORE[stranger.family]


def analyze(stranger: Stranger, table: str) -> None:
    """Let the planner see the table as it is now."""
    stranger.run(f"ANALYZE {'TABLE ' if stranger.family == 'mysql' else ''}{table}")

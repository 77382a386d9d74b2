"""Fills the source (`python sync.py fill 500`), or asks for a sync (`python sync.py now`)."""

from __future__ import annotations

import sys
from contextlib import closing

import handlers

from taskyard import DuplicateTask


def fill(count: int) -> None:
    """Let so many customers be new or changed."""
    with closing(handlers.connect("crm")) as crm, crm:
        crm.execute(
            "CREATE TABLE IF NOT EXISTS customers (id INTEGER PRIMARY KEY, name TEXT, version INT)"
        )
        last = crm.execute("SELECT coalesce(max(version), 0) FROM customers").fetchone()[0]
        rows = [(n, f"customer {n}", n) for n in range(last + 1, last + 1 + count)]
        crm.executemany("INSERT OR REPLACE INTO customers VALUES (?, ?, ?)", rows)
    print(f"{count} customers have changed")


def now() -> None:
    """Ask for a sync, unless one is waiting or running, and wait for it."""
    try:
        task = handlers.sync.options(unique_key="sync-customers").enqueue()
    except DuplicateTask as twin:
        sys.exit(f"one is under way: {twin.existing}")
    print(task.wait(timeout="10m"))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fill", count]:
            fill(int(count))
        case ["now"]:
            now()
        case _:
            sys.exit(__doc__)

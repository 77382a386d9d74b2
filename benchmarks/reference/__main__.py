"""`python -m benchmarks.reference LANE URL`: make the tables, say "ready", work until ended."""

from __future__ import annotations

import asyncio
import sys


def main() -> None:
    """Run the reference of one lane."""
    lane, url = sys.argv[1:]
    if lane == "postgres":
        from benchmarks.reference import postgres
        from benchmarks.reference.loop import overlap

        postgres.make(url)
        work = overlap(postgres.PostgresStore(url))
    elif lane == "mariadb":
        from benchmarks.reference import mariadb
        from benchmarks.reference.loop import overlap

        mariadb.make(url)
        work = overlap(mariadb.MariadbStore(url))
    else:
        from benchmarks.reference import sqlite

        sqlite.make(url)
        work = sqlite.work(url)
    print("ready", flush=True)
    asyncio.run(work)


main()

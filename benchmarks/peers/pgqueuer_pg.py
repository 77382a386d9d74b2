"""pgqueuer on PostgreSQL: no cap on concurrency, asyncpg and uvloop. SLOTS: its batch."""

from __future__ import annotations

from collections.abc import Callable

import asyncpg
import psycopg
import uvloop
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries

from benchmarks.peers.script import Stamp, main

stamp = Stamp()


def fill(url: str, tasks: int) -> None:
    """Its schema, then its bulk call, 1,000 jobs at a time."""
    uvloop.run(_fill(url, tasks))


async def _fill(url: str, tasks: int) -> None:
    queries = Queries(AsyncpgDriver(await asyncpg.connect(url)))
    await queries.install()
    for start in range(0, tasks, 1000):
        many = min(1000, tasks - start)
        await queries.enqueue(["noop"] * many, [None] * many, [0] * many)


def work(url: str, slots: int) -> None:
    """One worker."""
    uvloop.run(_work(url, slots))


async def _work(url: str, slots: int) -> None:
    app = PgQueuer.from_asyncpg_connection(await asyncpg.connect(url))

    @app.entrypoint("noop")  # type: ignore[untyped-decorator]
    async def noop(job: Job) -> None:
        stamp()

    await app.run(batch_size=slots)


def done(url: str, tasks: int) -> Callable[[], bool]:
    """Done jobs leave its table for its log."""
    db = psycopg.connect(url, autocommit=True)

    def is_done() -> bool:
        last = db.execute("SELECT 1 FROM pgqueuer WHERE id = %s", (tasks,)).fetchone()
        if last is not None:
            return False
        return db.execute("SELECT count(*) FROM pgqueuer").fetchone() == (0,)

    return is_done


if __name__ == "__main__":
    main(fill, work, done)

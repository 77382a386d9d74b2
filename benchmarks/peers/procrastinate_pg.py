"""procrastinate on PostgreSQL: LISTEN/NOTIFY, jobs kept (its default). SLOTS: concurrency."""

from __future__ import annotations

import sys
from collections.abc import Callable

import procrastinate
import psycopg

from benchmarks.peers.script import Stamp, main

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=sys.argv[2]))
stamp = Stamp()


@app.task(name="noop")  # type: ignore[untyped-decorator]
async def noop() -> None:
    """Do nothing."""
    stamp()


def fill(url: str, tasks: int) -> None:
    """Its schema, then its bulk call, 1,000 jobs at a time."""
    with app.open():
        app.schema_manager.apply_schema()
        for start in range(0, tasks, 1000):
            noop.batch_defer(*({} for _ in range(min(1000, tasks - start))))


def work(url: str, slots: int) -> None:
    """One worker."""
    app.run_worker(concurrency=slots)


def done(url: str, tasks: int) -> Callable[[], bool]:
    """Its table keeps the jobs: first the last job by primary key, then the count."""
    db = psycopg.connect(url, autocommit=True)

    def is_done() -> bool:
        last = db.execute(
            "SELECT status FROM procrastinate_jobs WHERE id = %s", (tasks,)
        ).fetchone()
        if last is None or last[0] != "succeeded":
            return False
        left = "SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'"
        return db.execute(left).fetchone() == (0,)

    return is_done


if __name__ == "__main__":
    main(fill, work, done)

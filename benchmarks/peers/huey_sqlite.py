"""huey on SQLite: threads, fsync off (its faster setting), no result for None. SLOTS: threads."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable

from huey import SqliteHuey

from benchmarks.peers.script import Stamp, main

FILE = sys.argv[2].removeprefix("sqlite:///")
huey = SqliteHuey("bench", filename=FILE, fsync=False)
stamp = Stamp()


@huey.task()  # type: ignore[untyped-decorator]
def noop() -> None:
    """Do nothing."""
    stamp()


def fill(url: str, tasks: int) -> None:
    """One by one: it has no faster way."""
    for _ in range(tasks):
        noop()


def work(url: str, slots: int) -> None:
    """One consumer."""
    huey.create_consumer(workers=slots, worker_type="thread", periodic=False).run()


def done(url: str, tasks: int) -> Callable[[], bool]:
    """A job leaves the table when it is taken; the last ones are no-ops under way."""
    db = sqlite3.connect(FILE, timeout=30)
    return lambda: db.execute("SELECT 1 FROM task LIMIT 1").fetchone() is None


if __name__ == "__main__":
    main(fill, work, done)

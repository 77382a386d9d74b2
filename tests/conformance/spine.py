"""Spine: a database with one queue, and short words for the verbs that tests drive.

Owns what every storage test needs: Sessions, rows put in by Python or by plain SQL, claims, and
the endings that a dispatcher would write. Asks the real verbs; rows are read back by SQL.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from taskyard import servers
from taskyard.access.caller import LOCAL
from taskyard.core.lifecycle import Attempt, Kind, Outcome, RetryPolicy, decide
from taskyard.db.database import Database
from taskyard.db.rows import ClaimedRow, Ending
from taskyard.db.tables import ensure_table
from taskyard.runs.ids import RunIds
from taskyard.tasks import claim as claiming
from taskyard.tasks import settle as settling
from taskyard.tasks.enqueue import NewTask, TaskRef, enqueue, enqueue_many

T = TypeVar("T")

TABLE = "default_tasks"
WORK = frozenset({"work"})


class Spine:
    """A database that is ready to work, with a live Session `me`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.db = Database(url)
        self.ids = RunIds(self.db)
        self.queue("default", TABLE)
        self.me = self.session("me")

    # --- what there is --------------------------------------------------------------------------

    def queue(self, name: str, table: str, **settings: Any) -> None:
        """A Queue by plain SQL, its table made ready as a Server's sync does."""
        names = ["queue_name", "table_name", *settings]
        marks = ", ".join(f":{n}" for n in names)
        sql = f"INSERT INTO queue_configs ({', '.join(names)}) VALUES ({marks})"
        values = {"queue_name": name, "table_name": table, **settings}
        self.db.run(lambda tx: tx.execute(sql, **values))
        ensure_table(self.db, table)

    def session(self, name: str, *, lease: float = 60.0, specs: Iterable[Any] = ()) -> str:
        """A live Session of a Server called `server-<name>`; returns its id."""
        servers.register(self.db, name, f"server-{name}", lease=lease, runners=1)
        if specs:
            servers.publish(self.db, name, list(specs), [])
        return name

    def kill(self, session: str) -> None:
        """The Session is dead, by certificate."""
        assert servers.certify_gone(self.db, session)

    # --- rows -----------------------------------------------------------------------------------

    def put(self, task_type: str = "work", **task: Any) -> int:
        """A Task by the verb; returns its id."""
        return self.ref(task_type, **task).id

    def ref(self, task_type: str = "work", **task: Any) -> TaskRef:
        """A Task by the verb; returns where it is."""
        return enqueue(self.db, LOCAL, NewTask(task_type, **task))

    def put_many(self, count: int, task_type: str = "work", **task: Any) -> list[int]:
        """Many Tasks alike; an `excl_key` may have `{n}` in it."""
        key = task.pop("excl_key", None)
        tasks = [
            NewTask(task_type, excl_key=None if key is None else key.format(n=n), **task)
            for n in range(count)
        ]
        return [ref.id for ref in enqueue_many(self.db, LOCAL, tasks) if ref]

    def insert(self, table: str = TABLE, **columns: Any) -> int:
        """A Task by plain SQL with these columns and no others; returns its id."""
        given = {"task_type": "work", **columns}
        names = ", ".join(given)
        marks = ", ".join(f":{name}" for name in given)
        quoted = self.db.dialect.quote(table)
        sql = f"INSERT INTO {quoted} ({names}) VALUES ({marks})"
        self.db.run(lambda tx: tx.execute(sql, **given))
        newest: int = self.value(f"SELECT MAX(id) FROM {quoted}")
        return newest

    def due_in(self, seconds: float) -> str:
        """SQL for an instant so far from now, in the convention of a task table."""
        return self.db.dialect.after(repr(float(seconds)))

    def change(self, task: int, sql: str, table: str = TABLE, **values: Any) -> None:
        """What a stranger does: UPDATE one row by SQL."""
        quoted = self.db.dialect.quote(table)
        done = self.db.run(
            lambda tx: tx.execute(f"UPDATE {quoted} SET {sql} WHERE id = :id", id=task, **values)
        )
        assert done == 1

    def delete(self, task: int, table: str = TABLE) -> None:
        quoted = self.db.dialect.quote(table)
        assert self.db.run(lambda tx: tx.execute(f"DELETE FROM {quoted} WHERE id = {task}")) == 1

    def row(self, task: int, table: str = TABLE) -> dict[str, Any]:
        """A Task's row, all columns by name."""
        [found] = self.rows(f"SELECT * FROM {self.db.dialect.quote(table)} WHERE id = :id", id=task)
        return found

    def column(self, name: str, table: str = TABLE) -> list[Any]:
        """One column of all rows, in the order of ids."""
        quoted = self.db.dialect.quote(table)
        return [row[name] for row in self.rows(f"SELECT id, {name} FROM {quoted} ORDER BY id")]

    def runs(self, task: int | None = None, table: str = TABLE) -> list[dict[str, Any]]:
        """The Runs of a Task (or all), oldest fence first."""
        where = "1 = 1" if task is None else "task_id = :task AND task_table = :table"
        sql = f"SELECT * FROM ty_runs WHERE {where} ORDER BY task_id, fence"
        return self.rows(sql, task=task, table=table)

    def statuses(self, task: int, table: str = TABLE) -> list[str]:
        """The statuses of a Task's Runs, in order."""
        return [run["status"] for run in self.runs(task, table)]

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        return self.db.read(lambda tx: tx.rows(sql, **values))

    def value(self, sql: str, **values: Any) -> Any:
        return self.db.read(lambda tx: tx.value(sql, **values))

    def execute(self, sql: str, **values: Any) -> int:
        return self.db.run(lambda tx: tx.execute(sql, **values))

    # --- the verbs of a dispatcher --------------------------------------------------------------

    def ask(self, limit: int = 10, **ask: Any) -> claiming.Ask:
        given = {"table": TABLE, "queue": "default", "session": self.me, "known": WORK, **ask}
        given.setdefault("server_id", f"server-{given['session']}"[:50])
        given.setdefault("fleet", given["known"])
        return claiming.Ask(limit=limit, first_run_id=self.ids.reserve(limit), **given)

    def claim(self, limit: int = 10, **ask: Any) -> list[ClaimedRow]:
        """The rows of one claim."""
        return self.taken(limit, **ask).rows

    def taken(self, limit: int = 10, **ask: Any) -> claiming.Taken:
        """One claim with all it says."""
        return claiming.claim(self.db, self.ask(limit, **ask))

    def take(self, task: int, **ask: Any) -> ClaimedRow:
        """Claim, and expect exactly this Task."""
        [row] = self.claim(**ask)
        assert row.id == task
        return row

    def place(self, session: str | None = None, **place: Any) -> settling.Place:
        owner = session or self.me
        given = {"table": TABLE, "queue": "default", "server_id": f"server-{owner}", **place}
        return settling.Place(session=owner, **given)

    def settle(
        self, endings: Ending | Sequence[Ending], session: str | None = None, **place: Any
    ) -> settling.Settled:
        """Settle as a dispatcher that has forgotten its rows (a flushed spool) would."""
        given = [endings] if isinstance(endings, Ending) else list(endings)
        return settling.settle(self.db, self.place(session, **place), given, lambda task: None)

    def finish(self, row: ClaimedRow, kind: Kind = Kind.COMPLETED, **ending: Any) -> None:
        """Settle one claimed Task of `me`."""
        self.finish_as(self.me, row, kind, **ending)

    def finish_as(
        self, session: str, row: ClaimedRow, kind: Kind = Kind.COMPLETED, **ending: Any
    ) -> None:
        """Settle one claimed Task of a Session."""
        result = self.settle(ended(row, kind, **ending), session)
        assert (result.written, result.superseded) == (1, [])


def ended(
    row: ClaimedRow,
    kind: Kind = Kind.COMPLETED,
    *,
    output: str | None = None,
    error: str | None = None,
    delay: float | None = None,
    age: float | None = 0.5,
    duration: float | None = 0.25,
    at_most_once: bool = False,
    max_crashes: int = 5,
    **values: Any,
) -> Ending:
    """The ending that a dispatcher makes of an Outcome; `values` override its fields."""
    outcome = Outcome(row.run_id, kind, error=error, delay=delay, started=age)
    attempt = Attempt(
        retry_count=row.retry_count,
        max_retries=row.max_retries,
        crashes=row.crashes,
        retry_interval=row.retry_interval,
        at_most_once=at_most_once,
        retry=RetryPolicy(jitter=False),
        suspect=bool(row.suspect),
    )
    verdict = decide(outcome, attempt, max_crashes=max_crashes, random=lambda: 0.5)
    ending = Ending(
        id=row.id,
        fence=row.fence,
        run_id=row.run_id,
        attempt=row.retry_count + 1,
        task_status=int(verdict.task_status),
        retry_count=verdict.retry_count,
        crashes=verdict.crashes,
        delay=verdict.delay,
        error_msg=None if verdict.task_status == 2 else verdict.error,
        run_status=verdict.run_status.value,
        output=output,
        error=verdict.error,
        payload=None,
        age=age,
        duration=duration,
        wait=row.waited,
        cpu_time=0.125,
        memory=4096,
        pid=77,
        suspect=int(verdict.suspect),
    )
    return ending._replace(**values)


def together(*works: Callable[[], T]) -> list[T]:
    """Run these at the same moment, each on a thread of its own; their results, in order."""
    gate = threading.Barrier(len(works))

    def go(work: Callable[[], T]) -> T:
        gate.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(go, work) for work in works]]

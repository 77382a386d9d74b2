"""Testing: for the tests of applications: a yard in a temporary database, worked by the test.

Owns `rehearse`. Tasks are claimed, judged and settled by the same verbs as on a server; only the
processes are missing: handlers run in the test, one after the other, without time limits, memory
limits and isolation.

    from taskyard import testing
    from handlers import send_email, yard

    def test_mail_is_sent_again_after_a_failure(smtp):
        with testing.rehearse(yard) as stage:
            send_email.enqueue(to=["ada@example.org"], subject="Hi")
            stage.assert_enqueued("email", {"to": ["ada@example.org"]})
            smtp.fail_once()
            assert [run.status for run in stage.drain(allow_failures=True)] == ["failed"]
            stage.travel("10m")
            assert [run.status for run in stage.drain()] == ["completed"]
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from taskyard import servers
from taskyard.context import Call, Context, Transaction
from taskyard.core.durations import Duration, parse_duration
from taskyard.core.lifecycle import Kind, Outcome
from taskyard.core.payload import load_params, load_result
from taskyard.db import migrate
from taskyard.db.database import Database
from taskyard.db.rows import ClaimedRow
from taskyard.engine.attempt import Live, Row, run_async, run_sync
from taskyard.engine.ending import ending_of
from taskyard.engine.measure import LoopMeter, ThreadMeter
from taskyard.engine.transaction import Transactions
from taskyard.queues import Queue, ensure_queue, load_queues
from taskyard.runs import progress
from taskyard.runs.ids import RunIds
from taskyard.tasks import track
from taskyard.tasks.claim import Ask, claim
from taskyard.tasks.settle import Place, settle
from taskyard.yard import Yard

SESSION = "rehearsal"

MOST_RUNS = 1_000
"""Runs of one `drain` after which a test is taken to go round in circles."""

Params: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Enqueued:
    """A Task that waits; `due_in` is in seconds, and negative when it could start."""

    ref: str
    task_type: str
    params: dict[str, Any]
    queue: str
    priority: int
    due_in: float


@dataclass(frozen=True)
class Ran:
    """A Run of `drain`: `output` is the handler's result as it comes back from JSON."""

    ref: str
    task_type: str
    run_id: int
    attempt: int
    status: str
    output: Any
    error: str | None


@contextmanager
def rehearse(yard: Yard) -> Iterator[Stage]:
    """Let `yard` work in an empty temporary SQLite database inside the block.

    The Queues that its handlers name are there; create others with `stage.queue`.
    """
    with tempfile.TemporaryDirectory(prefix="taskyard-") as folder:
        file = Path(folder) / "rehearsal.db"
        shutil.copy(_template(), file)
        with yard.moved_to(f"sqlite:///{file}"):
            servers.register(yard.database, SESSION, "rehearsal", lease=86_400, runners=1)
            stage = Stage(yard)
            for queue in {"default", *(handler.spec.queue for handler in yard.registry)}:
                stage.queue(queue)
            try:
                yield stage
            finally:
                track.forget()


@cache
def _template() -> Path:
    """An empty database with the schema; copying it is a hundred times faster than making one."""
    folder = Path(tempfile.mkdtemp(prefix="taskyard-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    database = Database(f"sqlite:///{folder / 'template.db'}")
    migrate.upgrade(database)
    database.close()
    return folder / "template.db"


class Stage:
    """Where a yard is rehearsed."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._ids = RunIds(yard.database)
        self._reporter = _Reporter(yard)

    # --- Looking ---------------------------------------------------------------------------------

    def queue(self, name: str) -> None:
        """Make sure that there is a Queue of this name."""
        ensure_queue(self._yard.database, name)

    def enqueued(self, task_type: str | None = None) -> list[Enqueued]:
        """The Tasks that wait, of one type or all, in the order of their enqueuing."""
        waiting = [task for queue in self._queues() for task in self._waiting(queue)]
        return [task for task in waiting if task_type in (None, task.task_type)]

    def assert_enqueued(
        self,
        task_type: str,
        params: Params | None = None,
        *,
        queue: str | None = None,
        count: int | None = None,
    ) -> list[Enqueued]:
        """Assert that such Tasks wait, `count` of them or at least one; returns them.

        `params` may be a part of their parameters. The AssertionError lists what is there.
        """
        found = [
            task
            for task in self.enqueued(task_type)
            if queue in (None, task.queue) and _contains(task.params, params or {})
        ]
        if len(found) != count if count is not None else not found:
            wanted = "at least one" if count is None else str(count)
            there = "\n  ".join(map(str, self.enqueued())) or "nothing"
            raise AssertionError(
                f"expected {wanted} of {task_type} with {dict(params or {})}, found {len(found)};"
                f" enqueued is:\n  {there}"
            )
        return found

    # --- Working ---------------------------------------------------------------------------------

    def drain(self, *, allow_failures: bool = False) -> list[Ran]:
        """Run everything that is due, and what that enqueues, in order; returns the Runs.

        Raises AssertionError with the tracebacks if a Run failed, unless `allow_failures`. In
        `async` tests use `adrain`.
        """
        loop = asyncio.new_event_loop()
        try:
            ran = [
                self._settle(
                    queue,
                    row,
                    loop.run_until_complete(run_async(live, LoopMeter()))
                    if live.handler.is_async
                    else run_sync(live, ThreadMeter()),
                )
                for queue, row, live in self._due()
            ]
        finally:
            loop.close()
        return _checked(ran, allow_failures)

    async def adrain(self, *, allow_failures: bool = False) -> list[Ran]:
        """`drain` on the running loop; `def` handlers run on a thread."""
        ran = []
        for queue, row, live in self._due():
            if live.handler.is_async:
                outcome = await asyncio.create_task(run_async(live, LoopMeter()))
            else:
                outcome = await asyncio.to_thread(run_sync, live, ThreadMeter())
            ran.append(self._settle(queue, row, outcome))
        return _checked(ran, allow_failures)

    def travel(self, duration: Duration) -> None:
        """Move the clock of all waiting Tasks forward, so that what is due by then is due."""
        shift = f"-{parse_duration(duration):.3f} seconds"
        for table in {queue.table_name for queue in self._queues()}:
            sql = (
                f'UPDATE "{table}" SET schedule_time ='
                " strftime('%Y-%m-%d %H:%M:%f', schedule_time, :shift) WHERE status = 0"
            )
            self._yard.database.run(lambda tx, sql=sql: tx.execute(sql, shift=shift))  # type: ignore[misc]
        sql = "UPDATE ty_batch_items SET due = due - :seconds WHERE due IS NOT NULL"
        seconds = parse_duration(duration)
        self._yard.database.run(lambda tx: tx.execute(sql, seconds=seconds))

    # --- Below -----------------------------------------------------------------------------------

    def _queues(self) -> list[Queue]:
        return load_queues(self._yard.database)

    def _waiting(self, queue: Queue) -> list[Enqueued]:
        sql = (
            "SELECT id, task_type, task_params, priority,"
            " (julianday(schedule_time) - julianday('now')) * 86400.0"
            f' FROM "{queue.table_name}" WHERE status = 0 ORDER BY id'
        )
        return [
            Enqueued(
                f"{queue.queue_name}/{task_id}",
                task_type,
                load_params(params) or {},
                queue.queue_name,
                priority,
                due_in,
            )
            for task_id, task_type, params, priority, due_in in self._yard.database.read(
                lambda tx: tx.all(sql)
            )
        ]

    def _due(self) -> Iterator[tuple[Queue, ClaimedRow, Live]]:
        """Claim one Task after the other until none is due."""
        for _ in range(MOST_RUNS):
            taken = self._claim()
            if taken is None:
                # SQLite's clock has whole milliseconds: what was enqueued in this one is due next.
                time.sleep(0.002)
                taken = self._claim()
            if taken is None:
                return
            yield *taken, self._live(*taken)
        raise AssertionError(f"after {MOST_RUNS} runs there are still tasks that are due")

    def _claim(self) -> tuple[Queue, ClaimedRow] | None:
        known = frozenset(handler.name for handler in self._yard.registry)
        for queue in self._queues():
            ask = Ask(
                table=queue.table_name,
                queue=queue.queue_name,
                session=SESSION,
                server_id="rehearsal",
                limit=1,
                first_run_id=self._ids.reserve(1),
                known=known,
                fleet=known,
            )
            for row in claim(self._yard.database, ask).rows:
                return queue, row
        return None

    def _live(self, queue: Queue, row: ClaimedRow) -> Live:
        kept = progress.load_checkpoints(self._yard.database, queue.table_name, [row.id])
        call = Call(
            run_id=row.run_id,
            task_table=queue.table_name,
            task_id=row.id,
            fence=row.fence,
            task_type=row.task_type,
            queue=queue.queue_name,
            params=row.task_params,
            attempt=row.retry_count + 1,
            retry_count=row.retry_count,
            max_retries=row.max_retries,
            retry_interval=row.retry_interval,
            timeout=row.timeout,
            tenant_id=row.tenant_id,
            origin=row.origin,
            context=row.context,
            checkpoint=kept.get(row.id),
            crashes=row.crashes,
            wait=row.waited,
        )
        return Live(call, self._yard.registry.get(row.task_type), self._reporter)

    def _settle(self, queue: Queue, row: ClaimedRow, told: Row) -> Ran:
        outcome = replace(Outcome(told[0], Kind(told[1]), *told[2:]), pid=os.getpid())
        spec = self._yard.registry.get(row.task_type).spec
        status = "completed"
        if outcome.kind is not Kind.SETTLED:
            ending = ending_of(row, spec, outcome, claimed=time.monotonic(), max_crashes=5)
            place = Place(queue.table_name, queue.queue_name, SESSION, "rehearsal")
            settle(self._yard.database, place, [ending], lambda _: row)
            status = ending.run_status
        return Ran(
            ref=f"{queue.queue_name}/{row.id}",
            task_type=row.task_type,
            run_id=row.run_id,
            attempt=row.retry_count + 1,
            status=status,
            output=load_result(outcome.output),
            error=outcome.error,
        )


class _Reporter:
    """What a runner would pass on, kept at once."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._transactions = Transactions(SESSION, yard.registry, lambda: yard.settings)

    def progress(
        self, context: Context, done: float, total: float | None, note: str | None
    ) -> None:
        key = context.task_table, context.task_id, context.run_id
        progress.save_progress(self._yard.database, SESSION, {key: (done, total, note)})

    def checkpoint(self, context: Context, text: str | None) -> None:
        row = context.task_id, context.run_id, text
        progress.save_checkpoints(self._yard.database, context.task_table, SESSION, [row])

    def transaction(self, context: Context) -> AbstractContextManager[Transaction]:
        return self._transactions.open(context)


def _checked(ran: list[Ran], allow_failures: bool) -> list[Ran]:
    failed = [run for run in ran if run.status in ("failed", "timeout")]
    if failed and not allow_failures:
        texts = "\n\n".join(f"{run.task_type} {run.ref}:\n{run.error}" for run in failed)
        raise AssertionError(f"{len(failed)} of {len(ran)} runs failed:\n\n{texts}")
    return ran


def _contains(params: Params, wanted: Params) -> bool:
    return all(name in params and params[name] == value for name, value in wanted.items())

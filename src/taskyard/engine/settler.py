"""Settler: writes what the attempts of one task table came to.

Owns what has ended and is not written yet, the checkpoints that are written before, and what is
spooled while the database is away. The statements are `tasks/settle.py`'s.

Where two connections may write at once it has a thread of its own, so that the next claim is under
way while ends are written (one thread for both: 16 k tasks a second on PostgreSQL, two: 22 k). On
SQLite, which has one writer, the dispatcher's turn does it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from taskyard.core.lifecycle import Kind, TaskStatus
from taskyard.db.rows import ClaimedRow, Ending
from taskyard.engine.ending import ending_of
from taskyard.engine.lane import Lane
from taskyard.engine.work import Work
from taskyard.handlers import HandlerSpec
from taskyard.runs import progress
from taskyard.tasks import settle
from taskyard.tasks.settle import Place

if TYPE_CHECKING:
    from taskyard.engine.dispatcher import Post

logger = logging.getLogger("taskyard.dispatcher")

_MOST = 1_000


class Settler:
    """The ends of one table's Tasks. `lock` is the dispatcher's, and guards `done` here."""

    def __init__(
        self,
        post: Post,
        table: str,
        held: dict[int, Work],
        lock: threading.Lock,
        *,
        over: Callable[[], bool],
        settled: Callable[[], None],
        failed: Callable[[Exception, int], None],
    ) -> None:
        """`held` are the Works by run id, which leave it when they are written; `over` says when
        there will be no more; `settled` is told when some were written, `failed`
        of each error and how many there were in a row.
        """
        self.done: list[Work] = []
        self.writing = threading.Lock()
        """Held while ends are written: who compares rows with what we hold must not do it then."""
        self.threaded = False
        self._post = post
        self._table = table
        self._held = held
        self._lock = lock
        self._over = over
        self._settled = settled
        self._failed = failed
        self._checkpoints: list[tuple[Work, str | None]] = []
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"taskyard-{table}-ends")

    def start(self) -> None:
        """Start the thread, where there is one."""
        self.threaded = self._post.db.dialect.writes_overlap
        if self.threaded:
            self._thread.daemon = True
            self._thread.start()

    def ring(self) -> None:
        """Something has ended, or it is over."""
        self._wake.set()

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread."""
        self.ring()
        if self.threaded:
            self._thread.join(timeout)

    def keep_checkpoint(self, work: Work, data: str | None) -> None:
        """A handler has set its checkpoint: written before the attempt's end is."""
        with self._lock:
            self._checkpoints.append((work, data))
        self.ring()

    def settle(self) -> None:
        """Write all that has ended; when it raises what the driver raises, nothing is forgotten."""
        with self.writing:
            self._write_checkpoints()
            while batch := self._batch():
                for lane in {work.lane for work in batch}:
                    self._settle_lane(lane, [work for work in batch if work.lane is lane])
                if self.threaded:
                    self._settled()
                if len(batch) < _MOST:  # what ended meanwhile is worth waiting for more
                    return

    def spool(self) -> None:
        """Keep on disk what could not be written."""
        with self._lock:
            done = list(self.done)
        self._post.spool.keep(
            [
                (self._place(work.lane), self._ending(work))
                for work in done
                if work.outcome and work.outcome.kind is not Kind.SETTLED
            ]
        )

    # --- the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        failures = 0
        while not self._over():
            self._wake.wait(0.02 if failures else 1.0)
            self._wake.clear()
            try:
                self.settle()
                failures = 0
            except Exception as error:
                failures += 1
                self._failed(error, failures)
                self._rest(failures)
                self._wake.set()

    def _rest(self, failures: int) -> None:
        """Wait for a database that is away, but not past the end of it all."""
        pause = min(5.0, 0.1 * 2.0 ** min(failures, 6)) * random.uniform(0.8, 1.2)
        while pause > 0 and not self._over():
            time.sleep(min(0.1, pause))
            pause -= 0.1

    # --- one pass -------------------------------------------------------------------------------

    def _batch(self) -> list[Work]:
        with self._lock:
            return self.done[:_MOST]

    def _settle_lane(self, lane: Lane, works: list[Work]) -> None:
        endings = [
            self._ending(work)
            for work in works
            if work.outcome and work.outcome.kind is not Kind.SETTLED
        ]
        if endings:
            self._write(lane, endings)
        with self._lock:
            ended = set(map(id, works))
            self.done = [work for work in self.done if id(work) not in ended]
            for work in works:
                self._held.pop(work.run_id, None)
            if lane.hungry:
                lane.next_look = 0.0
            for ending in endings:
                if ending.task_status == TaskStatus.PENDING:
                    lane.expect(ending.delay or 0.0)
        self._post.spool.forget(works)
        self._forget_notes(works, endings)

    def _write(self, lane: Lane, endings: list[Ending]) -> None:
        result = settle.settle(self._post.db, self._place(lane), endings, self._claimed)
        if result.superseded:
            logger.info(
                "%d results of %s were rejected: their tasks had been taken away or changed",
                len(result.superseded),
                self._table,
            )

    def _forget_notes(self, works: list[Work], endings: list[Ending]) -> None:
        """How far a Task is means nothing any more when it has ended."""
        pending = {e.id for e in endings if e.task_status == TaskStatus.PENDING}
        ended = [
            work.row.id
            for work in works
            if (work.noted or work.checkpoint is not None) and work.row.id not in pending
        ]
        if ended:
            self._post.flush_notes()
            progress.forget(self._post.db, self._table, ended)

    def _write_checkpoints(self) -> None:
        with self._lock:
            waiting = {work.row.id: (work, data) for work, data in self._checkpoints}
            count = len(self._checkpoints)
        if not waiting:
            return
        progress.save_checkpoints(
            self._post.db,
            self._table,
            self._post.session,
            [(work.row.id, work.run_id, data) for work, data in waiting.values()],
        )
        with self._lock:
            del self._checkpoints[:count]

    # --- below ----------------------------------------------------------------------------------

    def _ending(self, work: Work) -> Ending:
        assert work.outcome is not None
        spec = self._post.pool.specs.get(work.row.task_type) or HandlerSpec(work.row.task_type)
        return ending_of(
            work.row,
            spec,
            work.outcome,
            claimed=work.claimed,
            max_crashes=self._post.max_crashes,
        )

    def _place(self, lane: Lane) -> Place:
        post = self._post
        return Place(self._table, lane.queue.queue_name, post.session, post.server_id)

    def _claimed(self, run_id: int) -> ClaimedRow | None:
        work = self._held.get(run_id)
        return None if work is None else work.row

"""Desk: what a worker has in hand of its batch, and when that is written.

Owns the items that were taken and not begun, the ends that are not settled yet, how many to take,
and the patience with a database that is away. Nothing stays unsettled for longer than 50 ms beside
the item under way: if that one takes longer than its forerunners, a thread of the desk's settles
what is done and puts back what was not begun.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskyard.batches import ending
from taskyard.batches.exchange import (
    Answer,
    Done,
    Taken,
    Worker,
    exchange,
    fail,
    give_back_unknown,
    report,
)
from taskyard.context import Context
from taskyard.db.database import Database, Tx

if TYPE_CHECKING:
    from taskyard.batches.handler import BatchHandler

logger = logging.getLogger("taskyard.batches")

SLICE = 5.0
"""Seconds after which a worker puts its slot at the end of the line."""
QUANTUM = 0.05
"""Seconds of work that may be taken ahead, and after which what is done is settled."""
MOST = 1_000
"""Items in hand at once, however quick they are."""

_GROWTH = 4
_PATIENCE = 3.0


class Desk:
    """The desk of one Run of one slot."""

    def __init__(self, handler: BatchHandler[Any], context: Context) -> None:
        self.db: Database = handler.database()
        self.worker = Worker(
            batch_id=int(context.data["batch_id"]),
            slot=int(context.data.get("slot", 0)),
            task_table=context.task_table,
            task_id=context.task_id,
            run_id=context.run_id,
            alerts=ending.ready(self.db),
        )
        self.wait = 0.0
        """Seconds to wait before what was taken last."""
        self.batch = Answer()
        """What was answered last: also what the batch says of its items."""
        self._context = context
        self._began = time.monotonic()
        self._turned_at = 0.0
        self._mean = QUANTUM
        self._want = 1
        self._first = True
        self._unsure = False
        self._counts: Counter[str] = Counter()
        self._hand: deque[Taken] = deque()
        self._current: Taken | None = None
        self._done: list[Done] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._late: _Late | None = None

    def close(self) -> None:
        """Nothing more is taken."""
        if self._late is not None:
            self._late.close()

    # --- the worker's loop ------------------------------------------------------------------------

    def exchange(self) -> bool:
        """Settle what is done and take what is next; False: this Run has nothing more to do."""
        if self._late is not None:
            self._late.disarm()
        hand_over = time.monotonic() - self._began > SLICE or self._context.stop is not None
        with self._writing:
            done, want = self._collect(), self._appetite()
            self.batch = self._write(
                lambda tx: exchange(
                    tx, self.worker, done, want, first=self._first, hand_over=hand_over
                ),
                done,
            )
        self._first = False
        answer = self.batch
        self.wait, self._want, self._turned_at = answer.wait, want, time.monotonic() + answer.wait
        self._hand.extend(answer.items)
        if answer.handed_over or answer.over:
            self.db.bell.ring(self.worker.alerts if answer.over else self.worker.task_table)
        if len(answer.items) > 1:
            self._watch_for_lateness()
        return bool(answer.items) or answer.more

    def next(self) -> Taken | None:
        """The next item in hand; None when it is time for an exchange."""
        with self._lock:
            late = time.monotonic() - self._turned_at > QUANTUM and self._done
            if not self._hand or late or self._context.stop is not None:
                return None
            self._current = self._hand.popleft()
            return self._current

    def done(self, done: Done) -> None:
        """Keep what became of the item under way for the next exchange."""
        with self._lock:
            self._current = None
            self._done.append(done)
            self._counts[done.status] += 1
        if done.duration is not None:
            self._mean += (done.duration - self._mean) * 0.3

    def settle_now(self) -> None:
        """Write what is done and put back what was not begun; what fails is left to others."""
        with self._writing:
            done = self._collect()
            if self._current is not None:
                done.append(Done(self._current, "pending"))
            if done:
                try:
                    self.db.run(lambda tx: report(tx, self.worker, done))
                except Exception:
                    logger.warning("%d items are left to be taken back", len(done), exc_info=True)

    def fail(self, why: str) -> None:
        """End the batch as failed: no worker could begin."""
        self.db.run(lambda tx: fail(tx, self.worker, why))
        self.db.bell.ring(self.worker.alerts)

    def told(self) -> dict[str, int]:
        """How many items came to what: the output of the Run."""
        return dict(self._counts)

    # --- below ------------------------------------------------------------------------------------

    def _collect(self) -> list[Done]:
        """Everything to be written: what is done, and what is put back."""
        with self._lock:
            done, self._done = self._done, []
            done += [Done(item, "pending") for item in self._hand]
            self._hand.clear()
            return done

    def _appetite(self) -> int:
        """How many items to take: as many as 50 ms will do, carefully more than the last time."""
        if self.batch.one_by_one:
            return 1
        fits = int(QUANTUM / max(self._mean, 1e-6))
        return max(1, min(fits, MOST, self._want * _GROWTH))

    def _write(self, work: Callable[[Tx], Answer], done: list[Done]) -> Answer:
        """Write until the database is there: what is in hand is not lost by an outage."""
        waited, told = time.monotonic(), False
        while True:
            try:
                answer = self.db.run(self._surely(work, done))
                self._unsure = False
                return answer
            except Exception as error:
                stopping = self._context.stop is not None
                patient = not stopping or time.monotonic() - waited < _PATIENCE
                if not self.db.is_away(error) or not patient:
                    with self._lock:
                        self._done = done + self._done
                    raise
                self._unsure = True
                if not told:
                    logger.warning("the database is away, %d items wait: %s", len(done), error)
                    told = True
                time.sleep(0.3)

    def _surely(self, work: Callable[[Tx], Answer], done: list[Done]) -> Callable[[Tx], Answer]:
        """The work, and before any repetition of it what a lost answer may have left behind."""

        def again(tx: Tx) -> Answer:
            if self._unsure:
                current = [] if self._current is None else [self._current.id]
                mine = [*current, *(one.item.id for one in done)]
                give_back_unknown(tx, self.worker.batch_id, self.worker.run_id, mine)
            self._unsure = True
            return work(tx)

        return again

    def _watch_for_lateness(self) -> None:
        if self._late is None:
            self._late = _Late(self._settle_late)
        self._late.arm(QUANTUM + self.wait)

    def _settle_late(self) -> None:
        """The item under way takes long: write the others without it."""
        with self._writing:
            done = self._collect()
            if not done:
                return
            try:
                self.db.run(lambda tx: report(tx, self.worker, done))
            except Exception as error:
                if not self.db.is_away(error):
                    logger.exception("settling items beside one under way failed")
                with self._lock:
                    self._done = done + self._done


class _Late:
    """Does something on a thread unless it is disarmed in time."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._at: float | None = None
        self._closed = False
        threading.Thread(target=self._run, name="batch-late", daemon=True).start()

    def arm(self, seconds: float) -> None:
        """Do it after so long."""
        with self._changed:
            first = self._at is None
            self._at = time.monotonic() + seconds
            if first:
                self._changed.notify()

    def disarm(self) -> None:
        """Don't do it."""
        self._at = None

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (at := self._at) is None:
                    self._changed.wait()
                if self._closed:
                    return
                assert at is not None
                left = at - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                self._at = None
            self._work()

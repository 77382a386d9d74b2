"""Dispatcher: turns the page for one task table: settle what is done, claim what fits, run it.

Owns the order of these steps and everything this Server holds of the table. The claiming statement
is `tasks/claim.py`'s, the ends are `settler.py`'s, the Runners `pool.py`'s. A thread a table (and
one for its ends), so that a table somebody has locked holds up no other.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taskyard.core.errors import PayloadTooLarge
from taskyard.core.lifecycle import Kind, Outcome, TaskStatus
from taskyard.core.payload import PARAMS_LIMIT
from taskyard.db import tables
from taskyard.db.database import Database
from taskyard.db.rows import ClaimedRow
from taskyard.engine.lane import Lane
from taskyard.engine.outages import Outages
from taskyard.engine.settler import Settler
from taskyard.engine.work import Work
from taskyard.handlers import HandlerSpec
from taskyard.runs import progress
from taskyard.runs.ids import RunIds
from taskyard.tasks import claim, holds, rescue, settle

if TYPE_CHECKING:
    from taskyard.engine.pool import Pool
    from taskyard.engine.spool import Spool
    from taskyard.queues import Queue

logger = logging.getLogger("taskyard.dispatcher")

_FOLLOW_UP = 0.01  # seconds: a second look after a find, for what the bell's gap left out
_RECONCILE = 1.0
_RECONCILE_IDLE = 15.0
_HOLDS = 5.0


@dataclass(frozen=True, slots=True)
class Post:
    """Who this Server is, for its dispatchers, and what they share."""

    db: Database
    session: str
    server_id: str
    pool: Pool
    run_ids: RunIds
    spool: Spool
    max_crashes: int
    trusted: Callable[[], bool]
    fleet: Callable[[], frozenset[str]]
    flush_notes: Callable[[], None]
    closed: Callable[[], frozenset[str]] = frozenset
    """The disabled tenants."""
    outages: Outages = field(default_factory=Outages)


class Dispatcher:
    """A table's thread. `queues` are set by the supervisor whenever they change."""

    def __init__(self, post: Post, table: str) -> None:
        self.table = table
        self._post = post
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._held: dict[int, Work] = {}  # by run id: a deleted row may leave its id to another
        self._wake = threading.Event()
        self._rung = False
        self._draining = False
        self._stopped = threading.Event()
        self._reconcile_at = 0.0
        self._holds_at = 0.0
        self._outage = 0
        self.last_turn = time.monotonic()
        self._settler = Settler(
            post,
            table,
            self._held,
            self._lock,
            over=self._is_over,
            settled=self._wake.set,
            failed=self._stumble,
        )
        self._thread = threading.Thread(target=self._work, name=f"taskyard-{table}", daemon=True)

    # --- what the supervisor says ---------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._settler.start()
        self._thread.start()

    def set_queues(self, queues: list[Queue]) -> None:
        """Work these Queues from now on; others of this table only finish what they run."""
        with self._lock:
            names = {queue.queue_name for queue in queues}
            for queue in queues:
                lane = self._lanes.get(queue.queue_name)
                if lane is None:
                    self._lanes[queue.queue_name] = Lane(queue, self.table)
                    continue
                lane.open = True
                lane.queue = queue
                lane.next_look = min(lane.next_look, time.monotonic() + queue.scan_interval)
            for name, lane in self._lanes.items():
                lane.open = name in names
        self._wake.set()

    def ring(self) -> None:
        """There may be new Tasks: look at once."""
        self._rung = True
        self._wake.set()

    def drain(self) -> None:
        """Claim nothing more; hand back what has not started."""
        with self._lock:
            self._draining = True
            for lane in self._lanes.values():
                lane.open = False
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """End the thread when everything is settled, at the latest after `timeout` seconds."""
        self.drain()
        self._stopped.set()
        self._wake.set()
        until = time.monotonic() + timeout
        self._thread.join(timeout)
        self._settler.join(max(0.0, until - time.monotonic()))

    def abandon(self) -> None:
        """End the thread at once and write nothing: the Session is dead."""
        with self._lock:
            self._draining = True
            self._held.clear()
            self._settler.done.clear()
            self._lanes.clear()
        self._stopped.set()
        self._settler.ring()
        self._wake.set()

    def interrupt(self) -> None:
        """Tell every running handler that the Server stops: it may end in order, or is killed."""
        with self._lock:
            works = [work for work in self._held.values() if work.sent and not work.outcome]
        self._post.pool.interrupt(works)

    def cancel_exclusive(self, why: str, grace: float) -> None:
        """Ask those to stop that must not run while the Session is not trusted (protocol G4)."""
        with self._lock:
            works = [w for w in self._held.values() if w.exclusive and w.sent and not w.outcome]
        self._post.pool.cancel(works, why, grace)

    @property
    def running(self) -> int:
        """How many handlers run."""
        with self._lock:
            return sum(lane.running for lane in self._lanes.values())

    @property
    def held(self) -> int:
        """How many Tasks this Server holds of the table."""
        with self._lock:
            return len(self._held)

    # --- what the pool says ---------------------------------------------------------------------

    def deliver(self, works: list[Work]) -> None:
        """These have ended. Free workers get the next ready Tasks at once, on the pool's thread."""
        start: list[Work] = []
        with self._lock:
            by_lane: dict[Lane, list[float]] = {}
            for work in works:
                work.lane.running -= 1
                outcome = work.outcome
                if outcome and outcome.started is not None and outcome.finished is not None:
                    by_lane.setdefault(work.lane, []).append(outcome.finished - outcome.started)
                elif work.lane not in by_lane:
                    by_lane[work.lane] = []
            for lane, seconds in by_lane.items():
                if seconds:
                    lane.learn(seconds)
                if self._post.trusted():
                    start += lane.take()
            self._settler.done += works
        if start:
            self._post.pool.submit(start)
        self._settler.ring()
        self._wake.set()

    def keep_checkpoint(self, work: Work, data: str | None) -> None:
        """A handler has set its checkpoint: written before the attempt's end is."""
        self._settler.keep_checkpoint(work, data)
        self._wake.set()

    # --- the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        while not self._is_over():
            self._wake.clear()
            try:
                self._turn()
                self._outage = 0
            except Exception as error:
                self._outage += 1
                self._stumble(error, self._outage)
            self.last_turn = time.monotonic()
            self._wake.wait(self._pause())

    def _is_over(self) -> bool:
        return self._stopped.is_set() and not self._held

    def _drop_closed_lanes(self) -> None:
        """Only here: a lane that went while its claim is under way would lose the rows."""
        with self._lock:
            gone = [n for n, lane in self._lanes.items() if not lane.open and not lane.held]
            for name in gone:
                del self._lanes[name]

    def _turn(self) -> None:
        self._drop_closed_lanes()
        self._settle()
        self._hand_back()
        self._start_ready()
        self._claim()
        self._reconcile()

    def _stumble(self, error: Exception, failures: int) -> None:
        """Nothing ends this thread but the supervisor; after an error all is compared anew."""
        self._reconcile_at = 0.0
        db = self._post.db
        if db.dialect.is_table_missing(error):
            logger.warning("table %s has changed under us: %s", self.table, error)
            self._mend_table()
        elif db.is_away(error):
            if failures == 1:
                self._post.outages.tell(error)
            self._settler.spool()
        else:
            logger.exception("table %s: a turn failed", self.table)

    def _mend_table(self) -> None:
        """Make what is missing; of what stands in the way the next sync tells, in `problem`."""
        try:
            tables.forget_table(self._post.db, self.table)
            tables.ensure_table(self._post.db, self.table)
        except Exception as error:
            logger.warning("table %s cannot be mended: %s", self.table, error)

    def _pause(self) -> float:
        if self._stopped.is_set():
            return 0.02  # the wake-up of `stop` may have come before the turn that ended it all
        if self._outage:
            return min(5.0, 0.1 * 2.0 ** min(self._outage, 6)) * random.uniform(0.8, 1.2)
        if not self._post.trusted():
            return 0.2
        now = time.monotonic()
        with self._lock:
            if self._rung or (self._settler.done and not self._settler.threaded):
                return 0.0
            # A full lane looks again when something ends, not before.
            looks = [
                lane.next_look for lane in self._lanes.values() if lane.open and lane.room() > 0
            ]
            stale = 0.25 if any(lane.ready for lane in self._lanes.values()) else 60.0
            reconcile = self._reconcile_at if self._held else now + 60.0
        return max(0.0, min([*looks, reconcile, now + stale]) - now)

    def _settle(self) -> None:
        """Where the ends have a thread, it is told; else they are written here and now."""
        if not self._settler.threaded:
            self._settler.settle()
        elif self._settler.done:
            self._settler.ring()

    # --- hand back ------------------------------------------------------------------------------

    def _hand_back(self) -> None:
        with self._lock:
            stale = [work for lane in self._lanes.values() for work in lane.overdue()]
            for work in stale:
                work.outcome = Outcome(
                    work.run_id, Kind.INTERRUPTED, error="handed back before it started"
                )
                self._settler.done.append(work)
        if stale:
            self._settle()

    def _start_ready(self) -> None:
        """Start what could not start when it was taken: we were not trusted just then, or full."""
        with self._lock:
            lanes = self._lanes.values() if self._post.trusted() else ()
            start = [work for lane in lanes for work in lane.take()]
        if start:
            self._post.pool.submit(start)

    # --- claim ----------------------------------------------------------------------------------

    def _claim(self) -> None:
        rung, self._rung = self._rung, False
        for lane in self._due_lanes(rung):
            while self._claim_for(lane):
                with self._lock:
                    if self._settler.done and not self._settler.threaded:
                        break  # settle first: the rows of what is done are wanted by others
        if time.monotonic() > self._holds_at:
            self._hold_blocked()

    def _due_lanes(self, rung: bool) -> list[Lane]:
        now = time.monotonic()
        with self._lock:
            if self._draining or not self._post.trusted():
                return []
            lanes = [
                lane
                for lane in self._lanes.values()
                if lane.room() > 0 and (rung or lane.next_look <= now)
            ]
        # Queues that share a table take turns at going first.
        random.shuffle(lanes)
        return lanes

    def _claim_for(self, lane: Lane) -> bool:
        """One claim for a lane; True when it pays to claim again at once."""
        post = self._post
        with self._lock:
            limit = lane.room() if not self._draining else 0
        if limit <= 0 or not post.trusted():
            return False
        first = post.run_ids.reserve(limit)
        taken = claim.claim(
            post.db,
            claim.Ask(
                table=self.table,
                queue=lane.queue.queue_name,
                session=post.session,
                server_id=post.server_id,
                limit=limit,
                first_run_id=first,
                known=frozenset(post.pool.specs),
                fleet=post.fleet(),
                rate_limit=lane.queue.rate_limit,
                after_key=lane.after_key,
                closed=post.closed(),
            ),
        )
        post.run_ids.give_back(first + len(taken.rows), limit - len(taken.rows))
        self._note_claim(lane, taken)
        self._receive(lane, taken.rows)
        return taken.full and taken.wait is None and lane.room() > 0

    def _note_claim(self, lane: Lane, taken: claim.Taken) -> None:
        lane.hungry = taken.full
        lane.after_key = taken.after_key
        if taken.wait is not None:
            lane.look_after(taken.wait)
        elif taken.full:
            lane.look_after(0.0)
        elif taken.rows:
            lane.look_after(_FOLLOW_UP)
        else:
            lane.look_after(lane.queue.scan_interval * random.uniform(0.9, 1.0))

    def _receive(self, lane: Lane, rows: list[ClaimedRow]) -> None:
        if not rows:
            return
        checkpoints = self._checkpoints_of(rows)
        now = time.monotonic()
        self._reconcile_at = min(self._reconcile_at, now + _RECONCILE)
        works = [self._new_work(lane, row, now, checkpoints.get(row.id)) for row in rows]
        good = [work for work in works if work.outcome is None]
        with self._lock:
            for work in works:
                self._held[work.run_id] = work
            lane.ready.extend(good)
            self._settler.done += [work for work in works if work.outcome is not None]
            start = lane.take() if self._post.trusted() else []
        if start:
            self._post.pool.submit(start)
        if len(good) < len(works):
            self._settle()

    def _new_work(self, lane: Lane, row: ClaimedRow, now: float, checkpoint: str | None) -> Work:
        spec = self._spec(row.task_type)
        timeout = row.timeout
        if timeout is None:
            timeout = spec.timeout if lane.queue.timeout is None else lane.queue.timeout
        isolated = spec.isolation == "process" or spec.at_most_once
        work = Work(
            row=row,
            lane=lane,
            claimed=now,
            timeout=timeout,
            # A Task that was there when a Runner died is a suspect: alone, it can only hurt itself,
            # and only then does a crash count as its own failure.
            alone=isolated or bool(row.suspect),
            suspect=bool(row.suspect) and not isolated,
            exclusive=spec.on_lost == "stop" or spec.at_most_once or row.excl_key is not None,
            checkpoint=checkpoint,
        )
        if row.task_params is None and row.params_bytes:
            error = PayloadTooLarge("task_params", row.params_bytes, PARAMS_LIMIT)
            work.outcome = Outcome(row.run_id, Kind.REJECTED, error=str(error))
        return work

    def _checkpoints_of(self, rows: list[ClaimedRow]) -> dict[int, str]:
        """Only a Task that ran before can have one, and its fence tells."""
        again = [row.id for row in rows if row.fence > 1]
        return progress.load_checkpoints(self._post.db, self.table, again) if again else {}

    def _hold_blocked(self) -> None:
        self._holds_at = time.monotonic() + _HOLDS * random.uniform(0.8, 1.2)
        with self._lock:
            waiting = [lane for lane in self._lanes.values() if lane.open and not lane.hungry]
        if waiting and not self._draining:
            post = self._post
            while holds.hold_blocked(post.db, self.table, post.fleet(), post.closed()) >= 500:
                pass

    # --- reconcile ------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        """Compare what we own in the database with what we hold, both ways (rulings 3.1)."""
        now = time.monotonic()
        if now < self._reconcile_at:
            return
        with self._settler.writing:
            sent, unsent, forgotten = self._compare()
        if sent:
            self._post.pool.cancel(sent, "the task was changed by SQL")
        if forgotten:
            count = self._release(forgotten)
            logger.info("%d tasks of %s were ours without our knowing", count, self.table)
        if unsent:
            self._settle()
        self._reconcile_at = time.monotonic() + (_RECONCILE if self._held else _RECONCILE_IDLE)

    def _compare(self) -> tuple[list[Work], list[Work], dict[int, rescue.Owned]]:
        """What was changed under a handler, under a ready Task, and what we own unawares."""
        owned = rescue.owned(self._post.db, self.table, self._post.session)
        with self._lock:
            changed = [w for w in self._held.values() if not _is_ours(w, owned.get(w.row.id))]
            forgotten = {i: seen for i, seen in owned.items() if seen.run_id not in self._held}
            unsent = [w for w in changed if w.sent is None and w.outcome is None]
            for work in unsent:
                if work in work.lane.ready:
                    work.lane.ready.remove(work)
                    work.outcome = Outcome(work.run_id, Kind.CANCELLED, error="changed by SQL")
                    self._settler.done.append(work)
            sent = [w for w in changed if w.sent is not None and w.outcome is None]
        return sent, unsent, forgotten

    def _release(self, forgotten: dict[int, rescue.Owned]) -> int:
        place = settle.Place(self.table, "", self._post.session, self._post.server_id)
        return rescue.release_forgotten(self._post.db, place, forgotten)

    # --- below ----------------------------------------------------------------------------------

    def _spec(self, task_type: str) -> HandlerSpec:
        return self._post.pool.specs.get(task_type) or HandlerSpec(name=task_type)


def _is_ours(work: Work, seen: rescue.Owned | None) -> bool:
    return seen == (work.row.fence, int(TaskStatus.RUNNING), work.run_id)

"""Dispatcher: turns the page for one task table: settle what is done, claim what fits, run it.

Owns the order of these steps and everything this Server holds of the table. The statements are
`tasks/claim.py`'s and `tasks/settle.py`'s, the Runners `pool.py`'s, the judgement
`core/lifecycle.py`'s. One thread a table, so that a table somebody has locked holds up no other.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taskyard.core.errors import PayloadTooLarge
from taskyard.core.lifecycle import Attempt, Kind, Outcome, TaskStatus, Verdict, decide
from taskyard.core.payload import PARAMS_LIMIT, cut_error
from taskyard.db import tables
from taskyard.db.database import Database
from taskyard.db.rows import ClaimedRow, Ending
from taskyard.engine.lane import Lane
from taskyard.engine.masking import masked_payload
from taskyard.engine.work import Work
from taskyard.handlers import HandlerSpec
from taskyard.runs import progress
from taskyard.runs.ids import RunIds
from taskyard.tasks import claim, rescue, settle

if TYPE_CHECKING:
    from taskyard.engine.pool import Pool
    from taskyard.engine.spool import Spool
    from taskyard.queues import Queue

logger = logging.getLogger("taskyard.dispatcher")

_FOLLOW_UP = 0.01  # seconds: a second look after a find, for what the bell's gap left out
_RECONCILE = 1.0
_RECONCILE_IDLE = 15.0
_SETTLE_MOST = 1_000
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


class Dispatcher:
    """A table's thread. `queues` are set by the supervisor whenever they change."""

    def __init__(self, post: Post, table: str) -> None:
        self.table = table
        self._post = post
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._held: dict[int, Work] = {}  # by run id: a deleted row may leave its id to another
        self._done: list[Work] = []
        self._checkpoints: list[tuple[Work, str | None]] = []
        self._wake = threading.Event()
        self._rung = False
        self._draining = False
        self._stopped = threading.Event()
        self._reconcile_at = 0.0
        self._holds_at = 0.0
        self._outage = 0
        self.last_turn = time.monotonic()
        self._thread = threading.Thread(target=self._work, name=f"taskyard-{table}", daemon=True)

    # --- what the supervisor says ---------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
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
        self._thread.join(timeout)

    def abandon(self) -> None:
        """End the thread at once and write nothing: the Session is dead."""
        with self._lock:
            self._draining = True
            self._held.clear()
            self._done.clear()
            self._lanes.clear()
        self._stopped.set()
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
            self._done += works
        if start:
            self._post.pool.submit(start)
        self._wake.set()

    def keep_checkpoint(self, work: Work, data: str | None) -> None:
        """A handler has set its checkpoint: written before the attempt's end is."""
        with self._lock:
            self._checkpoints.append((work, data))
        self._wake.set()

    # --- the thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        while not (self._stopped.is_set() and not self._held):
            self._wake.clear()
            try:
                self._turn()
                self._outage = 0
            except Exception as error:
                self._stumble(error)
            self.last_turn = time.monotonic()
            self._wake.wait(self._pause())

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

    def _stumble(self, error: Exception) -> None:
        """Nothing ends this thread but the supervisor; after an error all is compared anew."""
        self._reconcile_at = 0.0
        self._outage += 1
        db = self._post.db
        if db.dialect.is_table_missing(error):
            logger.warning("table %s has changed under us: %s", self.table, error)
            self._mend_table()
        elif db.is_away(error):
            if self._outage == 1:
                logger.warning("the database is away: %s", error)
            self._post.spool.keep(self._unsettled())
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
            if self._done or self._rung:
                return 0.0
            # A full lane looks again when something ends, not before.
            looks = [
                lane.next_look for lane in self._lanes.values() if lane.open and lane.room() > 0
            ]
            stale = 0.25 if any(lane.ready for lane in self._lanes.values()) else 60.0
            reconcile = self._reconcile_at if self._held else now + 60.0
        return max(0.0, min([*looks, reconcile, now + stale]) - now)

    # --- settle ---------------------------------------------------------------------------------

    def _settle(self) -> None:
        self._write_checkpoints()
        while True:
            with self._lock:
                batch = self._done[:_SETTLE_MOST]
            if not batch:
                return
            for lane in {work.lane for work in batch}:
                self._settle_lane(lane, [work for work in batch if work.lane is lane])
            if len(batch) < _SETTLE_MOST:
                return

    def _settle_lane(self, lane: Lane, works: list[Work]) -> None:
        settled_elsewhere = [w for w in works if w.outcome and w.outcome.kind is Kind.SETTLED]
        endings = [self._ending(w) for w in works if w not in settled_elsewhere]
        if endings:
            result = settle.settle(
                self._post.db,
                self._place(lane),
                endings,
                self._claimed,
            )
            if result.superseded:
                logger.info(
                    "%d results of %s were rejected: their tasks had been taken away or changed",
                    len(result.superseded),
                    self.table,
                )
        with self._lock:
            ended = set(map(id, works))
            self._done = [work for work in self._done if id(work) not in ended]
            for work in works:
                self._held.pop(work.run_id, None)
            if lane.hungry:
                lane.next_look = 0.0
            for ending in endings:
                if ending.task_status == TaskStatus.PENDING:
                    lane.expect(ending.delay or 0.0)
        self._post.spool.forget(works)
        self._forget_notes(works, endings)

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
            progress.forget(self._post.db, self.table, ended)

    def _ending(self, work: Work) -> Ending:
        outcome = work.outcome
        assert outcome is not None
        row, now = work.row, time.monotonic()
        verdict = self._verdict(work, outcome)
        started = outcome.started
        # A clock that cannot be compared (another namespace) must not make a run end in the future.
        age = None if started is None else max(0.0, now - started)
        duration = None
        if started is not None and outcome.finished is not None:
            duration = max(0.0, outcome.finished - started)
        error = None if verdict.error is None else cut_error(verdict.error)
        return Ending(
            id=row.id,
            fence=row.fence,
            run_id=row.run_id,
            attempt=row.retry_count + 1,
            task_status=int(verdict.task_status),
            retry_count=verdict.retry_count,
            crashes=verdict.crashes,
            delay=verdict.delay,
            error_msg=None if verdict.task_status is TaskStatus.COMPLETED else error,
            run_status=verdict.run_status.value,
            output=outcome.output,
            error=error,
            payload=masked_payload(self._spec(row.task_type), row.task_params),
            age=age,
            duration=duration,
            wait=row.waited + (0.0 if started is None else max(0.0, started - work.claimed)),
            cpu_time=outcome.cpu_time,
            memory=outcome.memory,
            pid=outcome.pid,
            suspect=int(verdict.suspect),
        )

    def _verdict(self, work: Work, outcome: Outcome) -> Verdict:
        row, spec = work.row, self._spec(work.row.task_type)
        attempt = Attempt(
            retry_count=row.retry_count,
            max_retries=row.max_retries,
            crashes=row.crashes,
            retry_interval=row.retry_interval,
            at_most_once=spec.at_most_once,
            retry=spec.retry,
            suspect=bool(row.suspect),
        )
        return decide(outcome, attempt, max_crashes=self._post.max_crashes, random=random.random)

    def _write_checkpoints(self) -> None:
        with self._lock:
            waiting = {work.row.id: (work, data) for work, data in self._checkpoints}
            count = len(self._checkpoints)
        if not waiting:
            return
        progress.save_checkpoints(
            self._post.db,
            self.table,
            self._post.session,
            [(work.row.id, work.run_id, data) for work, data in waiting.values()],
        )
        with self._lock:
            del self._checkpoints[:count]

    def _unsettled(self) -> list[tuple[settle.Place, Ending]]:
        with self._lock:
            done = list(self._done)
        return [
            (self._place(w.lane), self._ending(w))
            for w in done
            if w.outcome and w.outcome.kind is not Kind.SETTLED
        ]

    # --- hand back ------------------------------------------------------------------------------

    def _hand_back(self) -> None:
        with self._lock:
            stale = [work for lane in self._lanes.values() for work in lane.overdue()]
            for work in stale:
                work.outcome = Outcome(
                    work.run_id, Kind.INTERRUPTED, error="handed back before it started"
                )
                self._done.append(work)
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
                    if self._done:  # settle first: the rows of what is done are wanted by others
                        break
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
            self._done += [work for work in works if work.outcome is not None]
            start = lane.take() if self._post.trusted() else []
        if start:
            self._post.pool.submit(start)

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
            while claim.hold_blocked(self._post.db, self.table, self._post.fleet()) >= 500:
                pass

    # --- reconcile ------------------------------------------------------------------------------

    def _reconcile(self) -> None:
        """Compare what we own in the database with what we hold, both ways (rulings 3.1)."""
        now = time.monotonic()
        if now < self._reconcile_at:
            return
        owned = rescue.owned(self._post.db, self.table, self._post.session)
        with self._lock:
            changed = [w for w in self._held.values() if not _is_ours(w, owned.get(w.row.id))]
            forgotten = {i: seen for i, seen in owned.items() if seen.run_id not in self._held}
            unsent = [w for w in changed if w.sent is None and w.outcome is None]
            for work in unsent:
                if work in work.lane.ready:
                    work.lane.ready.remove(work)
                    work.outcome = Outcome(work.run_id, Kind.CANCELLED, error="changed by SQL")
                    self._done.append(work)
            sent = [w for w in changed if w.sent is not None and w.outcome is None]
        if sent:
            self._post.pool.cancel(sent, "the task was changed by SQL")
        if forgotten:
            count = self._release(forgotten)
            logger.info("%d tasks of %s were ours without our knowing", count, self.table)
        if unsent:
            self._settle()
        self._reconcile_at = time.monotonic() + (_RECONCILE if self._held else _RECONCILE_IDLE)

    def _release(self, forgotten: dict[int, rescue.Owned]) -> int:
        place = settle.Place(self.table, "", self._post.session, self._post.server_id)
        return rescue.release_forgotten(self._post.db, place, forgotten)

    # --- below ----------------------------------------------------------------------------------

    def _spec(self, task_type: str) -> HandlerSpec:
        return self._post.pool.specs.get(task_type) or HandlerSpec(name=task_type)

    def _place(self, lane: Lane) -> settle.Place:
        return settle.Place(
            self.table, lane.queue.queue_name, self._post.session, self._post.server_id
        )

    def _claimed(self, run_id: int) -> ClaimedRow | None:
        work = self._held.get(run_id)
        return None if work is None else work.row


def _is_ours(work: Work, seen: rescue.Owned | None) -> bool:
    return seen == (work.row.fence, int(TaskStatus.RUNNING), work.run_id)

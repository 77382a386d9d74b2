"""Machine: the lease protocol, driven through the real verbs and held against `reference.py`.

Owns the acts: what a Server, a rescuer, a person or fate may do, each as one method that does it
to the database and to the reference; and the invariants, checked by reading the tables. Which acts
come in which order is the tests' business (`test_protocol_machine.py`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from conformance.reference import CANCELLED, COMPLETED, ONCE, PENDING, RUNNING, Reference, Row, Run
from taskyard import servers
from taskyard.access.caller import LOCAL
from taskyard.core.errors import DuplicateTask, NotNow
from taskyard.core.lifecycle import Attempt, Kind, Outcome, RetryPolicy, decide
from taskyard.db.database import Database, Tx
from taskyard.db.rows import ClaimedRow, Ending
from taskyard.tasks import claim as claims
from taskyard.tasks import manage
from taskyard.tasks import rescue as rescues
from taskyard.tasks import settle as settles
from taskyard.tasks.enqueue import NewTask, TaskRef, enqueue

T = TypeVar("T")

TABLE, QUEUE = "default_tasks", "default"
TYPES = frozenset({"steady", ONCE})
MAX_CRASHES = 3
LEASE = 3600.0
MEANWHILE = ["settle", "rescue", "take over", "claim", "certify", "to 0", "to 1", "to 4", "delete"]
"""What may happen in the middle of a rescue or a settle."""


@dataclass
class Held:
    """A Task in a Server's memory. Its handler runs until `running` is False."""

    row: ClaimedRow
    running: bool
    ending: Ending | None = None
    """What was sent to the database and not confirmed yet."""


@dataclass
class Server:
    """A life of a Server: what its process believes. It may be wrong, it may be gone."""

    session: str
    trusted: bool = True
    held: dict[int, Held] = field(default_factory=dict)

    @property
    def unanswered(self) -> bool:
        """Is there an end that it has sent, and heard nothing?"""
        return any(held.ending for held in self.held.values())


class Interruptible(Database):
    """A database in which something else may happen right after a read."""

    after_read: Callable[[Any], None] | None = None

    def read(self, work: Callable[[Tx], T]) -> T:
        found = super().read(work)
        if self.after_read is not None:
            self.after_read(found)
        return found


class Machine:
    """A world of Servers and people on one database, which it empties first."""

    def __init__(self, db: Interruptible) -> None:
        self.db = db
        self.model = Reference(MAX_CRASHES)
        self.alive: list[Server] = []
        self.edited: set[int] = set()
        self.reused: set[int] = set()
        """Ids that a second row has come under: their Runs are those of two Tasks."""
        self.marked: set[int] = set()
        self.final: dict[int, int] = {}
        self.next_run_id = 1
        for table in (TABLE, "ty_runs", "ty_servers"):
            self._sql(f"DELETE FROM {table}")
        # A history begins where it is interesting: two Servers, and one of them runs something.
        self.open_session()
        self.open_session()
        self.enqueue({"task_type": ONCE, "unique_key": None})
        self.enqueue({"task_type": "steady", "unique_key": None, "excl_key": "k"})
        self.claim(0, 2, heard=True)

    def act(self, name: str, *arguments: Any) -> None:
        """Do what is called `name`, and look whether everything is still as it must be."""
        getattr(self, name)(*arguments)
        self.all_invariants_hold()

    # --- enqueue --------------------------------------------------------------------------------

    def enqueue(self, fields: dict[str, Any]) -> None:
        twin = [
            row
            for row in self.model.rows.values()
            if row.unique_key and row.unique_key == fields["unique_key"] and row.status < COMPLETED
        ]
        try:
            ref = enqueue(self.db, LOCAL, NewTask(queue=QUEUE, retry_interval=0.0, **fields))
        except DuplicateTask:
            assert twin
        else:
            assert not twin
            self.model.rows[ref.id] = Row(**fields)

    def insert(self, task_id: int | None = None) -> None:
        """By SQL, as any program may."""
        if task_id is None:
            self._sql(f"INSERT INTO {TABLE} (task_type) VALUES ('steady')")
            task_id = self.db.read(lambda tx: int(tx.value(f"SELECT MAX(id) FROM {TABLE}")))
        else:
            self._sql(f"INSERT INTO {TABLE} (id, task_type) VALUES ({task_id}, 'steady')")
        self.model.rows[task_id] = Row("steady")

    # --- fate -----------------------------------------------------------------------------------

    def open_session(self) -> None:
        if len(self.alive) < 3:
            server = Server(servers.new_session())
            specs = [{"name": ONCE, "delivery": "at_most_once"}]
            servers.register(self.db, server.session, "here", lease=LEASE, runners=1)
            servers.publish(self.db, server.session, specs, [])
            self.alive.append(server)
            self.model.states[server.session] = "live"

    def lapse(self, who: int) -> None:
        """A Server is paused or cut off: trust ends first, then the lease."""
        for server in _one(self._holders() or self.alive, who):
            server.trusted = False
            past = self.db.dialect.utc_after("-60")
            where = f"WHERE session = '{server.session}'"
            self._sql(f"UPDATE ty_servers SET lease_until = {past} {where}")

    def certify(self, who: int) -> None:
        """Somebody declares a Server dead, if its lease has ended; it knows nothing of it."""
        for server in _one(self.alive, who):
            lapsed = not server.trusted and self.model.states[server.session] != "dead"
            assert servers.certify_expired(self.db, server.session) == lapsed
            if lapsed:
                self.model.states[server.session] = "dead"

    def make_zombie(self, who: int) -> None:
        """Both at once."""
        self.lapse(who)
        for number in range(len(self.alive)):
            self.certify(number)

    def kill(self, who: int) -> None:
        """kill -9; the next start on this host finds its process gone."""
        for server in _one(self.alive, who):
            self.alive.remove(server)
            servers.certify_gone(self.db, server.session)
            self.model.states[server.session] = "dead"

    def rescue(self) -> None:
        count = rescues.rescue(self.db, TABLE, max_crashes=MAX_CRASHES)
        assert count == self.model.rescue()

    # --- what servers do, zombies too -----------------------------------------------------------

    def claim(self, who: int, limit: int, heard: bool) -> None:
        """Not `heard`: the answer is lost, so the Server does not know what it owns.

        A Server claims only when its settles have been answered (the dispatcher settles first);
        before that a claim can only be an old one, which the database has been slow to run.
        """
        for server in _one(self.alive, who):
            taken = self._claim(server, limit, heard and not server.unanswered)
            self.model.claim(server.session, taken, limit)
            self.edited -= {row.id for row in taken}

    def settle(self, who: int, kind: Kind, many: bool, heard: bool) -> None:
        """Handlers end; or what was not `heard` is sent again."""
        for server in _one(self._holders(), who):
            held = list(server.held.values())[: None if many else 1]
            endings = [self._ending(h, kind) for h in held]
            result = self._settle(server, endings, heard)
            counts = {e.id: self.model.settle(server.session, e, True) for e in endings}
            assert result.written == sum(counts.values())
            assert set(result.superseded) == {i for i, counted in counts.items() if not counted}

    def reconcile(self, who: int) -> None:
        """What it owns and does not hold, and the other way round, as the dispatcher does."""
        for server in _one(self.alive, who):
            owned = rescues.owned(self.db, TABLE, server.session)
            changed = [
                h
                for i, h in server.held.items()
                if (owned.get(i) or ())[:2] != (h.row.fence, RUNNING)
            ]
            forgotten = {i: seen for i, seen in owned.items() if i not in server.held}
            endings = [self._ending(h, Kind.CANCELLED) for h in changed]
            if endings:
                self._settle(server, endings, heard=True)
            for ending in endings:
                self.model.settle(server.session, ending, remembered=True)
            released = 0
            if forgotten:
                released = rescues.release_forgotten(self.db, _place(server), forgotten)
            assert released == self.model.release_forgotten(server.session, forgotten)

    def beat(self, who: int) -> None:
        """The lease is prolonged, or it hears that it is dead and drops everything."""
        for server in _one(self.alive, who):
            beat = partial(servers.beat, session=server.session, lease=LEASE)
            server.trusted = self.db.run(beat)
            assert server.trusted == (self.model.states[server.session] != "dead")
            if not server.trusted:
                self.alive.remove(server)

    def drain(self, who: int) -> None:
        """It takes nothing more."""
        for server in _one(self.alive, who):
            servers.start_draining(self.db, server.session)
            if self.model.states[server.session] == "live":
                self.model.states[server.session] = "draining"

    # --- people ---------------------------------------------------------------------------------

    def cancel(self, which: int) -> None:
        for task_id in _one(sorted(self.model.rows), which):
            row = self.model.rows[task_id]
            try:
                manage.cancel(self.db, LOCAL, TaskRef(QUEUE, TABLE, task_id))
            except NotNow:
                assert row.status >= COMPLETED
            else:
                assert row.status < COMPLETED
                self.edited.add(task_id)
                row.status = CANCELLED

    def retry(self, which: int) -> None:
        for task_id in _one(self._without_live_twin(), which):
            row = self.model.rows[task_id]
            try:
                manage.retry(self.db, LOCAL, TaskRef(QUEUE, TABLE, task_id))
            except NotNow:
                assert row.status < COMPLETED or row.owner
            else:
                assert row.status >= COMPLETED and row.owner is None
                self.final.pop(task_id, None)
                row.status, row.retry_count, row.crashes = PENDING, 0, 0

    def edit(self, which: int, status: int) -> None:
        """By SQL, mostly of rows that run; only we clear their `owner` (rulings 3.1)."""
        ids = self._without_live_twin()
        owned = [task_id for task_id in ids if self.model.rows[task_id].owner]
        for task_id in _one(owned if owned and which % 4 else ids, which):
            self._edit([task_id], status)
            self.model.rows[task_id].status = status

    def mark_running(self, which: int) -> None:
        """By SQL, a row that waits: nobody has claimed it."""
        for task_id in _one([i for i, r in self.model.rows.items() if not r.status], which):
            self._edit([task_id], RUNNING)
            self.marked.add(task_id)
            self.model.rows[task_id].status = RUNNING

    def insert_again(self, which: int) -> None:
        """By SQL: a row goes, and another one comes under its id."""
        for task_id in _one(sorted(self.model.rows), which):
            self.delete(which)
            self.insert(task_id)
            self.reused.add(task_id)

    def delete(self, which: int) -> None:
        """By SQL."""
        for task_id in _one(sorted(self.model.rows), which):
            self._delete([task_id])
            self._note_deletion(task_id)

    # --- in the middle of something -------------------------------------------------------------

    def meanwhile(self, verb: str, nth: int, what: str) -> None:
        """Something else happens after the nth read of a rescue or of a settle.

        What must come of it is not foretold: it is read back, and the invariants judge it.
        """
        reads = 0

        def interlope(_: Any) -> None:
            nonlocal reads
            reads += 1
            if reads == nth:
                self.db.after_read = None
                self._happen(what)

        self.db.after_read = interlope
        try:
            self._do(verb)
        finally:
            self.db.after_read = None
        self._believe()

    def _do(self, verb: str) -> None:
        if verb == "rescue":
            rescues.rescue(self.db, TABLE, max_crashes=MAX_CRASHES)
            return
        for server in self.alive:
            endings = [self._ending(held, Kind.COMPLETED) for held in server.held.values()]
            if endings:
                self._settle(server, endings, heard=True)

    def _happen(self, what: str) -> None:
        # Not those with a unique key: an edit could collide with a twin, which is no business here.
        owned = [i for i, row in self._rows().items() if row.owner and not row.unique_key]
        if what in ("settle", "rescue", "take over"):
            self._do("settle" if what == "settle" else "rescue")
        if what in ("claim", "take over"):
            for server in self.alive:
                self._claim(server, 2, heard=not server.unanswered)
        elif what == "certify":
            for who in range(len(self.alive)):
                self.certify(who)
        elif what == "delete":
            self._delete(owned)
        elif what.startswith("to "):
            self._edit(owned, int(what[-1]))

    # --- what must hold -------------------------------------------------------------------------

    def all_invariants_hold(self) -> None:
        self.the_tables_are_what_the_model_says()
        self.every_claim_has_one_run_and_fences_only_rise()
        self.ends_are_final()
        self.only_running_tasks_have_an_owner()
        self.at_most_one_trusted_handler()
        self.attempts_are_bounded()
        self.one_live_row_a_key()

    def the_tables_are_what_the_model_says(self) -> None:
        found = {task_id: row.facts for task_id, row in self._rows().items()}
        assert found == {task_id: row.facts for task_id, row in self.model.rows.items()}
        assert self._runs() == self.model.runs
        assert self._states() == self.model.states

    def every_claim_has_one_run_and_fences_only_rise(self) -> None:
        """I1 and I5: as many Runs as claims that have ended, and no fence twice."""
        rows, runs = self._rows(), self._runs()
        mine = [run for run in runs.values() if run.task_id not in self.reused]
        fences = Counter((run.task_id, run.fence) for run in mine)
        assert all(count == 1 for count in fences.values())
        ended = Counter(run.task_id for run in mine)
        for task_id, row in rows.items():
            if task_id in self.reused:
                continue
            assert ended[task_id] == row.fence - (row.owner is not None)
            assert all((task_id, n) in fences for n in range(1, ended[task_id] + 1))

    def ends_are_final(self) -> None:
        """I2: only SQL and the verb retry leave 2 and 4."""
        rows = self._rows()
        for task_id, status in self.final.items():
            assert task_id not in rows or task_id in self.edited or rows[task_id].status == status
        self.final = {i: r.status for i, r in rows.items() if r.status in (COMPLETED, CANCELLED)}

    def only_running_tasks_have_an_owner(self) -> None:
        """I3, but for rows that SQL has changed and whose owner has not answered yet."""
        for task_id, row in self._rows().items():
            if row.status == RUNNING:
                assert row.owner is not None or task_id in self.marked
            elif row.owner is not None:
                assert task_id in self.edited

    def at_most_one_trusted_handler(self) -> None:
        """I4, and the handlers' side of I7 (a DELETE takes its key along)."""
        rows = self._rows()
        running = [i for s in self.alive if s.trusted for i, h in s.held.items() if h.running]
        keys = [rows[i].excl_key for i in running if i in rows and rows[i].excl_key]
        assert len(set(running)) == len(running) and len(set(keys)) == len(keys)

    def attempts_are_bounded(self) -> None:
        """I6: no Task is tried, or crashes, more often than it may."""
        for task_id, row in self._rows().items():
            assert row.retry_count <= self.model.rows[task_id].max_retries
            assert row.crashes <= MAX_CRASHES

    def one_live_row_a_key(self) -> None:
        """I7."""
        live = Counter(r.excl_key for r in self._rows().values() if r.owner and r.excl_key)
        assert all(count == 1 for count in live.values())

    def everything_ends(self) -> None:
        """I8: when everybody has died, one new Server brings every Task to its end."""
        while self.alive:
            self.kill(0)
        self.rescue()
        self.open_session()
        while self.model.claimable():
            self.claim(0, 50, heard=True)
            self.settle(0, Kind.COMPLETED, many=True, heard=True)
        assert all(row.status >= COMPLETED and not row.owner for row in self._rows().values())
        self.all_invariants_hold()

    # --- acts -----------------------------------------------------------------------------------

    def _claim(self, server: Server, limit: int, heard: bool) -> list[ClaimedRow]:
        self._until_all_are_due()
        first, self.next_run_id = self.next_run_id, self.next_run_id + limit
        ask = claims.Ask(
            table=TABLE,
            queue=QUEUE,
            session=server.session,
            server_id="here",
            limit=limit,
            first_run_id=first,
            known=TYPES,
            fleet=TYPES,
        )
        rows = claims.claim(self.db, ask).rows
        for row in rows if heard else []:
            assert row.id not in server.held
            server.held[row.id] = Held(row, running=server.trusted)
        return rows

    def _settle(self, server: Server, endings: list[Ending], heard: bool) -> settles.Settled:
        def remembered(run_id: int) -> ClaimedRow | None:
            return next((h.row for h in server.held.values() if h.row.run_id == run_id), None)

        result = settles.settle(self.db, _place(server), endings, remembered)
        for ending in endings if heard else []:
            server.held.pop(ending.id, None)
        return result

    def _edit(self, ids: list[int], status: int) -> None:
        for task_id in ids:
            self._sql(f"UPDATE {TABLE} SET status = {status} WHERE id = {task_id}")
        self.edited.update(ids)

    def _delete(self, ids: list[int]) -> None:
        for task_id in ids:
            self._sql(f"DELETE FROM {TABLE} WHERE id = {task_id}")

    def _ending(self, held: Held, kind: Kind) -> Ending:
        """What is to be written; said once, it stays what it is, as in a Server's spool."""
        held.running = False
        if held.ending is None:
            held.ending = _ending(held.row, kind)
        return held.ending

    # --- below ----------------------------------------------------------------------------------

    def _note_deletion(self, task_id: int) -> None:
        del self.model.rows[task_id]
        self.final.pop(task_id, None)

    def _believe(self) -> None:
        """Take the tables for what they are: nothing was foretold."""
        for task_id, row in self._rows().items():
            model = self.model.rows[task_id]
            model.status, model.fence, model.owner = row.status, row.fence, row.owner
            model.run_id, model.retry_count, model.crashes = (
                row.run_id,
                row.retry_count,
                row.crashes,
            )
        for task_id in set(self.model.rows) - set(self._rows()):
            self._note_deletion(task_id)
        self.model.runs = self._runs()

    def _holders(self) -> list[Server]:
        return [server for server in self.alive if server.held]

    def _without_live_twin(self) -> list[int]:
        rows = self.model.rows
        live = {r.unique_key: i for i, r in rows.items() if r.status < COMPLETED}
        return sorted(
            i for i, r in rows.items() if not r.unique_key or live.get(r.unique_key, i) == i
        )

    def _until_all_are_due(self) -> None:
        """A retry is due at once; on SQLite at once may be half a millisecond from now."""
        dialect = self.db.dialect
        sql = f"SELECT 1 FROM {TABLE} WHERE status = 0 AND {dialect.due()} > {dialect.due_now()}"
        while self.db.read(lambda tx: tx.value(sql + " LIMIT 1", **dialect.clock())):
            pass

    def _sql(self, sql: str) -> None:
        self.db.run(lambda tx: tx.execute(sql))

    def _rows(self) -> dict[int, Row]:
        sql = (
            "SELECT id, task_type, priority, max_retries, excl_key, unique_key, status, fence,"
            f" owner, run_id, retry_count, crashes FROM {TABLE}"
        )
        return {row[0]: Row(*row[1:]) for row in self.db.read(lambda tx: tx.all(sql))}

    def _runs(self) -> dict[int, Run]:
        sql = "SELECT id, task_id, fence, status, session FROM ty_runs"
        return {row[0]: Run(*row[1:]) for row in self.db.read(lambda tx: tx.all(sql))}

    def _states(self) -> dict[str, str]:
        sql = "SELECT session, state FROM ty_servers"
        return dict(self.db.read(lambda tx: tx.all(sql)))


def _one(things: list[T], which: int) -> list[T]:
    """One of them; or none where there is none."""
    return [things[which % len(things)]] if things else []


def _place(server: Server) -> settles.Place:
    return settles.Place(TABLE, QUEUE, server.session, "here")


def _ending(row: ClaimedRow, kind: Kind) -> Ending:
    """As the dispatcher makes it."""
    attempt = Attempt(
        retry_count=row.retry_count,
        max_retries=row.max_retries,
        crashes=row.crashes,
        retry_interval=0.0,
        at_most_once=row.task_type == ONCE,
        retry=RetryPolicy(),
    )
    verdict = decide(
        Outcome(row.run_id, kind), attempt, max_crashes=MAX_CRASHES, random=random.random
    )
    return Ending(
        id=row.id,
        fence=row.fence,
        run_id=row.run_id,
        attempt=row.retry_count + 1,
        task_status=int(verdict.task_status),
        retry_count=verdict.retry_count,
        crashes=verdict.crashes,
        delay=verdict.delay,
        error_msg=None,
        run_status=verdict.run_status.value,
        output=None,
        error=None,
        payload=None,
        age=0.0,
        duration=0.0,
        wait=0.0,
        cpu_time=None,
        memory=None,
        pid=None,
    )

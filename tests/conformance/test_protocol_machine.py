"""The lease protocol, driven at random through the real verbs and held against a small model.

Servers claim, die, sleep and come back as zombies; answers are lost and settles repeated; people
cancel, retry and edit rows by SQL, also in the middle of a rescue. After every step the tables must
be what `reference.py` says, and the invariants of the protocol must hold as SQL finds them. At the
end of every history all Sessions die, and every Task must still come to an end (I8).

`formal/` checks the same protocol exhaustively, as a model; here it is the code that is checked.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from conformance.reference import CANCELLED, COMPLETED, ONCE, PENDING, RUNNING, Reference, Row, Run
from taskyard import servers
from taskyard.core.errors import DuplicateTask, NotNow
from taskyard.core.lifecycle import Attempt, Kind, Outcome, RetryPolicy, decide
from taskyard.db import migrate
from taskyard.db.database import Database, Tx
from taskyard.db.rows import ClaimedRow, Ending
from taskyard.queues import ensure_queue
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

WHO = st.integers(0, 7)
HEARD = st.sampled_from([True, True, False])
KINDS = st.sampled_from(
    [Kind.COMPLETED, Kind.FAILED, Kind.TIMEOUT, Kind.REJECTED, Kind.CANCELLED, Kind.INTERRUPTED]
)
TASK = st.fixed_dictionaries(
    {
        "task_type": st.sampled_from(["steady", ONCE]),
        "priority": st.integers(0, 1),
        "max_retries": st.integers(0, 2),
        "excl_key": st.sampled_from([None, "k", "l"]),
        "unique_key": st.sampled_from([None, None, "u"]),
    }
)
MEANWHILE = ["settle", "rescue", "take over", "claim", "certify", "to 0", "to 1", "to 4", "delete"]

# What may happen: how often, and with which arguments. One rule for all of it, because Hypothesis
# switches off half of the rules of a history, and little happens without claims.
ACTS: dict[str, tuple[int, tuple[st.SearchStrategy[Any], ...]]] = {
    "claim": (6, (WHO, st.integers(1, 3), HEARD)),
    "settle": (5, (WHO, KINDS, st.booleans(), HEARD)),
    "reconcile": (3, (WHO,)),
    "beat": (2, (WHO,)),
    "drain": (1, (WHO,)),
    "open_session": (2, ()),
    "lapse": (2, (WHO,)),
    "certify": (3, (WHO,)),
    "kill": (1, (WHO,)),
    "rescue": (3, ()),
    "enqueue": (3, (TASK,)),
    "insert": (1, ()),
    "cancel": (1, (WHO,)),
    "retry": (1, (WHO,)),
    "edit": (3, (WHO, st.sampled_from([PENDING, CANCELLED]))),
    "delete": (1, (WHO,)),
    "meanwhile": (
        6,
        (st.sampled_from(["rescue", "settle"]), st.sampled_from([1, 1, 2, 3, 3, 4]), st.sampled_from(MEANWHILE)),
    ),
}
ACT = st.sampled_from([name for name, (often, _) in ACTS.items() for _ in range(often)]).flatmap(
    lambda name: st.tuples(st.just(name), *ACTS[name][1])
)


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


class ProtocolMachine(RuleBasedStateMachine):
    """Each rule is one act of a Server, a rescuer, a person, or fate."""

    def __init__(self, db: Interruptible) -> None:
        super().__init__()
        self.db = db
        self.model = Reference(MAX_CRASHES)
        self.alive: list[Server] = []
        self.edited: set[int] = set()
        self.final: dict[int, int] = {}
        self.next_run_id = 1
        for table in (TABLE, "ty_runs", "ty_servers"):
            self._sql(f"DELETE FROM {table}")
        self.open_session()
        self.enqueue({"task_type": ONCE, "unique_key": None})
        self.enqueue({"task_type": "steady", "unique_key": None, "excl_key": "k"})

    @rule(act=ACT)
    def step(self, act: tuple[Any, ...]) -> None:
        name, *arguments = act
        getattr(self, name)(*arguments)

    # --- enqueue --------------------------------------------------------------------------------

    def enqueue(self, fields: dict[str, Any]) -> None:
        twin = [
            row
            for row in self.model.rows.values()
            if row.unique_key and row.unique_key == fields["unique_key"] and row.status < COMPLETED
        ]
        try:
            ref = enqueue(self.db, NewTask(queue=QUEUE, retry_interval=0.0, **fields))
        except DuplicateTask:
            assert twin
        else:
            assert not twin
            self.model.rows[ref.id] = Row(**fields)

    def insert(self) -> None:
        """By SQL, as any program may."""
        self._sql(f"INSERT INTO {TABLE} (task_type) VALUES ('steady')")
        newest = self.db.read(lambda tx: tx.value(f"SELECT MAX(id) FROM {TABLE}"))
        self.model.rows[newest] = Row("steady")

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
        for server in _one(self.alive, who):
            server.trusted = False
            past = self.db.dialect.utc_after("-60")
            where = f"WHERE session = '{server.session}'"
            self._sql(f"UPDATE ty_servers SET lease_until = {past} {where}")

    def certify(self, who: int) -> None:
        """Somebody declares a Server dead whose lease has ended; it knows nothing of it."""
        for server in _one(self.alive, who):
            lapsed = not server.trusted and self.model.states[server.session] != "dead"
            assert servers.certify_expired(self.db, server.session) == lapsed
            if lapsed:
                self.model.states[server.session] = "dead"

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
        for server in _one([server for server in self.alive if server.held], who):
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
            changed = [h for i, h in server.held.items() if owned.get(i) != (h.row.fence, RUNNING)]
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
                manage.cancel(self.db, TaskRef(QUEUE, TABLE, task_id))
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
                manage.retry(self.db, TaskRef(QUEUE, TABLE, task_id))
            except NotNow:
                assert row.status < COMPLETED or row.owner
            else:
                assert row.status >= COMPLETED and row.owner is None
                self.final.pop(task_id, None)
                row.status, row.retry_count, row.crashes = PENDING, 0, 0

    def edit(self, which: int, status: int) -> None:
        """By SQL, also of a row that runs; only we clear its `owner` (rulings 3.1)."""
        for task_id in _one(self._without_live_twin(), which):
            self._edit([task_id], status)
            self.model.rows[task_id].status = status

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

    @invariant()
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
        fences = Counter((run.task_id, run.fence) for run in runs.values())
        assert all(count == 1 for count in fences.values())
        ended = Counter(run.task_id for run in runs.values())
        for task_id, row in rows.items():
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
                assert row.owner is not None
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

    def teardown(self) -> None:
        """I8: when everybody has died, one new Server brings every Task to its end."""
        if sys.exc_info()[0] is None:  # else the history has failed already
            while self.alive:
                self.kill(0)
            self.rescue()
            self.open_session()
            while self.model.claimable():
                self.claim(0, 50, heard=True)
                self.settle(0, Kind.COMPLETED, many=True, heard=True)
            assert all(r.status >= COMPLETED and not r.owner for r in self._rows().values())
            self.every_claim_has_one_run_and_fences_only_rise()

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
        def remembered(task_id: int) -> ClaimedRow | None:
            return server.held[task_id].row if task_id in server.held else None

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


@pytest.fixture
def db(lane: str) -> Iterator[Interruptible]:
    db = Interruptible(lane)
    migrate.upgrade(db)
    ensure_queue(db, QUEUE)
    yield db
    db.close()


def _machine_on(db: Interruptible) -> type[RuleBasedStateMachine]:
    """The machine as Hypothesis wants it: a class that needs no arguments."""

    class OnThisDatabase(ProtocolMachine):
        def __init__(self) -> None:
            super().__init__(db)

    return OnThisDatabase


def examples(count: int, steps: int, **more: Any) -> settings:
    return settings(
        max_examples=count,
        stateful_step_count=steps,
        suppress_health_check=list(HealthCheck),
        **more,
    )


def test_the_verbs_keep_the_protocol_whatever_happens(db: Interruptible) -> None:
    # SQLite needs no round trips, so most of the histories are tried there.
    budget = examples(100, 40) if db.dialect.name == "sqlite" else examples(15, 30)
    run_state_machine_as_test(_machine_on(db), settings=budget)

"""The lease protocol holds on every database: at random, in chosen schedules, and not by luck.

Servers claim, die, sleep and come back as zombies; answers are lost and settles repeated; people
cancel, retry and edit rows by SQL, also in the middle of a rescue. After every act the tables must
be what `reference.py` says, and the invariants of the protocol must hold. At the end of a history
everybody dies, and every Task must still come to its end.

`formal/` checks the same protocol as a model, exhaustively; here it is the code that is checked.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from conformance.machine import MEANWHILE, QUEUE, Interruptible, Machine
from conformance.reference import CANCELLED, ONCE, PENDING
from taskyard import servers
from taskyard.core.lifecycle import Kind
from taskyard.db import dialect
from taskyard.db.database import Tx
from taskyard.db.rows import Claim, ClaimedRow, Ending, Settlement
from taskyard.db.sqlite import SQLite
from taskyard.queues import ensure_queue
from taskyard.tasks import change, rescue, settle

Act = tuple[Any, ...]


@pytest.fixture
def db(lane: str) -> Iterator[Interruptible]:
    db = Interruptible(lane)
    ensure_queue(db, QUEUE)
    yield db
    db.close()


# --- at random ----------------------------------------------------------------------------------

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
# What may happen: how often, and with which arguments. One rule for all of it, because Hypothesis
# switches off half of the rules of a history, and little happens without claims.
ACTS: dict[str, tuple[int, tuple[st.SearchStrategy[Any], ...]]] = {
    "claim": (6, (WHO, st.integers(1, 3), HEARD)),
    "settle": (5, (WHO, KINDS, st.booleans(), HEARD)),
    "reconcile": (2, (WHO,)),
    "beat": (1, (WHO,)),
    "drain": (1, (WHO,)),
    "open_session": (1, ()),
    "lapse": (1, (WHO,)),
    "certify": (2, (WHO,)),
    "make_zombie": (3, (WHO,)),
    "kill": (1, (WHO,)),
    "rescue": (3, ()),
    "enqueue": (3, (TASK,)),
    "insert": (1, ()),
    "cancel": (1, (WHO,)),
    "retry": (1, (WHO,)),
    "edit": (4, (WHO, st.sampled_from([PENDING, CANCELLED]))),
    "delete": (1, (WHO,)),
    "meanwhile": (
        8,
        (
            st.sampled_from(["rescue", "settle"]),
            st.sampled_from([1, 1, 2, 3, 3, 3, 4]),
            st.sampled_from(MEANWHILE),
        ),
    ),
}
ACT = st.sampled_from([name for name, (often, _) in ACTS.items() for _ in range(often)]).flatmap(
    lambda name: st.tuples(st.just(name), *ACTS[name][1])
)


def test_the_verbs_keep_the_protocol_whatever_happens(db: Interruptible) -> None:
    class Histories(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.machine = Machine(db)

        @rule(act=ACT)
        def step(self, act: Act) -> None:
            self.machine.act(*act)

        def teardown(self) -> None:
            if sys.exc_info()[0] is None:  # else the history has failed already
                self.machine.everything_ends()

    # SQLite needs no round trips, so most of the histories are tried there.
    count, steps = (150, 40) if db.dialect.name == "sqlite" else (15, 30)
    budget = settings(
        max_examples=count, stateful_step_count=steps, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Histories, settings=budget)


# --- in chosen schedules ------------------------------------------------------------------------

# A machine begins with two Servers, 0 and 1. Server 0 runs both Tasks there are: one that may be
# started only once, and one with the exclusive key "k".
SAME_KEY = {"task_type": "steady", "excl_key": "k", "unique_key": None}

SCHEDULES: dict[str, list[Act]] = {
    "an end that is sent twice does not end the next attempt": [
        ("settle", 0, Kind.FAILED, True, False),
        ("claim", 0, 3, False),
        ("settle", 0, Kind.FAILED, True, True),
    ],
    "a cancel by SQL stands, whatever the handler returns": [
        ("edit", 1, CANCELLED),
        ("edit", 2, CANCELLED),
        ("settle", 0, Kind.COMPLETED, True, True),
    ],
    "a zombie cannot end what was rescued and taken over": [
        ("make_zombie", 0),
        ("rescue",),
        ("claim", 1, 3, True),
        ("settle", 0, Kind.COMPLETED, True, True),
    ],
    "an old snapshot does not rescue what was taken over meanwhile": [
        ("make_zombie", 0),
        ("meanwhile", "rescue", 3, "take over"),
    ],
    "an old snapshot does not clear the next owner of an edited row": [
        ("edit", 1, PENDING),
        ("edit", 2, PENDING),
        ("make_zombie", 0),
        ("meanwhile", "rescue", 3, "take over"),
    ],
    "a second look at an edited row does not clear its next owner": [
        ("edit", 1, PENDING),
        ("edit", 2, PENDING),
        ("make_zombie", 0),
        ("meanwhile", "settle", 1, "take over"),
    ],
    "a Task that runs long is not rescued": [("rescue",)],
    "a Server whose lease has ended keeps its Tasks until it is declared dead": [
        ("lapse", 0),
        ("rescue",),
        ("beat", 0),
    ],
    "a Server that beats in time is not declared dead": [
        ("certify", 0),
        ("lapse", 0),
        ("beat", 0),
        ("certify", 0),
    ],
    "a Server that was declared dead stays dead": [("make_zombie", 0), ("beat", 0), ("rescue",)],
    "a dead Server claims nothing": [("insert",), ("make_zombie", 0), ("claim", 0, 1, True)],
    "a draining Server claims nothing": [("insert",), ("drain", 1), ("claim", 1, 1, True)],
    "a row put back by SQL is not claimed before its owner has stopped": [
        ("edit", 1, PENDING),
        ("edit", 2, PENDING),
        ("claim", 1, 3, True),
        ("reconcile", 0),
        ("claim", 1, 3, True),
    ],
    "a key is not free while the handler of an edited row runs": [
        ("edit", 1, PENDING),
        ("edit", 2, PENDING),
        ("enqueue", SAME_KEY),
        ("claim", 1, 3, True),
    ],
    "a cancelled Task keeps its owner until the handler has stopped": [
        ("cancel", 0),
        ("cancel", 1),
        ("retry", 0),
        ("retry", 1),
        ("claim", 1, 3, True),
        ("reconcile", 0),
        ("retry", 0),
        ("retry", 1),
        ("claim", 1, 3, True),
    ],
    "a claim whose answer was lost is handed back": [
        ("insert",),
        ("claim", 1, 1, False),
        ("reconcile", 1),
    ],
    "a deleted Task leaves one Run": [
        ("delete", 0),
        ("settle", 0, Kind.COMPLETED, True, False),
        ("settle", 0, Kind.COMPLETED, True, True),
    ],
    "a Task that may run once is failed when its Server dies": [("kill", 0), ("rescue",)],
    "a row put back to running while a rescuer closes it is not left without an owner": [
        ("edit", 1, PENDING),
        ("edit", 2, PENDING),
        ("make_zombie", 0),
        ("meanwhile", "rescue", 3, "to 1"),
    ],
    "a row put back to running while its owner closes it is not left without an owner": [
        ("edit", 1, PENDING),
        ("edit", 2, PENDING),
        ("meanwhile", "settle", 1, "to 1"),
    ],
    "a row at status 1 that nobody owns goes back to the line": [
        ("kill", 0),
        ("rescue",),
        ("mark_running", 0),
        ("rescue",),
    ],
    "a row with a negative id is rescued like any other": [
        ("insert", -5),
        ("claim", 1, 1, True),
        ("kill", 1),
        ("rescue",),
    ],
    "an end does not reach a new row that has come under the id of a deleted one": [
        ("insert_again", 0),
        ("claim", 0, 1, False),
        ("settle", 0, Kind.COMPLETED, True, True),
    ],
}


# What the verbs do not keep yet. Whoever mends one moves it up, and its acts into ACTS.
def test_the_protocol_holds_in_chosen_schedules(db: Interruptible) -> None:
    for schedule in SCHEDULES:
        play(db, SCHEDULES, schedule)


def play(db: Interruptible, schedules: dict[str, list[Act]], schedule: str) -> None:
    machine = Machine(db)
    try:
        for act in schedules[schedule]:
            machine.act(*act)
        machine.everything_ends()
    except Exception as error:
        error.add_note(f"It should be so: {schedule}.")
        raise


# --- and not by luck: without its guard, each schedule fails ------------------------------------


def settle_without_the_fence(patch: pytest.MonkeyPatch) -> None:
    def believe(tx: Tx, table: str, owner: str, ending: Ending) -> tuple[str, Ending]:
        fence, _, run_id = row_of(tx, table, ending.id)
        return owner, ending._replace(fence=fence, run_id=run_id)

    settle_after(patch, believe)


def settle_whatever_the_status(patch: pytest.MonkeyPatch) -> None:
    def put_back(tx: Tx, table: str, owner: str, ending: Ending) -> tuple[str, Ending]:
        tx.execute(f"UPDATE {table} SET status = 1 WHERE id = {ending.id} AND owner = '{owner}'")
        return owner, ending

    settle_after(patch, put_back)


def clear_the_owner_by_id(patch: pytest.MonkeyPatch) -> None:
    guard = " AND run_id = :run_id AND fence = :fence AND owner = :owner"
    without(patch, settle, "_CLEAR_OWNER", guard)
    without(patch, settle, "_EDITED", " AND run_id = :run_id")


def rescue_by_age(patch: pytest.MonkeyPatch) -> None:
    sessions_are_dead(patch, lambda session: True)


def rescue_without_certificate(patch: pytest.MonkeyPatch) -> None:
    sessions_are_dead(patch, lambda session: session.lease_left < 0)


def certify_whoever(patch: pytest.MonkeyPatch) -> None:
    without(patch, servers, "_CERTIFY", " AND lease_until < {now}")


def beat_as_a_dead_session(patch: pytest.MonkeyPatch) -> None:
    without(patch, servers, "_BEAT", " AND state IN ('live', 'draining')")


def claim_as_any_session(patch: pytest.MonkeyPatch) -> None:
    def pretend(tx: Tx, claim: Claim) -> None:
        tx.execute(f"UPDATE ty_servers SET state = 'live' WHERE session = '{claim.owner}'")

    claim_after(patch, pretend)


def claim_what_is_owned(patch: pytest.MonkeyPatch) -> None:
    def disown(tx: Tx, claim: Claim) -> None:
        tx.execute(f"UPDATE {claim.table} SET owner = NULL WHERE status = 0")

    claim_after(patch, disown)


def a_key_by_status(patch: pytest.MonkeyPatch) -> None:
    free = dialect._FREE_HEADS
    by_status = free.replace("r.owner IS NOT NULL", "r.status = 1")
    assert by_status != free
    patch.setattr(dialect, "_FREE_HEADS", by_status)
    original = SQLite.index_statements

    def without_the_key(*arguments: Any) -> list[str]:
        return [sql for sql in original(*arguments) if "(excl_key) WHERE" not in sql]

    patch.setattr(SQLite, "index_statements", without_the_key)


def cancel_clears_the_owner(patch: pytest.MonkeyPatch) -> None:
    sql = change._CANCEL_RUNNING
    patch.setattr(change, "_CANCEL_RUNNING", sql.replace("SET status", "SET owner = NULL, status"))


def retry_what_still_runs(patch: pytest.MonkeyPatch) -> None:
    without(patch, change, "_RETRY", " AND owner IS NULL")


GUARDS = [
    (settle_without_the_fence, "an end that is sent twice does not end the next attempt"),
    (settle_whatever_the_status, "a cancel by SQL stands, whatever the handler returns"),
    (clear_the_owner_by_id, "an old snapshot does not clear the next owner of an edited row"),
    (rescue_by_age, "a Task that runs long is not rescued"),
    (
        rescue_without_certificate,
        "a Server whose lease has ended keeps its Tasks until it is declared dead",
    ),
    (certify_whoever, "a Server that beats in time is not declared dead"),
    (beat_as_a_dead_session, "a Server that was declared dead stays dead"),
    (claim_as_any_session, "a dead Server claims nothing"),
    (claim_as_any_session, "a draining Server claims nothing"),
    (claim_what_is_owned, "a row put back by SQL is not claimed before its owner has stopped"),
    (a_key_by_status, "a key is not free while the handler of an edited row runs"),
    (cancel_clears_the_owner, "a cancelled Task keeps its owner until the handler has stopped"),
    (retry_what_still_runs, "a cancelled Task keeps its owner until the handler has stopped"),
]


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("take_away", "schedule"), GUARDS)
def test_the_schedule_fails_without_the_guard(
    lane: str,
    take_away: Callable[[pytest.MonkeyPatch], None],
    schedule: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_away(monkeypatch)
    db = Interruptible(lane)
    ensure_queue(db, QUEUE)
    # Or the primary key of `ty_runs`, which is there for that, stops it (rulings 3.1).
    with pytest.raises((AssertionError, sqlite3.IntegrityError)):
        play(db, SCHEDULES, schedule)
    db.close()


def settle_after(
    patch: pytest.MonkeyPatch, change: Callable[[Tx, str, str, Ending], tuple[str, Ending]]
) -> None:
    """Let `change` prepare each row, or what is written to it, so that a guard lets it pass."""
    original = SQLite.settle

    def changed(self: SQLite, tx: Tx, settlement: Settlement) -> set[int]:
        hit: set[int] = set()
        for ending in settlement.endings:
            owner, written = change(tx, settlement.table, settlement.owner, ending)
            hit |= original(self, tx, replace(settlement, owner=owner, endings=[written]))
        return hit

    patch.setattr(SQLite, "settle", changed)


def claim_after(patch: pytest.MonkeyPatch, prepare: Callable[[Tx, Claim], None]) -> None:
    original = SQLite.claim

    def prepared(self: SQLite, tx: Tx, claim: Claim) -> list[ClaimedRow]:
        prepare(tx, claim)
        return original(self, tx, claim)

    patch.setattr(SQLite, "claim", prepared)


def sessions_are_dead(
    patch: pytest.MonkeyPatch, dead: Callable[[servers.SessionRow], bool]
) -> None:
    def believed(*arguments: Any, **keywords: Any) -> list[servers.SessionRow]:
        return [
            replace(session, state="dead") if dead(session) else session
            for session in servers.sessions(*arguments, **keywords)
        ]

    patch.setattr(rescue, "sessions", believed)


def without(patch: pytest.MonkeyPatch, module: Any, name: str, guard: str) -> None:
    sql = getattr(module, name)
    assert guard in sql, f"{name} has changed: say anew what its guard is"
    patch.setattr(module, name, sql.replace(guard, ""))


def row_of(tx: Tx, table: str, task_id: int) -> tuple[Any, ...]:
    row = tx.one(f"SELECT fence, owner, run_id FROM {table} WHERE id = {task_id}")
    assert row is not None
    return row

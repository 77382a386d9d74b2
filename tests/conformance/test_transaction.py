"""ctx.transaction(): a handler's writes and the end of its Task commit together, or neither."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa

from support import wait_for
from taskyard import servers
from taskyard.access.caller import LOCAL
from taskyard.context import Call, Context
from taskyard.core.errors import NotNow, PayloadTooLarge, TaskLost
from taskyard.db.database import Database, shared
from taskyard.engine.transaction import Transactions
from taskyard.handlers import Handler, Registry
from taskyard.queues import create_queue
from taskyard.tasks.claim import Ask, claim
from taskyard.tasks.enqueue import NewTask, enqueue


@dataclass
class Claimed:
    """A Task that this test has claimed, as its runner sees it."""

    db: Database
    context: Context
    table: str

    @property
    def effects(self) -> int:
        return int(self.db.read(lambda tx: tx.value("SELECT COUNT(*) FROM effects")))

    def row(self) -> dict[str, Any]:
        sql = f"SELECT status, owner, run_id FROM {self.table} WHERE id = :id"
        return self.db.read(lambda tx: tx.rows(sql, id=self.context.task_id))[0]

    def runs(self) -> list[dict[str, Any]]:
        return self.db.read(
            lambda tx: tx.rows("SELECT id, status, output, payload, fence FROM ty_runs")
        )


@pytest.fixture
def claimed(lane: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Claimed]:
    monkeypatch.setenv("TASKYARD_DATABASE_URL", lane)
    monkeypatch.setenv("TASKYARD_SERVER_ID", "server-1")
    db = shared(lane, pooler=False, notify=True, synchronous="NORMAL")
    create_queue(db, LOCAL, "work", table_name="work_tasks")
    db.run(lambda tx: tx.execute("CREATE TABLE effects (n integer)"))
    servers.register(db, "session-1", "server-1", lease=60, runners=1)
    enqueue(db, LOCAL, NewTask("pay", '{"amount": 3, "pin": "1234"}', queue="work"))
    types = frozenset({"pay"})
    ask = Ask("work_tasks", "work", "session-1", "server-1", 1, 77, types, types)
    (row,) = wait_for(lambda: claim(db, ask).rows, what="a claim")
    call = Call(77, "work_tasks", row.id, row.fence, "pay", "work", row.task_params)
    context = Context(call, _Reporter(Transactions("session-1", _registry())))
    context.begin(0.0)
    yield Claimed(db, context, "work_tasks")
    db.close()


class _Reporter:
    """The one thing of a runner that this is about."""

    def __init__(self, transactions: Transactions) -> None:
        self.transaction = transactions.open

    def progress(self, *told: object) -> None: ...
    def checkpoint(self, *told: object) -> None: ...


def _registry() -> Registry:
    from taskyard.core.signature import Secret

    def pay(amount: int, pin: Secret[str]) -> None: ...

    pay.__annotations__.update(pin=Secret[str])
    registry = Registry()
    registry.add(Handler(pay, "pay"))
    return registry


once = pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
"""For what no database does differently."""


def pay(tx: Any) -> None:
    tx.connection.execute(sa.text("INSERT INTO effects (n) VALUES (1)"))


def test_effects_and_the_end_of_the_task_are_written_together(claimed: Claimed) -> None:
    with claimed.context.transaction() as tx:
        pay(tx)
        tx.result = {"paid": 3}

    assert claimed.effects == 1
    assert claimed.row() == {"status": 2, "owner": None, "run_id": 77}
    (run,) = claimed.runs()
    assert (run["status"], run["output"], run["fence"]) == ("completed", '{"paid":3}', 1)
    assert claimed.context.settled


@once
def test_secrets_do_not_enter_the_run(claimed: Claimed) -> None:
    with claimed.context.transaction():
        pass

    assert "1234" not in claimed.runs()[0]["payload"]


def test_nothing_is_written_when_the_block_raises(claimed: Claimed) -> None:
    def handler() -> None:
        with claimed.context.transaction() as tx:
            pay(tx)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        handler()

    assert claimed.effects == 0
    assert claimed.row()["status"] == 1
    assert claimed.runs() == []
    assert not claimed.context.settled


@pytest.mark.parametrize(
    "change", ["status = 4", "owner = 'another'", "fence = fence + 1", "status = 0"]
)
def test_nothing_is_written_when_the_claim_was_taken_away(claimed: Claimed, change: str) -> None:
    claimed.db.run(lambda tx: tx.execute(f"UPDATE work_tasks SET {change}"))

    with pytest.raises(TaskLost), claimed.context.transaction() as tx:
        pay(tx)

    assert claimed.effects == 0
    assert claimed.runs() == []


@once
def test_nothing_is_written_when_its_outcome_has_been_sent_already(claimed: Claimed) -> None:
    claimed.context.end()

    with pytest.raises(TaskLost), claimed.context.transaction() as tx:
        pay(tx)

    assert claimed.effects == 0


@once
def test_a_result_that_cannot_be_kept_rolls_everything_back(claimed: Claimed) -> None:
    def handler() -> None:
        with claimed.context.transaction() as tx:
            pay(tx)
            tx.result = "x" * 1_000_000

    with pytest.raises(PayloadTooLarge):
        handler()

    assert claimed.effects == 0
    assert claimed.row()["status"] == 1


@once
def test_an_attempt_has_one_transaction(claimed: Claimed) -> None:
    with claimed.context.transaction():
        pass

    with pytest.raises(NotNow, match="settled already"):
        claimed.context.transaction()


@once
def test_after_a_failed_transaction_there_may_be_another(claimed: Claimed) -> None:
    with pytest.raises(RuntimeError), claimed.context.transaction():
        raise RuntimeError

    with claimed.context.transaction() as tx:
        pay(tx)

    assert claimed.effects == 1
    assert claimed.row()["status"] == 2


@once
def test_a_coroutine_is_told_that_it_cannot(claimed: Claimed) -> None:
    async def handler() -> None:
        with claimed.context.transaction():
            pass

    with pytest.raises(TypeError, match="in `def` handlers only"):
        asyncio.run(handler())


def test_a_task_enqueued_inside_belongs_to_the_transaction(claimed: Claimed) -> None:
    def handler() -> None:
        with claimed.context.transaction() as tx:
            enqueue(claimed.db, LOCAL, NewTask("next", queue="work"), connection=tx.connection)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        handler()

    count = claimed.db.read(lambda tx: tx.value("SELECT COUNT(*) FROM work_tasks"))
    assert count == 1

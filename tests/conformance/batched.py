"""Batched: batches on a spine, and workers that are told when to take, to settle, and to die.

Owns what the tests of batches share. A worker is the real loop or the real transaction of one; only
the process around it is missing, so that a test can stop it anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from conformance.spine import Spine
from taskyard.access.caller import LOCAL
from taskyard.batches import chunk, create, ending, exchange, keeper
from taskyard.batches.exchange import Answer, Done, Worker
from taskyard.batches.handler import BatchHandler, BatchOptions
from taskyard.context import Call, Context, unattended
from taskyard.db.rows import ClaimedRow
from taskyard.tasks import rescue

TABLE = "batches_tasks"


class Batched:
    """The batches of one database, of one type: "check"."""

    def __init__(self, spine: Spine) -> None:
        self.spine = spine
        self.db = spine.db
        self.seen: list[Any] = []
        self.act: Callable[[Any], Any] = lambda item: None
        self.context = unattended("check")
        self.handler = self.register()

    def register(self, **options: Any) -> BatchHandler[Any]:
        """The handler "check", anew with other options; it calls `act` and notes what it saw."""

        def check(item: int, ctx: Context, factor: int = 1) -> Any:
            self.seen.append(item)
            self.context = ctx
            return self.act(item)

        self.handler = BatchHandler(check, "check", cast("BatchOptions", options), lambda: self.db)
        return self.handler

    def add(self, items: Any = range(1, 11), caller: Any = LOCAL, **fields: Any) -> int:
        """A batch by the verb; started unless told otherwise."""
        start = fields.pop("start", True)
        given = {"task_type": "check", **fields}
        made = create.create_batch(
            self.db, caller, given, items, start=start, spec=self.handler.spec
        )
        return int(made["id"])

    # --- workers ----------------------------------------------------------------------------------

    def claim(self, session: str | None = None) -> ClaimedRow:
        """Claim the next Task of a slot for a Session."""
        [row] = self.spine.claim(1, **self._ask(session))
        return row

    def worker(self, session: str | None = None) -> Worker:
        """A worker that has its Task, and nothing in hand."""
        return self.worker_of(self.claim(session))

    def worker_of(self, row: ClaimedRow) -> Worker:
        """The worker of a claimed Task."""
        data = Context(self._call(row), unattended("check")._reporter).data
        place = (TABLE, row.id, row.run_id, ending.ready(self.db))
        return Worker(data["batch_id"], data["slot"], *place)

    def turn(self, worker: Worker, done: Sequence[Done] = (), want: int = 1, **how: bool) -> Answer:
        """One transaction of a worker."""
        given = {"first": False, "hand_over": False, **how}
        return self.db.run(lambda tx: exchange.exchange(tx, worker, done, want, **given))

    def work(self, session: str | None = None) -> list[str]:
        """Work through everything that is due as servers would; the statuses of the Runs."""
        owner = session or self.spine.me
        ends: list[str] = []
        while rows := self.spine.claim(1, **self._ask(session)):
            context = Context(self._call(rows[0]), unattended("check")._reporter)
            chunk.work(self.handler, context)
            self.spine.settle(self._ended(rows[0]), owner, table=TABLE, queue="batches")
            ends.append("completed")
        return ends

    def lose(self, session: str) -> None:
        """The Session is dead, and its Tasks are given back."""
        self.spine.kill(session)
        rescue.rescue(self.db, TABLE, max_crashes=5)

    def keep(self) -> int:
        return keeper.keep(self.db)

    def _ask(self, session: str | None) -> dict[str, Any]:
        known = frozenset({"check"})
        return {
            "table": TABLE,
            "queue": "batches",
            "known": known,
            "session": session or self.spine.me,
        }

    def _call(self, row: ClaimedRow) -> Call:
        return Call(
            run_id=row.run_id,
            task_table=TABLE,
            task_id=row.id,
            fence=row.fence,
            task_type=row.task_type,
            queue="batches",
            max_retries=row.max_retries,
            retry_count=row.retry_count,
            attempt=row.retry_count + 1,
            tenant_id=row.tenant_id,
            origin=row.origin,
            context=row.context,
        )

    def _ended(self, row: ClaimedRow) -> Any:
        from conformance.spine import ended

        return ended(row)

    # --- looking ----------------------------------------------------------------------------------

    def row(self, batch: int) -> dict[str, Any]:
        [found] = self.spine.rows("SELECT * FROM ty_batches WHERE id = :id", id=batch)
        return found

    def status(self, batch: int) -> str:
        return str(self.row(batch)["status"])

    def items(self, batch: int) -> list[dict[str, Any]]:
        sql = "SELECT * FROM ty_batch_items WHERE batch_id = :id ORDER BY id"
        return self.spine.rows(sql, id=batch)

    def counts(self, batch: int) -> tuple[int, int, int, int, int]:
        """total, processed, success, failed, skipped; checked against the items (I11)."""
        row = self.row(batch)
        found = {item["status"]: 0 for item in self.items(batch)}
        for item in self.items(batch):
            found[item["status"]] += 1
        good, bad = found.get("completed", 0), found.get("failed", 0)
        counted = (sum(found.values()), good + bad, good, bad, found.get("skipped", 0))
        told = tuple(
            row[f"{n}_count"] for n in ("total", "processed", "success", "failed", "skipped")
        )
        assert told == counted
        return counted

    def tasks(self) -> list[dict[str, Any]]:
        """The Tasks of slots that wait or run."""
        quoted = self.db.dialect.quote(TABLE)
        return self.spine.rows(f"SELECT * FROM {quoted} WHERE status IN (0, 1) ORDER BY id")

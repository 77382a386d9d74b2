"""Batch facts: what tests of batches on real servers ask, by the database's clock and by the file.

Owns their creation as a person does it, and every figure that a promise about time is held to: the
times that the database has recorded, not those at which a test came to look.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from harness.servers import Fleet, run_command
from harness.sql import Database
from harness.waiting import wait_until
from taskyard.db.database import Database as OurDatabase

NAMES = ("total", "processed", "success", "failed", "skipped")


def create(fleet: Fleet, items: int, *options: str, handler: str = "check") -> int:
    """A batch of so many items by the command line."""
    file = fleet.folder / "items.jsonl"
    file.write_text("".join(f"{n}\n" for n in range(items)))
    arguments = ("batch", "create", handler, "--items", str(file), *options)
    return int(run_command(fleet.url, *arguments, folder=fleet.folder))


def steer(fleet: Fleet, verb: str, batch: int) -> None:
    """Pause, resume, cancel: by the command line as well."""
    run_command(fleet.url, "batch", verb, str(batch), folder=fleet.folder)


def processed(fleet: Fleet) -> list[int]:
    """The items that were worked through, in order, from the file that the handler appends to."""
    return [item for item, _ in worked(fleet)]


def worked(fleet: Fleet) -> list[tuple[int, float]]:
    """The same, each with when it was through by the machine's monotonic clock."""
    file = fleet.folder / "items.log"
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [(int(item), float(at)) for item, _, at in lines]


def wait_for_items(fleet: Fleet, count: int, within: float = 60) -> None:
    """Wait until so many items are through."""
    what = f"{count} items are through"
    wait_until(lambda: len(processed(fleet)) >= count, within, what, detail=fleet.logs)


def wait_for_status(fleet: Fleet, db: Database, batch: int, status: str, within: float) -> None:
    """Wait until the batch has come so far."""
    sql = f"SELECT status FROM ty_batches WHERE id = {batch}"
    what = f"the batch is {status}"
    wait_until(lambda: db.value(sql, patient=5) == status, within, what, detail=fleet.logs)


def counts(db: Database, batch: int) -> dict[str, int]:
    """The batch's counters, which must be those of its items."""
    columns = ", ".join(f"{name}_count AS {name}" for name in NAMES)
    [told] = db.run(f"SELECT {columns} FROM ty_batches WHERE id = {batch}")
    counted = by_status(db, batch)
    assert told["success"] == counted.get("completed", 0)
    assert told["failed"] == counted.get("failed", 0)
    assert told["skipped"] == counted.get("skipped", 0)
    assert told["total"] == sum(counted.values())
    return {name: int(told[name]) for name in NAMES}


def by_status(db: Database, batch: int) -> dict[str, int]:
    """How many items there are of each status."""
    rows = db.run(
        f"SELECT status, COUNT(*) AS n FROM ty_batch_items WHERE batch_id = {batch} GROUP BY status"
    )
    return {row["status"]: int(row["n"]) for row in rows}


def wait_over(fleet: Fleet, db: Database, batch: int, within: float) -> dict[str, int]:
    """Wait for the end, which has both times; the counters."""
    wait_for_status(fleet, db, batch, "completed", within)
    times = f"SELECT COUNT(*) AS n FROM ty_batches WHERE id = {batch}"
    assert db.value(f"{times} AND started_at < completed_at") == 1
    return counts(db, batch)


class Clock:
    """Times as the database has recorded them, in seconds since 1970."""

    def __init__(self, db: OurDatabase) -> None:
        self._db = db

    def now(self) -> float:
        """Its clock."""
        return self._ask(self._db.dialect.utc_now)

    def audited(self, action: str) -> float:
        """When somebody did this last."""
        sql = f"(SELECT MAX({self._epoch('at')}) FROM ty_audit WHERE action = '{action}')"
        return self._ask(sql, epoch=False)

    def items(self, column: str, where: str) -> list[float]:
        """One time of each item of this kind, in order."""
        sql = f"SELECT {self._epoch(column)} FROM ty_batch_items WHERE {where} ORDER BY {column}"
        return [float(row[0]) for row in self._db.read(lambda tx: tx.all(sql))]

    def _epoch(self, column: str) -> str:
        return self._db.dialect.epoch(column)

    def _ask(self, expression: str, epoch: bool = True) -> float:
        asked = self._epoch(expression) if epoch else expression
        found: Any = self._db.read(lambda tx: tx.value(f"SELECT {asked}"))
        return float(found)


@contextmanager
def clock(url: str) -> Iterator[Clock]:
    """The clock of a database."""
    with closing(OurDatabase(url)) as db:
        yield Clock(db)

"""Storms: many faults of one kind, spread evenly over the work instead of over the clock."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from harness.history import judge_table, outlived, overlaps, repeats, statuses
from harness.servers import Fleet
from harness.sql import Database
from harness.waiting import wait_until

KILLED_HANDLERS_GRACE = 2.0
"""Seconds a handler may go on after a kill of its supervisor: pipe EOF and PDEATHSIG take < 1."""


def strike(fleet: Fleet, total: int, faults: int, blow: Callable[[], None], within: float) -> None:
    """Strike ``faults`` times while ``total`` handlers come to their ends, at even steps.

    Progress, not time: on a slow machine a storm by the clock hits a fleet that has not begun.
    """
    deadline = time.monotonic() + within
    for number in range(faults):
        _wait_ended(fleet, total * (number + 1) // (faults + 2), deadline - time.monotonic())
        blow()


def _wait_ended(fleet: Fleet, mark: int, within: float) -> None:
    wait_until(
        lambda: fleet.journal.count("end") >= mark,
        max(1.0, within),
        f"{mark} handlers ended",
        detail=fleet.logs,
    )


def kill_one(fleet: Fleet, rng: random.Random) -> Callable[[], None]:
    """A blow: kill -9 of a random living supervisor, which is started again at once."""

    def blow() -> None:
        server = rng.choice([s for s in fleet.servers.values() if s.alive])
        server.kill()
        server.start()

    return blow


def wait_completed(fleet: Fleet, db: Database, table: str, total: int, within: float) -> None:
    """Wait until all rows of a task table stand at 2."""
    wait_until(
        lambda: statuses(db, table) == {2: total},
        within,
        f"{total} rows of {table} at status 2",
        every=0.2,
        detail=lambda: f"{statuses(db, table)} {fleet.logs()}",
    )


def findings(fleet: Fleet, db: Database, table: str, inserted: list[int]) -> list[str]:
    """Every broken promise the journal and the database know of."""
    attempts, kills = fleet.journal.attempts(table), fleet.kills
    unexpected = {a.task_id for a in attempts} - set(inserted)
    return [
        *(f"unexpected: {table}/{task_id} was run" for task_id in unexpected),
        *overlaps(attempts, kills),
        *repeats(attempts, kills),
        *outlived(attempts, kills, KILLED_HANDLERS_GRACE),
        *judge_table(db, table, inserted),
    ]

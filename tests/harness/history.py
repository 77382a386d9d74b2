"""The judge: reads what handlers wrote and what the database says, and names every broken promise.

Owns the words of a finding: *lost*, *unexpected*, *overlap*, *repeat*, *outlived*, *stale
accepted*, *fence*, *owner*. A finding is a sentence with the task's address, so that a failing run
can be read without a debugger.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from harness.sql import Database

Address = tuple[str, int]

TERMINAL = (2, 3, 4)
COMPLETED, FAILED, CANCELLED, INTERRUPTED, LOST, TIMEOUT = (
    "completed",
    "failed",
    "cancelled",
    "interrupted",
    "lost",
    "timeout",
)


@dataclass(frozen=True)
class Attempt:
    """One run of a handler as it saw itself; ``ended`` is None if it never got there."""

    table: str
    task_id: int
    fence: int
    run_id: int
    supervisor: int
    pid: int
    started: float
    ended: float | None
    cancelled: float | None
    seen: float
    """Its last sign of life, of whatever kind."""

    @property
    def address(self) -> Address:
        return (self.table, self.task_id)

    @property
    def stopped(self) -> float | None:
        """When the handler left, by its own word: at its end or at its cancellation."""
        return self.ended if self.ended is not None else self.cancelled

    def __str__(self) -> str:
        return f"{self.table}/{self.task_id} fence {self.fence} (supervisor {self.supervisor})"


class Journal:
    """The append-only file of the handlers, readable at any time while they write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> Iterator[dict[str, object]]:
        """The whole lines so far."""
        if not self.path.exists():
            return
        for line in self.path.read_bytes().split(b"\n"):
            if line.endswith(b"}"):
                yield json.loads(line)

    def attempts(self, table: str | None = None) -> list[Attempt]:
        """Attempts in order of their start."""
        runs: dict[tuple[object, ...], dict[str, dict[str, object]]] = {}
        for line in self.lines():
            key = (line["table"], line["id"], line["fence"], line["pid"])
            runs.setdefault(key, {})[str(line["event"])] = line
        made = [_attempt(events) for events in runs.values() if "start" in events]
        return sorted(
            (a for a in made if table is None or a.table == table), key=lambda a: a.started
        )

    def count(self, event: str) -> int:
        """How many lines of one event so far; cheap enough to ask in a loop."""
        if not self.path.exists():
            return 0
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        return whole.count(f'"event": "{event}"'.encode())

    def starts_of(self, task_id: int, table: str | None = None) -> list[Attempt]:
        return [a for a in self.attempts(table) if a.task_id == task_id]


def _attempt(events: Mapping[str, Mapping[str, object]]) -> Attempt:
    start = events["start"]
    at = {name: float(str(line["at"])) for name, line in events.items()}
    return Attempt(
        table=str(start["table"]),
        task_id=int(str(start["id"])),
        fence=int(str(start["fence"])),
        run_id=int(str(start["run"])),
        supervisor=int(str(start["supervisor"])),
        pid=int(str(start["pid"])),
        started=at["start"],
        ended=at.get("end"),
        cancelled=at.get("cancelled"),
        seen=max(at.values()),
    )


def overlaps(attempts: Iterable[Attempt], killed: Collection[int] = ()) -> list[str]:
    """Two attempts of one Task at the same time, unless the earlier one's server was killed.

    An attempt without an end counts as going on for ever: only a kill excuses it.
    """
    found = []
    for runs in _by_address(attempts).values():
        for earlier, later in pairwise(runs):
            if earlier.supervisor in killed:
                continue
            if earlier.stopped is None or earlier.stopped > later.started:
                found.append(f"overlap: {later} started while {earlier} went on")
    return found


def repeats(attempts: Iterable[Attempt], killed: Collection[int] = ()) -> list[str]:
    """A Task that came to its end and was run again although nobody killed its server."""
    found = []
    for runs in _by_address(attempts).values():
        for earlier, later in pairwise(runs):
            if earlier.ended is not None and earlier.supervisor not in killed:
                found.append(f"repeat: {later} came after the end of {earlier}")
    return found


def outlived(attempts: Iterable[Attempt], kills: Mapping[int, float], grace: float) -> list[str]:
    """Handlers of a killed supervisor that reached their end more than ``grace`` seconds later."""
    return [
        f"outlived: {a} ended {a.ended - kills[a.supervisor]:.2f} s after its supervisor was killed"
        for a in attempts
        if a.ended is not None and a.supervisor in kills and a.ended > kills[a.supervisor] + grace
    ]


def busiest(attempts: Iterable[Attempt], supervisor: int, since: float) -> int:
    """The largest number of attempts of one supervisor at any one time after ``since``."""
    edges = []
    for a in attempts:
        if a.supervisor == supervisor and (a.stopped is None or a.stopped > since):
            edges.append((max(a.started, since), 1))
            edges.append((a.stopped if a.stopped is not None else float("inf"), -1))
    most = now = 0
    for _, step in sorted(edges):
        now += step
        most = max(most, now)
    return most


def judge_table(db: Database, table: str, inserted: Collection[int]) -> list[str]:
    """Everything the database itself must satisfy when all work on a table has ended.

    Lost and unfinished rows, owners left behind, fences that are not the number of Runs, completed
    Tasks without exactly one completed Run, and results of stale runs that were accepted.
    """
    tasks = {row["id"]: row for row in db.run(f"SELECT id, status, fence, owner FROM {table}")}
    runs: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for row in db.run(
        "SELECT task_id, fence, status FROM ty_runs WHERE task_table = ? ORDER BY task_id, fence",
        table,
    ):
        runs[int(row["task_id"])].append((int(row["fence"]), str(row["status"])))
    return [*_judge_rows(table, tasks, inserted), *_judge_runs(table, tasks, runs)]


def _judge_rows(
    table: str, tasks: Mapping[int, Mapping[str, object]], inserted: Collection[int]
) -> Iterator[str]:
    for task_id in inserted:
        if task_id not in tasks:
            yield f"lost: {table}/{task_id} has no row any more"
    for task_id in tasks.keys() - set(inserted):
        yield f"unexpected: nobody inserted {table}/{task_id}"
    for task_id, task in tasks.items():
        if task["status"] not in TERMINAL:
            yield f"lost: {table}/{task_id} stands at status {task['status']}"
        if task["owner"] is not None:
            yield f"owner: {table}/{task_id} at status {task['status']} is owned by {task['owner']}"


def _judge_runs(
    table: str,
    tasks: Mapping[int, Mapping[str, object]],
    runs: Mapping[int, list[tuple[int, str]]],
) -> Iterator[str]:
    for task_id, task in tasks.items():
        mine = runs.get(task_id, [])
        fences = [fence for fence, _ in mine]
        if fences != list(range(1, int(str(task["fence"])) + 1)):
            yield f"fence: {table}/{task_id} was claimed {task['fence']} times, its Runs are {mine}"
        completed = [fence for fence, status in mine if status == COMPLETED]
        if task["status"] == 2 and len(completed) != 1:
            yield f"stale accepted: {table}/{task_id} is completed with the Runs {mine}"
        if completed and completed[-1] != max(fences):
            yield f"repeat: {table}/{task_id} was claimed again after it completed: {mine}"


def statuses(db: Database, table: str) -> dict[int, int]:
    """How many rows of a task table stand at each status."""
    found = db.run(f"SELECT status, COUNT(*) AS n FROM {table} GROUP BY status", patient=30)
    return {int(row["status"]): int(row["n"]) for row in found}


def runs_of(db: Database, table: str, task_id: int) -> list[str]:
    """The statuses of a Task's finished Runs in the order of its claims."""
    rows = db.run(
        "SELECT status FROM ty_runs WHERE task_table = ? AND task_id = ? ORDER BY fence",
        table,
        task_id,
    )
    return [str(row["status"]) for row in rows]


def _by_address(attempts: Iterable[Attempt]) -> dict[Address, list[Attempt]]:
    grouped: dict[Address, list[Attempt]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda a: (a.fence, a.started)):
        grouped[attempt.address].append(attempt)
    return grouped

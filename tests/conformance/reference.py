"""Reference: the lease protocol as a few dictionaries, to hold the real verbs against.

Owns what each verb must do to Tasks, Runs and Sessions, said as plainly as can be: no SQL, no
batches, no retries. What is due when, and in which order rows are taken, it leaves to the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from taskyard.core.lifecycle import TaskStatus
from taskyard.db.rows import ClaimedRow, Ending
from taskyard.tasks.rescue import Owned

PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = (int(status) for status in TaskStatus)
ONCE = "once"
"""The task type that must never be started twice (at most once)."""


@dataclass
class Row:
    """A Task: what the protocol turns on."""

    task_type: str
    priority: int = 0
    max_retries: int = 3
    excl_key: str | None = None
    unique_key: str | None = None
    status: int = PENDING
    fence: int = 0
    owner: str | None = None
    run_id: int | None = None
    retry_count: int = 0
    crashes: int = 0

    @property
    def facts(self) -> tuple[object, ...]:
        """What is compared with the row in the database."""
        return (
            self.status,
            self.fence,
            self.owner,
            self.run_id,
            self.retry_count,
            self.crashes,
        )


@dataclass(frozen=True)
class Run:
    """A finished Run."""

    task_id: int
    fence: int
    status: str
    session: str


@dataclass
class Reference:
    """What the three tables should hold."""

    max_crashes: int
    rows: dict[int, Row] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    """State of each Session."""

    # --- claim ----------------------------------------------------------------------------------

    def claimable(self) -> list[int]:
        """Ids of rows that a claim may take: of each key only the most urgent."""
        keys = {row.excl_key for row in self.rows.values() if row.owner and row.excl_key}
        found = []
        for task_id, row in sorted(self.rows.items(), key=lambda item: -item[1].priority):
            if (
                row.status == PENDING
                and row.owner is None
                and not (row.excl_key and row.excl_key in keys)
            ):
                found.append(task_id)
                keys.add(row.excl_key or "")
        return found

    def claim(self, session: str, taken: Iterable[ClaimedRow], limit: int) -> None:
        """Believe a claim, or fail when it took what it must not take, or left what it should."""
        got = list(taken)
        may = self.claimable() if self.states[session] == "live" else []
        urgent = sorted((self.rows[task_id].priority for task_id in may), reverse=True)[:limit]
        assert sorted((self.rows[row.id].priority for row in got), reverse=True) == urgent
        keys = {row.excl_key for row in self.rows.values() if row.owner and row.excl_key}
        for claimed in got:
            row = self.rows[claimed.id]
            assert row.status == PENDING and row.owner is None
            assert not row.excl_key or row.excl_key not in keys
            assert claimed.fence == row.fence + 1
            keys.add(row.excl_key or "")
            row.status, row.fence, row.owner = RUNNING, claimed.fence, session
            row.run_id = claimed.run_id

    # --- settle ---------------------------------------------------------------------------------

    def settle(self, session: str, ending: Ending, remembered: bool) -> bool:
        """One attempt's end; True when it counts. `remembered`: the settler knows the Task."""
        row = self.rows.get(ending.id)
        if row is None:
            if ending.run_id in self.runs:  # deleted after this end was written
                return self._is_written(ending)
            if remembered:
                self._run(session, ending, "cancelled")
            return False
        if (row.owner, row.fence, row.run_id) != (session, ending.fence, ending.run_id):
            if (
                ending.run_id not in self.runs and remembered
            ):  # another row under a deleted one's id
                self._run(session, ending, "cancelled")
            return self._is_written(ending)
        if row.status != RUNNING:
            row.owner = None
            self._run(session, ending, "cancelled")
            return False
        row.status, row.owner = ending.task_status, None
        row.retry_count, row.crashes = ending.retry_count, ending.crashes
        self._run(session, ending, ending.run_status)
        return True

    # --- rescue and reconcile -------------------------------------------------------------------

    def rescue(self) -> int:
        """Rows of dead owners, or of none, go back to the line, or to an end; returns how many."""
        lost = [row for row in self.rows.items() if row[1].owner and self._is_dead(row[1].owner)]
        for task_id, row in lost:
            parked = row.task_type == ONCE or row.crashes + 1 >= self.max_crashes
            self._give_back(task_id, row, "lost", FAILED if parked else PENDING, crash=1)
        unowned = [row for row in self.rows.values() if row.status == RUNNING and not row.owner]
        for row in unowned:
            row.status = PENDING
        return len(lost) + len(unowned)

    def release_forgotten(self, session: str, forgotten: Mapping[int, Owned]) -> int:
        """Rows that a Session owns and does not hold go back; returns how many."""
        found = [
            (task_id, self.rows[task_id])
            for task_id, owned in forgotten.items()
            if task_id in self.rows
            and (self.rows[task_id].owner, self.rows[task_id].fence) == (session, owned.fence)
        ]
        for task_id, row in found:
            self._give_back(task_id, row, "interrupted", PENDING, crash=0)
        return len(found)

    # --- below ----------------------------------------------------------------------------------

    def _give_back(self, task_id: int, row: Row, run: str, status: int, *, crash: int) -> None:
        assert row.run_id is not None and row.owner is not None
        if row.status == RUNNING:
            row.status = status
            row.crashes += crash
        else:
            run = "cancelled"
        self.runs.setdefault(row.run_id, Run(task_id, row.fence, run, row.owner))
        row.owner = None

    def _run(self, session: str, ending: Ending, status: str) -> None:
        run = Run(ending.id, ending.fence, status, session)
        self.runs.setdefault(ending.run_id, run)

    def _is_written(self, ending: Ending) -> bool:
        run = self.runs.get(ending.run_id)
        return run is not None and run.status == ending.run_status

    def _is_dead(self, session: str) -> bool:
        return self.states.get(session, "dead") == "dead"

"""Work: a Task that this Server holds, from its claim to its settled end.

Owns the small record that dispatcher and pool hand to each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taskyard.core.lifecycle import Outcome
from taskyard.db.rows import ClaimedRow

if TYPE_CHECKING:
    from taskyard.engine.lane import Lane


@dataclass(slots=True, eq=False)
class Work:
    """One claimed Task. Times are seconds of the machine's monotonic clock."""

    row: ClaimedRow
    lane: Lane
    claimed: float
    timeout: float | None
    alone: bool
    """Does it run in a process of its own?"""
    suspect: bool
    """Is it alone only because it was there when a Runner died?"""
    exclusive: bool
    """Must it stop when the Session is no longer trusted, rather than finish?"""
    checkpoint: str | None = None
    sent: float | None = None
    cancelled: float | None = None
    """When its handler was asked to stop, or None."""
    why_cancelled: str = ""
    cancel_grace: float = 3.0
    """Seconds that its handler then gets to notice, before it is stopped."""
    noted: bool = False
    """Has its handler said how far it is?"""
    outcome: Outcome | None = None

    @property
    def run_id(self) -> int:
        """The id of its Run."""
        return self.row.run_id

    def call(self) -> list[Any]:
        """The call as a Runner gets it; `wire.py` names the places."""
        row = self.row
        return [
            row.run_id,
            self.lane.table,
            row.id,
            row.fence,
            row.task_type,
            self.lane.queue.queue_name,
            row.task_params,
            row.retry_count + 1,
            row.retry_count,
            row.max_retries,
            row.retry_interval,
            self.timeout,
            row.tenant_id,
            row.origin,
            row.context,
            self.checkpoint,
            row.crashes,
            row.waited + (0.0 if self.sent is None else self.sent - self.claimed),
        ]


@dataclass(slots=True)
class Notes:
    """What running handlers said since the last look: written by the scribe."""

    logs: list[tuple[int, int, str]] = field(default_factory=list)
    progress: dict[int, tuple[float, float | None, str | None]] = field(default_factory=dict)

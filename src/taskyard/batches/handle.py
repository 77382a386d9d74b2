"""Handle: a batch in the hands of an application.

Owns what `yard.create_batch` gives back; each method is a line to the verb.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from taskyard.access.caller import LOCAL
from taskyard.core.durations import Duration, parse_duration
from taskyard.core.errors import BatchFailed, WaitTimedOut

if TYPE_CHECKING:
    from taskyard.db.database import Database

_LOOK = 0.25


class BatchHandle:
    """A batch that was created."""

    def __init__(self, database: Database, batch_id: int) -> None:
        self._database = database
        self.id = batch_id
        """Its id."""

    def __repr__(self) -> str:
        return f"<BatchHandle {self.id}>"

    def show(self) -> dict[str, Any]:
        """Everything that is known of it: its fields, counters, rate and ETA."""
        from taskyard.batches import browse

        return browse.show_batch(self._database, LOCAL, self.id)

    def status(self) -> str:
        """ "pending", "running", "paused", "completed", "failed" or "cancelled"."""
        return str(self.show()["status"])

    def wait(self, timeout: Duration | None = None) -> dict[str, Any]:
        """Wait until it is over, at most `timeout`; returns it as `show` does.

        Items may have failed: see `failed_count`. Raises BatchFailed if the batch itself was
        stopped or cancelled, WaitTimedOut (it goes on) or BatchUnknown.
        """
        seconds = None if timeout is None else parse_duration(timeout)
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            found = self.show()
            if found["status"] == "completed":
                return found
            if found["status"] in ("failed", "cancelled"):
                raise BatchFailed(self.id, found["status"], found["error"])
            if end is not None and time.monotonic() > end:
                raise WaitTimedOut(f"batch/{self.id}", seconds or 0.0)
            time.sleep(_LOOK)

    def items(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Its items, in full, as they were given; `status="failed"` narrows them."""
        from taskyard.batches import browse

        return browse.export_items(self._database, LOCAL, self.id, filters)

    def start(self) -> None:
        """Start it, if it was created with `start=False`. Raises NotNow."""
        from taskyard.batches import create

        create.start_batch(self._database, LOCAL, self.id)

    def pause(self) -> None:
        """Let no more items begin. Raises NotNow unless it is running."""
        from taskyard.batches import manage

        manage.pause_batch(self._database, LOCAL, self.id)

    def resume(self) -> None:
        """Go on. Raises NotNow, or BatchRunning where another has taken its place."""
        from taskyard.batches import manage

        manage.resume_batch(self._database, LOCAL, self.id)

    def cancel(self) -> None:
        """End it; items that wait are skipped. Raises NotNow if it is over."""
        from taskyard.batches import manage

        manage.cancel_batch(self._database, LOCAL, self.id)

    def retry_failed(self) -> None:
        """Process its failed items again. Raises NotNow, or BatchRunning."""
        from taskyard.batches import manage

        manage.retry_failed(self._database, LOCAL, self.id)

    def retry(self, item_ids: Sequence[str]) -> None:
        """Process these items again. Raises ItemUnknown, NotNow, or BatchRunning."""
        from taskyard.batches import manage

        manage.retry_items(self._database, LOCAL, self.id, item_ids)

    def skip(self, item_ids: Sequence[str]) -> None:
        """Never process these items, which wait. Raises ItemUnknown or NotNow."""
        from taskyard.batches import manage

        manage.skip_items(self._database, LOCAL, self.id, item_ids)

    def delete(self) -> None:
        """Delete it with its items."""
        from taskyard.batches import manage

        manage.delete_batch(self._database, LOCAL, self.id)

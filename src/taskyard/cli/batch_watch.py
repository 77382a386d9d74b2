"""Batch watch: a batch, followed until its end.

Owns the polling, and the line with the bar: on a terminal it changes, elsewhere there is one now
and then.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from taskyard.access.caller import LOCAL
from taskyard.batches.browse import show_batch
from taskyard.cli import formats
from taskyard.cli.output import say

if TYPE_CHECKING:
    from taskyard.db.database import Database

_POLL = 0.5
_QUIET = 15.0
_WIDTH = 24


def watch_batch(db: Database, batch_id: int) -> dict[str, Any]:
    """Show a batch's progress until it is over; returns it. Raises BatchUnknown."""
    terminal, told_at = sys.stderr.isatty(), 0.0
    while True:
        batch = show_batch(db, LOCAL, batch_id)
        over = batch["completed_at"] is not None
        if terminal:
            end = "\n" if over else ""
            print(f"\r\x1b[K{line(batch)}", end=end, file=sys.stderr, flush=True)
        elif over or time.monotonic() - told_at > _QUIET:
            say(line(batch))
            told_at = time.monotonic()
        if over:
            return batch
        time.sleep(_POLL)


def line(batch: dict[str, Any]) -> str:
    """How far a batch is, in a line."""
    ended = batch["processed_count"] + batch["skipped_count"]
    share = ended / batch["total_count"] if batch["total_count"] else 0.0
    bar = "█" * int(share * _WIDTH)
    words = [
        f"{bar:·<{_WIDTH}} {share:4.0%}",
        f"{ended:,}/{batch['total_count']:,}",
        f"{batch['failed_count']:,} failed",
    ]
    if batch["rate"]:
        words.append(f"{batch['rate']:,.1f}/s")
    if batch["eta"] is not None:
        words.append(f"{formats.took(batch['eta'])} left")
    return f"{batch['name']}  {'  '.join(words)}  {batch['status']}"

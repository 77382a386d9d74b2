"""Watching: a run's log or progress, followed until its end.

Owns the polling and what is printed when. Reads through `runs/`.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from taskyard.access.caller import LOCAL
from taskyard.cli import formats
from taskyard.cli.output import say
from taskyard.cli.run import progress
from taskyard.runs import logs
from taskyard.runs.browse import show_run

if TYPE_CHECKING:
    from taskyard.db.database import Database

_POLL = 0.5
_QUIET = 30.0  # off a terminal, a line at least so often: a silent pipe looks dead
_STEP = 10  # … and at each so many percent


def follow_log(db: Database, run_id: int, *, follow: bool) -> None:
    """Print a Run's log; with `follow`, go on until it has ended. Raises RunUnknown."""
    after = -1
    while True:
        # Asked before the log is read: chunks written before the end must not be missed.
        over = show_run(db, LOCAL, run_id)["status"] != "running"
        after = _print_chunks(db, run_id, after)
        if over or not follow:
            return
        time.sleep(_POLL)


def _print_chunks(db: Database, run_id: int, after: int) -> int:
    while chunks := logs.read(db, run_id, after=after):
        for _, text in chunks:
            sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()
        after = chunks[-1][0]
    return after


def watch_run(db: Database, run_id: int) -> str:
    """Show a Run's progress until it has ended; returns its status. Raises RunUnknown."""
    teller = _Teller()
    while True:
        run = show_run(db, LOCAL, run_id)
        if run["status"] != "running":
            teller.end(run)
            return str(run["status"])
        teller.tell(run)
        time.sleep(_POLL)


class _Teller:
    """Says how far a Run is: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.told_at = 0.0
        self.told_step = -1

    def tell(self, run: dict[str, Any]) -> None:
        line = f"{run['task_type']}  {formats.took(run['execution_time'])}"
        if told := progress(run["progress"]):
            line += f"  {told}"
        if self.terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        elif self._is_due(run):
            say(line)

    def end(self, run: dict[str, Any]) -> None:
        if self.terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        if run["error"]:
            say(formats.last_line(run["error"]))

    def _is_due(self, run: dict[str, Any]) -> bool:
        step = _step(run["progress"])
        due = step > self.told_step or time.monotonic() - self.told_at > _QUIET
        if due:
            self.told_step, self.told_at = step, time.monotonic()
        return due


def _step(told: dict[str, Any] | None) -> int:
    if not told or not told["total"]:
        return 0
    return int(100 * told["done"] / told["total"]) // _STEP

"""Outbox: everything that a runner tells its supervisor about its Runs, gathered and in order.

Owns the order (the last log lines of a Run go before its Outcome) and the batching. It is the
Reporter of every Context: written to by any thread, and never waited for longer than the socket
takes.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from time import monotonic
from typing import Any, TypeAlias

from taskyard.context import Context, Transaction
from taskyard.engine.attempt import Row
from taskyard.engine.wire import Channel
from taskyard.runs.lines import LOG_CHUNK, Chunk, RunLog

PROGRESS_EVERY = 1.0
"""Seconds between two reports of progress."""

NOTE_LENGTH = 500
"""Characters of a note of progress; it is a line on a page."""

Transactions: TypeAlias = Callable[[Context], AbstractContextManager[Transaction]]


class Outbox:
    """Gathers what Runs say until `flush` or `tick` sends it.

    When the supervisor is gone there is nobody to work for: the process ends.
    """

    def __init__(self, channel: Channel, transactions: Transactions) -> None:
        self._channel = channel
        self._transactions = transactions
        self._rows: deque[Row] = deque()
        self._sending = threading.Lock()
        # Reentrant: a __del__ that logs can run inside of any allocation.
        self._words = threading.RLock()
        self._logs: dict[int, RunLog] = {}
        self._chunks: list[Chunk] = []
        self._progress: dict[int, tuple[float, float | None, str | None]] = {}
        self._progress_at = 0.0

    # --- What Runs say ---------------------------------------------------------------------------

    def done(self, context: Context, row: Row) -> None:
        """Keep an Outcome for the next `flush`; whatever the Run says from now on is dropped."""
        run_id = row[0]
        with self._words:
            context.end()
            self._progress.pop(run_id, None)  # The end says more than the last percentage.
            if log := self._logs.pop(run_id, None):
                self._chunks += log.take(run_id)
        self._rows.append(row)

    def refused(self, row: Row) -> None:
        """Keep the Outcome of a Run that was never begun."""
        self._rows.append(row)

    def log(self, context: Context, text: str) -> bool:
        """Keep whole lines of a Run's log; returns whether there is room for more."""
        run_id = context.run_id
        with self._words:
            if context.ended:
                return False
            log = self._logs.get(run_id)
            if log is None:
                log = self._logs[run_id] = RunLog()
            if log.write(text) >= LOG_CHUNK:
                self._chunks += log.take(run_id)
            return not log.is_full

    def progress(
        self, context: Context, done: float, total: float | None, note: str | None
    ) -> None:
        """Keep the latest progress of a Run. Raises TypeError or ValueError if it is no number."""
        told = (
            _number(done),
            None if total is None else _number(total),
            None if note is None else _clean(str(note)[:NOTE_LENGTH]),
        )
        with self._words:
            if not context.ended:
                self._progress[context.run_id] = told

    def checkpoint(self, context: Context, text: str | None) -> None:
        """Send a checkpoint at once: it is worth most when the process dies next."""
        if not context.ended:
            self.send({"t": "checkpoint", "run": context.run_id, "data": text})

    def transaction(self, context: Context) -> AbstractContextManager[Transaction]:
        """Open the transaction of a Run."""
        return self._transactions(context)

    # --- What goes out ---------------------------------------------------------------------------

    def flush(self) -> None:
        """Send the Outcomes that wait.

        Whoever finds another thread sending leaves it to that one, which looks again when it has
        sent: so many threads that end together make few messages.
        """
        while self._rows and self._sending.acquire(blocking=False):
            try:
                self._send_waiting(progress=False)
            finally:
                self._sending.release()

    def tick(self) -> None:
        """Send the log lines and the progress of Runs that go on, so that people see them live."""
        with self._words:
            for run_id, log in self._logs.items():
                self._chunks += log.take(run_id)
        with self._sending:
            self._send_waiting(progress=monotonic() - self._progress_at >= PROGRESS_EVERY)
        self.flush()  # of those that came meanwhile and left it to us

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message of the runner itself, behind all that waits."""
        with self._sending:
            self._send_waiting(progress=False)
            self._or_end(self._channel.send, message)
        self.flush()

    def _send_waiting(self, *, progress: bool) -> None:
        # Outcomes are taken first and sent last: what belongs before them is then among the words.
        rows = _drained(self._rows)
        with self._words:
            chunks, self._chunks = self._chunks, []
            told = [(run_id, *item) for run_id, item in self._progress.items()] if progress else []
            if told:
                self._progress.clear()
                self._progress_at = monotonic()
        if chunks:
            self._or_end(self._channel.send_all, "log", "chunks", chunks)
        if told:
            self._or_end(self._channel.send_all, "progress", "items", told)
        if rows:
            self._or_end(self._channel.send_all, "done", "outcomes", rows)

    def _or_end(self, send: Callable[..., None], *arguments: Any) -> None:
        try:
            send(*arguments)
        except OSError:
            os._exit(0)


def _drained(rows: deque[Row]) -> list[Row]:
    taken: list[Row] = []
    try:
        while True:
            taken.append(rows.popleft())
    except IndexError:
        return taken


def _number(value: float) -> float:
    return value if type(value) is int and abs(value) < 2**53 else float(value)


def _clean(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()

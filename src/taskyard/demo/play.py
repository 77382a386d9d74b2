"""Play: the demo from its first second to its last, and what can be seen of it on the way.

Owns the order of things: folder, mailbox, servers, shop, and the same backwards. What is seen is
read from the database through the verbs that every list is made with.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from taskyard import queues, servers
from taskyard.core.errors import TaskyardError
from taskyard.core.lifecycle import RunStatus, TaskStatus
from taskyard.db.database import Database, Tx
from taskyard.db.listing import Query
from taskyard.demo import fleet, site
from taskyard.demo.mailbox import Mailbox
from taskyard.queues import Queue
from taskyard.runs import browse
from taskyard.servers import SessionRow

_LOOK = 0.5
_START = 60.0
_CLOSING = 1.5
"""Seconds before the end in which no new work comes, so that what is there gets done."""
_RUNS = 10

Counts = dict[TaskStatus, int]


class DemoFailed(TaskyardError):
    """A server of the demo did not start, or ended."""

    name: str

    def __init__(self, name: str, log: str) -> None:
        super().__init__(
            f"The demo's {name} has ended. Its last words:\n{log}",
            "Try `taskyard doctor`; if that finds nothing, it is a fault of Taskyard's.",
            name=name,
        )


@dataclass(frozen=True, slots=True)
class Picture:
    """What there is to see at one moment. `elapsed` is seconds since the servers work."""

    elapsed: float
    queues: list[Queue]
    counts: dict[str, Counts]
    """How many Tasks of each Queue are in which state."""
    servers: list[SessionRow]
    runs: list[dict[str, Any]]
    """The newest Runs, live ones among them."""
    mails: int

    def total(self, status: TaskStatus) -> int:
        """How many Tasks are in this state, over all Queues."""
        return sum(counts.get(status, 0) for counts in self.counts.values())


class Demo:
    """A demo, for the length of a `with` block; behind it no process and no file is left."""

    def __init__(self, *, keep: bool = False) -> None:
        """`keep` leaves the folder behind."""
        self.keep = keep
        self.folder: Path
        """Where it happens."""
        self.stopped = threading.Event()
        """Set it to end the demo early, in order."""
        self._exits = ExitStack()
        self._processes: list[fleet.Process] = []
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self.folder = site.new_folder()
        if not self.keep:
            self._exits.callback(site.remove, self.folder)
        try:
            self._mailbox = self._exits.enter_context(Mailbox(self.folder / "mail"))
            self._database: Database = site.prepare(self.folder, self._mailbox.port)
            self._exits.callback(self._database.close)
            self._exits.callback(self.close)
            for server_id in site.SERVERS:
                self._processes.append(fleet.server(server_id, self.folder))
            self._processes.append(fleet.shop(self.folder))
            self._await_servers()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.close()

    def play(self, seconds: float | None) -> Iterator[Picture]:
        """Let it run for so long (None: until `stopped` is set); a picture twice a second.

        Raises DemoFailed when one of its processes ends.
        """
        last_orders = None if seconds is None else seconds - min(_CLOSING, seconds / 4)
        while not self.stopped.is_set():
            elapsed = time.monotonic() - self._started
            if seconds is not None and elapsed >= seconds:
                return
            if last_orders is not None and elapsed >= last_orders:
                self._close_the_shop()
            self._check()
            yield self.look()
            self.stopped.wait(_LOOK)

    def close(self) -> None:
        """Stop the processes; what has been done can still be looked at."""
        fleet.stop(self._processes)
        self._processes.clear()

    def look(self) -> Picture:
        """What there is to see now."""
        found = queues.list_queues(self._database)
        return Picture(
            elapsed=time.monotonic() - self._started,
            queues=found,
            counts=self._database.read(lambda tx: {q.queue_name: _counts(tx, q) for q in found}),
            servers=servers.list_servers(self._database),
            runs=self.runs(limit=_RUNS),
            mails=self._mailbox.count,
        )

    def runs(self, limit: int = 100, **filters: str) -> list[dict[str, Any]]:
        """The newest Runs, with their errors; `filters` are those of every list of Runs."""
        query = Query(filters, limit=limit, large=("error",))
        return browse.list_runs(self._database, query).rows

    def _await_servers(self) -> None:
        deadline = time.monotonic() + _START
        while not self.stopped.is_set():
            self._check()
            working = [row for row in servers.list_servers(self._database) if row.specs()]
            if len(working) == len(site.SERVERS):
                break
            if time.monotonic() > deadline:
                raise DemoFailed(self._processes[0].name, self._processes[0].tail())
            time.sleep(0.05)
        self._started = time.monotonic()

    def _close_the_shop(self) -> None:
        shops = [process for process in self._processes if process.name == "shop"]
        fleet.stop(shops)
        self._processes = [process for process in self._processes if process not in shops]

    def _check(self) -> None:
        for process in self._processes:
            if not process.running:
                raise DemoFailed(process.name, process.tail())


def ended_badly(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the Runs that failed, timed out or were lost."""
    return [run for run in runs if run["status"] in _BAD]


_BAD = (RunStatus.FAILED, RunStatus.TIMEOUT, RunStatus.LOST)


def _counts(tx: Tx, queue: Queue) -> Counts:
    table = tx.dialect.quote(queue.table_name)
    rows = tx.all(f"SELECT status, COUNT(*) FROM {table} GROUP BY status")
    return {TaskStatus(status): count for status, count in rows}
